//! A server that was restarted.

use super::*;

#[test]
fn a_restarted_server_waits_for_each_of_several_until_a_minute_has_passed() {
    for (one, two) in [
        (Envoy::named(1), Envoy::named(2)),
        (Envoy::nameless(1), Envoy::named(2)),
        (Envoy::nameless(1), Envoy::nameless(2)),
    ] {
        let mut case = Case::new();
        case.rounds(&[one, two], 3);
        // From now on the second one is cut off.
        case.restart();
        for _ in 0..6 {
            case.report(one, NEW);
            assert_ne!(case.why(), "");
            case.wait(EVERY);
        }
        case.wait(Duration::from_secs(1));
        case.rounds(&[one], 1);
        assert_eq!(case.why(), "", "it was a hot restart");

        // The store has been told of that too.
        case.restart();
        case.report(one, NEW);
        assert_eq!(case.why(), "");
    }
}

#[test]
fn a_restarted_server_waits_for_twins_until_they_are_forgotten() {
    for (one, two) in [
        (Envoy::named(1), Envoy::named(2)),
        (Envoy::nameless(1), Envoy::nameless(2)),
    ] {
        let mut case = Case::new();
        case.rounds(&[one, two], 125);
        case.restart();
        case.rounds(&[one], 1000);
        assert!(case.why().contains("forget"), "{}", case.why());
        assert!(case.forget());
        case.rounds(&[one], 1);
        assert_eq!(case.why(), "");
        case.restart();
        case.report(one, NEW);
        assert_eq!(case.why(), "");
    }
}

#[test]
fn the_only_one_proves_a_version_to_a_restarted_server_at_once() {
    for one in [Envoy::named(1), Envoy::nameless(1)] {
        let mut case = Case::new();
        case.rounds(&[one], 3);
        case.restart();
        assert_ne!(case.why(), "");
        case.report(one, NEW);
        assert_eq!(case.why(), "");
    }
}
