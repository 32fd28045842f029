//! What several Envoys prove that report under one node id.

use super::*;
use crate::delivery::fleet::{Fleet, Subscriber};
use keystile_store::KnownEnvoy;
use keystile_system as system;

mod restarted;

const NEW: u64 = 7;
const OLD: u64 = 6;
const EVERY: Duration = Duration::from_secs(10);

/// An Envoy with one VM.
#[derive(Clone, Copy)]
struct Envoy {
    process: Option<u64>,
    claimed: u64,
    /// How far its clock is behind, in seconds.
    behind: u64,
}

impl Envoy {
    /// With a filter that names its process.
    fn named(n: u64) -> Self {
        Self {
            process: Some(n),
            claimed: n,
            behind: 0,
        }
    }

    /// With an older one.
    fn nameless(n: u64) -> Self {
        Self {
            process: None,
            ..Self::named(n)
        }
    }

    fn late(self, behind: u64) -> Self {
        Self { behind, ..self }
    }
}

/// A fleet with one node id, and a clock.
struct Case {
    fleet: Fleet,
    start: (Moment, Instant),
    passed: Duration,
    /// What the store knows.
    kept: BTreeMap<String, KnownEnvoy>,
}

impl Case {
    fn new() -> Self {
        let mut case = Self {
            fleet: Fleet::default(),
            start: (system::now(), system::instant()),
            passed: Duration::ZERO,
            kept: BTreeMap::new(),
        };
        case.restart();
        case
    }

    /// The server ends without a word, and starts again.
    fn restart(&mut self) {
        for envoy in self.fleet.take_unkept().envoys {
            self.kept.insert(envoy.node.clone(), envoy);
        }
        self.fleet = Fleet::default();
        let (now, at) = self.start;
        let kept = self.kept.values().cloned().collect();
        self.fleet.load(kept, now, at + self.passed);
        for version in [OLD, NEW] {
            self.fleet.issued(version);
        }
    }

    fn wait(&mut self, time: Duration) {
        self.passed += time;
        self.fleet.bury(EVERY, self.start.1 + self.passed);
    }

    fn try_report(&self, envoy: Envoy, version: u64) -> Result<(), ReportRefusal> {
        let (now, at) = self.start;
        let passed = u64::try_from(self.passed.as_millis()).unwrap();
        let now = Moment::from_ms(now.ms() + passed);
        let proof = Proof {
            node: "e1".to_owned(),
            process: envoy.process,
            vm: 0,
            vms: 1,
            sent: now.seconds() - envoy.behind,
            claimed: envoy.claimed,
            version,
            base: version,
            missing_base: false,
        };
        self.fleet.reported(&proof, now, at + self.passed, 10)
    }

    fn report(&self, envoy: Envoy, version: u64) {
        assert_eq!(self.try_report(envoy, version), Ok(()));
    }

    /// Why the new version is not proved; empty if it is.
    fn why(&self) -> String {
        let (waited, _) = self.fleet.stand(NEW, true);
        let missing = waited.missing.first().map(|m| m.why.clone());
        missing.unwrap_or_default()
    }

    /// Rounds of reports, one a period: the first Envoy has the new version.
    fn rounds(&mut self, envoys: &[Envoy], times: u32) {
        for _ in 0..times {
            self.wait(EVERY);
            for envoy in envoys.iter().rev() {
                let is_good = envoy.claimed == envoys[0].claimed;
                self.report(*envoy, if is_good { NEW } else { OLD });
            }
        }
    }

    /// A stream of an Envoy that has nothing yet, and no other.
    fn starts(&self) {
        let mut inner = self.fleet.inner();
        let node = inner.nodes.get_mut("e1").unwrap();
        node.processes.begin_anew(self.start.1 + self.passed);
    }

    fn forget(&self) -> bool {
        let nodes = ["e1".to_owned()];
        // As if it was connected: only what is silent is forgotten.
        let mut inner = self.fleet.inner();
        let node = inner.nodes.get_mut("e1").unwrap();
        let stream = Subscriber::new(None, self.start.1);
        node.streams.insert(1, stream);
        drop(inner);
        let may = self.fleet.check_gone(&nodes).is_ok();
        if may {
            self.fleet.remove(&nodes);
        }
        may
    }
}

#[test]
fn several_envoys_of_one_name_prove_a_version_when_each_of_them_has() {
    for count in 2..6 {
        for behind in [0, 30] {
            let mut case = Case::new();
            let envoys: Vec<_> = (1..=count)
                .map(|n| Envoy::named(n).late(behind * n / count))
                .collect();
            case.rounds(&envoys, 5);
            let why = case.why();
            let words =
                format!("{count} Envoys report under this node id, and 1 of their {count} workers");
            assert!(why.contains(&words), "{why}");
            assert!(!case.forget(), "all of them live");
            for envoy in &envoys[1..] {
                assert_ne!(case.why(), "");
                case.report(*envoy, NEW);
            }
            assert_eq!(case.why(), "");
        }
    }
}

#[test]
fn older_filters_of_one_name_are_noticed_whatever_their_number_and_their_clocks() {
    for count in 2..6 {
        for behind in [0, 5, 30] {
            let mut case = Case::new();
            let envoys: Vec<_> = (1..=count)
                .map(|n| Envoy::nameless(n).late(if n == 1 { 0 } else { behind }))
                .collect();
            case.rounds(&envoys, 3);
            let why = case.why();
            assert!(
                why.contains("several Envoys may report under this node id"),
                "{why}"
            );
            assert!(!case.forget(), "all of them live");
        }
    }
}

#[test]
fn one_whose_clock_is_wrong_by_more_than_a_report_may_be_is_not_passed_over() {
    for (one, two, words) in [
        (Envoy::named(1), Envoy::named(2), "is off by 90 s"),
        (
            Envoy::nameless(1),
            Envoy::nameless(2),
            "several Envoys may report",
        ),
        (Envoy::nameless(1), Envoy::named(2), "is off by 90 s"),
    ] {
        let mut case = Case::new();
        for _ in 0..10 {
            case.rounds(&[one], 1);
            let refused = case.try_report(two.late(90), OLD);
            assert_eq!(refused, Err(ReportRefusal::Clock(90)));
            assert!(case.why().contains(words), "{}", case.why());
            assert!(!case.forget(), "it lives");
        }
        case.rounds(&[one], 8);
        assert_eq!(case.why(), "", "it has ended");
    }
    // One of a process that has reported since is a recorded one.
    let mut case = Case::new();
    case.rounds(&[Envoy::named(1)], 1);
    let recorded = case.try_report(Envoy::named(1).late(90), OLD);
    assert_eq!(recorded, Err(ReportRefusal::Clock(90)));
    assert_eq!(case.why(), "");
}

#[test]
fn a_vm_made_anew_in_an_older_filter_is_no_second_envoy() {
    let mut case = Case::new();
    for claimed in [5, 5, 9, 9, 3, 3] {
        case.wait(EVERY);
        case.report(Envoy::nameless(claimed), NEW);
        assert_eq!(case.why(), "");
    }
    let replayed = case.try_report(Envoy::nameless(9).late(30), NEW);
    assert_eq!(replayed, Err(ReportRefusal::Older));
    assert_eq!(case.why(), "");
}

#[test]
fn a_hot_restart_is_proved_by_both_while_both_live_and_then_by_the_new_one() {
    for (parent, child) in [
        (Envoy::named(1), Envoy::named(2)),
        (Envoy::nameless(1), Envoy::named(2)),
        (Envoy::nameless(1), Envoy::nameless(2)),
    ] {
        let mut case = Case::new();
        case.rounds(&[parent], 500);
        assert_eq!(case.why(), "");
        case.rounds(&[child, parent], 80);
        assert_ne!(case.why(), "");
        case.rounds(&[child], 5);
        assert_ne!(case.why(), "", "the former may still live");
        case.rounds(&[child], 2);
        assert_eq!(case.why(), "");
    }
}

#[test]
fn one_that_was_cut_off_is_waited_for_although_another_starts_under_its_name() {
    for (one, two) in [
        (Envoy::named(1), Envoy::named(2)),
        (Envoy::nameless(1), Envoy::named(2)),
        (Envoy::nameless(1), Envoy::nameless(2)),
    ] {
        let mut case = Case::new();
        case.wait(EVERY);
        case.report(one, OLD);
        case.wait(EVERY);
        case.starts();
        assert_ne!(case.why(), "");
        for _ in 0..5 {
            case.report(two, NEW);
            assert!(case.why().contains("minute"), "{}", case.why());
            case.wait(EVERY);
        }
        case.wait(Duration::from_secs(1));
        case.rounds(&[two], 1);
        assert_eq!(case.why(), "", "a minute of silence");
    }
}

#[test]
fn one_that_has_been_silent_for_a_minute_is_not_waited_for_when_another_starts() {
    for (one, two) in [
        (Envoy::named(1), Envoy::named(2)),
        (Envoy::nameless(1), Envoy::nameless(2)),
    ] {
        let mut case = Case::new();
        case.rounds(&[one], 3);
        case.wait(QUIET + Duration::from_secs(1));
        case.starts();
        assert_ne!(case.why(), "");
        case.rounds(&[two], 1);
        case.wait(Duration::from_secs(1));
        assert_eq!(case.why(), "");
    }
}

#[test]
fn where_several_report_a_new_one_lets_each_prove_it_again() {
    let mut case = Case::new();
    let envoys = [Envoy::named(1), Envoy::named(2)];
    case.rounds(&envoys[..1], 1);
    envoys.iter().for_each(|e| case.report(*e, NEW));
    assert_eq!(case.why(), "");
    case.starts();
    assert_ne!(case.why(), "");
    envoys.iter().for_each(|e| case.report(*e, NEW));
    assert_eq!(case.why(), "");
}

#[test]
fn an_envoy_that_reported_beside_another_for_long_is_waited_for_until_it_is_forgotten() {
    for (one, two) in [
        (Envoy::named(1), Envoy::named(2)),
        (Envoy::nameless(1), Envoy::nameless(2)),
    ] {
        let mut case = Case::new();
        case.rounds(&[one, two], 125);
        case.rounds(&[one], 2);
        assert!(!case.forget(), "it reported a moment ago");
        case.rounds(&[one], 1000);
        assert!(case.why().contains("forget"), "{}", case.why());
        assert!(case.forget());
        case.rounds(&[one], 1);
        assert_eq!(case.why(), "");
        // It was not gone.
        case.report(two, OLD);
        case.report(one, NEW);
        assert_ne!(case.why(), "");
    }
}

#[test]
fn silence_of_the_only_one_is_no_end() {
    let mut case = Case::new();
    case.rounds(&[Envoy::named(1)], 3);
    case.wait(EVERY * 1000);
    assert_ne!(case.why(), "");
    assert_eq!(case.fleet.inner().nodes["e1"].processes.len(), 1);
}

#[test]
fn one_that_is_one_too_many_is_not_passed_over() {
    let mut case = Case::new();
    let most = u64::try_from(PROCESSES_MOST).unwrap();
    case.wait(EVERY);
    for n in 1..=most {
        case.report(Envoy::named(n), NEW);
    }
    assert_eq!(case.why(), "");
    let more = case.try_report(Envoy::named(most + 1), OLD);
    assert_eq!(more, Err(ReportRefusal::TooMany));
    assert_ne!(case.why(), "");
}
