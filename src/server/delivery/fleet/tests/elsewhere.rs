//! What servers tell one another of their Envoys.

use super::*;
use crate::delivery::settings::PeerLimits;
use std::sync::Arc;

const VERSION: u64 = 5;

/// A server, as far as its Envoys go.
fn server() -> Arc<Fleet> {
    let fleet = Arc::new(Fleet::default());
    fleet.load(Vec::new(), system::now(), system::instant());
    fleet.issued(VERSION);
    fleet
}

fn proof(process: u64, version: u64) -> Proof {
    Proof {
        node: "e1".to_owned(),
        process: Some(process),
        vm: 0,
        vms: 1,
        sent: system::now().seconds(),
        claimed: 1,
        version,
        base: version,
        missing_base: false,
    }
}

fn report(fleet: &Fleet, proof: &Proof) {
    let (now, at) = (system::now(), system::instant());
    fleet.reported(proof, now, at, 10).unwrap();
}

/// A stream of the Envoy that subscribes to everything; `fresh` if the Envoy has just started.
fn stream(fleet: &Arc<Fleet>, fresh: bool) -> Member {
    let limits = PeerLimits::default();
    let mut member = fleet.admit(None, &limits).unwrap();
    let identity = Identity {
        id: "e1".to_owned(),
        ..Identity::default()
    };
    member.identify(&identity, &limits, system::now()).unwrap();
    for kind in ResourceKind::ALL {
        member.subscribed(kind, fresh);
    }
    member
}

/// `to` hears what is new at `from`.
fn tell(from: &Fleet, to: &Fleet) {
    let rows = from.tell(false, system::now());
    to.hear("other", rows, system::now(), system::instant());
}

fn stands(fleet: &Fleet) -> Waited {
    fleet.stand(VERSION, true).0
}

#[test]
fn what_is_proved_to_one_server_is_proved_to_the_others() {
    let (a, b) = (server(), server());
    let _stream = stream(&b, false);
    report(&b, &proof(1, VERSION - 1));
    tell(&b, &a);
    assert!(stands(&a).in_force.is_empty());
    report(&b, &proof(1, VERSION));
    tell(&b, &a);
    assert_eq!(stands(&a).in_force, ["e1"]);
    assert_eq!(stands(&b), stands(&a));
    assert!(b.tell(false, system::now()).is_empty(), "nothing is new");
    assert_eq!(
        b.tell(true, system::now()).len(),
        1,
        "but for who knows nothing"
    );
}

#[test]
fn a_version_that_another_server_published_proves_something_too() {
    let (a, b) = (server(), server());
    b.issued(VERSION + 1);
    report(&b, &proof(1, VERSION + 1));
    tell(&b, &a);
    assert_eq!(stands(&a).in_force, ["e1"]);
}

#[test]
fn a_version_that_no_server_published_proves_nothing_anywhere() {
    let (a, b) = (server(), server());
    let _stream = stream(&b, false);
    report(&b, &proof(1, VERSION + 1));
    tell(&b, &a);
    for fleet in [&a, &b] {
        let waited = stands(fleet);
        let words = why(&waited, "e1");
        assert!(words.contains("another timeline"), "{words}");
    }
}

#[test]
fn streams_at_two_servers_with_reports_of_one_process_prove_nothing() {
    let (a, b) = (server(), server());
    let _streams = [stream(&a, false), stream(&b, false)];
    report(&a, &proof(1, VERSION));
    assert_eq!(stands(&a).in_force, ["e1"]);
    tell(&b, &a);
    let waited = stands(&a);
    let words = why(&waited, "e1");
    assert!(words.contains("more discovery streams"), "{words}");
    // Unless there are two processes, both of which prove it.
    let mut twin = proof(2, VERSION);
    report(&b, &twin);
    tell(&b, &a);
    assert_eq!(stands(&a).in_force, ["e1"]);
    twin.version -= 1;
    twin.sent += 1;
    report(&b, &twin);
    tell(&b, &a);
    assert!(stands(&a).in_force.is_empty());
}

#[test]
fn an_envoy_that_starts_at_one_server_has_proved_nothing_to_the_others() {
    let (a, b) = (server(), server());
    report(&a, &proof(1, VERSION));
    tell(&b, &a);
    let _stream = stream(&b, true);
    tell(&b, &a);
    assert!(stands(&a).in_force.is_empty());
    report(&a, &proof(1, VERSION));
    assert_eq!(stands(&a).in_force, ["e1"]);
}

#[test]
fn what_was_heard_once_is_not_news_when_more_is_told_of_the_same_envoy() {
    let (a, b) = (server(), server());
    report(&b, &proof(1, VERSION));
    tell(&b, &a);
    // The stream is news; the report that is told with it is not.
    let _stream = stream(&b, false);
    let later = system::instant() + Duration::from_secs(40);
    let rows = b.tell(false, system::now());
    assert!(rows[0].body.contains("\"version\":5"), "{}", rows[0].body);
    a.hear("other", rows, system::now(), later);
    a.bury(Duration::from_secs(10), later);
    assert!(stands(&a).in_force.is_empty());
}

#[test]
fn what_a_process_proved_elsewhere_before_its_envoy_started_again_proves_nothing() {
    let (a, b) = (server(), server());
    report(&b, &proof(1, VERSION));
    let _stream = stream(&a, true);
    let rows = b.tell(false, system::now());
    let late = Moment::from_ms(system::now().ms() + 5_000);
    let at = system::instant() + Duration::from_secs(4);
    a.hear("other", rows, late, at);
    assert!(stands(&a).in_force.is_empty());
    // One that came since does.
    let mut again = proof(1, VERSION);
    again.sent += 1;
    report(&b, &again);
    tell(&b, &a);
    assert_eq!(stands(&a).in_force, ["e1"]);
}

#[test]
fn an_envoy_that_made_room_at_one_server_is_gone_at_the_others_unless_they_know_better() {
    let (a, b, c) = (server(), server(), server());
    let tell_both = || {
        let rows = b.tell(false, system::now());
        for fleet in [&a, &c] {
            fleet.hear("other", rows.clone(), system::now(), system::instant());
        }
        rows
    };
    let streaming = stream(&b, false);
    tell_both();
    streaming.leave(system::now());
    tell_both();
    report(&c, &proof(1, VERSION));
    let known = |fleet: &Fleet| -> Vec<String> {
        let nodes = fleet.view(&settings().template);
        nodes.into_iter().map(|n| n.id).collect()
    };
    assert_eq!((known(&a), known(&b)), (known(&c), known(&a)));
    let other = Proof {
        node: "e2".to_owned(),
        ..proof(1, VERSION)
    };
    b.reported(&other, system::now(), system::instant(), 1)
        .unwrap();
    let rows = tell_both();
    assert!(rows.iter().any(|r| r.node == "e1" && r.body.is_empty()));
    assert_eq!((known(&a), known(&b)), (vec!["e2".to_owned()], known(&a)));
    assert_eq!(known(&c), ["e1", "e2"], "it has proved something here");
}

#[test]
fn what_made_room_is_said_until_the_others_have_heard_it() {
    let server = server();
    let streaming = stream(&server, false);
    server.tell(false, system::now());
    streaming.leave(system::now());
    server.tell(false, system::now());
    let other = Proof {
        node: "e2".to_owned(),
        ..proof(1, VERSION)
    };
    server
        .reported(&other, system::now(), system::instant(), 1)
        .unwrap();
    for everything in [false, true, true] {
        let rows = server.tell(everything, system::now());
        let dropped = rows.iter().find(|r| r.node == "e1").unwrap();
        assert!(dropped.body.is_empty());
        // The exchange fails.
        server.not_told(vec!["e1".to_owned()]);
    }
    server.tell(true, system::now());
    let rows = server.tell(true, system::now());
    assert!(rows.iter().all(|r| r.node != "e1"), "once it is heard");
}

#[test]
fn an_envoy_is_connected_where_it_has_a_stream_at_a_server_that_lives() {
    let (a, b) = (server(), server());
    let streaming = stream(&b, false);
    tell(&b, &a);
    let shown = |fleet: &Fleet| fleet.view(&settings().template).remove(0).state;
    assert_eq!(shown(&a), "connected");
    let gone = || a.check_gone(&["e1".to_owned()]);
    assert!(gone().is_err(), "nobody forgets an Envoy that is connected");
    a.living(&["other"], system::now());
    assert_eq!(shown(&a), "connected");
    a.living(&[], system::now());
    assert_eq!(shown(&a), "disconnected");
    gone().unwrap();

    // The server is back, and tells everything once more.
    let all = || b.tell(true, system::now());
    a.hear("again", all(), system::now(), system::instant());
    assert_eq!(shown(&a), "connected");
    streaming.leave(system::now());
    a.hear("again", all(), system::now(), system::instant());
    assert_eq!(shown(&a), "disconnected");
}

#[test]
fn an_envoy_that_is_forgotten_at_one_server_is_forgotten_at_all() {
    let (a, b) = (server(), server());
    report(&b, &proof(1, VERSION - 1));
    tell(&b, &a);
    b.remove(&["e1".to_owned()]);
    tell(&b, &a);
    assert_eq!(stands(&a), Waited::default());
    // It is back with its next report.
    report(&b, &proof(1, VERSION));
    tell(&b, &a);
    assert_eq!(stands(&a).in_force, ["e1"]);
}
