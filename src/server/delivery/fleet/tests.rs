//! What is proved to be in force, and what is not.

use super::*;
use crate::delivery::tests::*;
use keystile_core::keyset::SigningKeys;
use keystile_registry as registry;
use keystile_store::KnownEnvoy;
use keystile_system as system;

mod elsewhere;
mod reports;
mod several;

const BRIEF: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

/// An Envoy that has acknowledged all there is.
async fn settled(bed: &Bed, id: &str) -> Stream {
    let mut envoy = Stream::open(bed, id, &BOTH).await;
    envoy.take().await;
    envoy.take().await;
    let version = bed.published(1).await.version();
    bed.until("acknowledged", |d| {
        let fleet = d.fleet();
        let node = fleet.iter().find(|n| n.id == id);
        node.is_some_and(|n| n.resources[1].acknowledged == Some(version))
    })
    .await;
    envoy
}

fn why(waited: &Waited, node: &str) -> String {
    let missing = waited.missing.iter().find(|m| m.node == node);
    missing.map(|m| m.why.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_version_is_in_force_when_every_vm_of_every_envoy_has_proved_it() {
    let bed = Bed::new(POLICY).await;
    let _one = settled(&bed, "e1").await;
    let _two = settled(&bed, "e2").await;
    let version = bed.published(1).await.version();
    for vm in 0..3 {
        report(&bed, "e1", (vm, 3), version, version).await;
    }
    for vm in 0..2 {
        report(&bed, "e2", (vm, 3), version, version).await;
    }
    let waited = bed.delivery.in_force(version, BRIEF).await;
    assert_eq!(waited.in_force, ["e1"]);
    assert_eq!(
        why(&waited, "e2"),
        "acknowledged, and 2 of 3 workers have it in force"
    );
    assert_eq!(bed.node("e1").in_force, Some(version));
    assert_eq!(bed.node("e2").in_force, None);

    let waiting = bed.delivery.in_force(version, LONG);
    let proving = async {
        tokio::task::yield_now().await;
        report(&bed, "e2", (2, 3), version, version).await;
    };
    let (waited, ()) = tokio::join!(waiting, proving);
    assert_eq!(waited.in_force, ["e1", "e2"]);
    assert!(waited.missing.is_empty());
    assert_eq!(bed.delivery.in_force(version, LONG).await, waited);
}

#[tokio::test]
async fn an_acknowledgement_alone_proves_nothing() {
    let bed = Bed::new(POLICY).await;
    let _envoy = settled(&bed, "e1").await;
    let version = bed.published(1).await.version();
    let waited = bed.delivery.in_force(version, BRIEF).await;
    assert!(waited.in_force.is_empty());
    assert!(why(&waited, "e1").contains("it has not reported yet"));
    let waited = bed.delivery.in_force(version + 1, BRIEF).await;
    assert_eq!(why(&waited, "e1"), "not acknowledged yet");
}

#[tokio::test]
async fn nobody_waits_for_reports_that_the_policy_does_not_ask_for() {
    let text: String = POLICY
        .lines()
        .filter(|l| !l.starts_with("report"))
        .map(|l| format!("{l}\n"))
        .collect();
    let bed = Bed::new(&text).await;
    let _envoy = settled(&bed, "e1").await;
    let version = bed.published(1).await.version();
    let waiting = tokio::time::timeout(LONG, bed.delivery.in_force(version, LONG * 100));
    let waited = waiting.await.expect("at once");
    assert!(why(&waited, "e1").contains("set `report` in the policy"));
}

#[tokio::test]
async fn an_envoy_that_is_lost_while_somebody_waits_is_named() {
    let bed = Bed::new(POLICY).await;
    let envoy = settled(&bed, "e1").await;
    let version = bed.published(1).await.version();
    let waiting = bed.delivery.in_force(version, Duration::from_secs(2));
    let losing = async {
        tokio::task::yield_now().await;
        drop(envoy);
    };
    let (waited, ()) = tokio::join!(waiting, losing);
    assert_eq!(
        why(&waited, "e1"),
        "it is not connected, and has not proved the version"
    );
    assert_eq!(bed.node("e1").state, "disconnected");
    assert!(bed.node("e1").disconnected_since.is_some());
}

#[tokio::test]
async fn an_envoy_that_was_lost_before_is_waited_for_until_it_is_forgotten_by_name() {
    let bed = Bed::new(POLICY).await;
    let stays = settled(&bed, "stays").await;
    drop(settled(&bed, "lost").await);
    bed.until("gone", |d| d.numbers().nodes == 1).await;
    let id = bed.issue(1).await[0];
    let version = bed.revoke(id).await;
    bed.published(version).await;
    report(&bed, "stays", (0, 1), version, version).await;
    let waited = bed.delivery.in_force(version, BRIEF).await;
    assert_eq!(waited.in_force, ["stays"]);
    assert_eq!(
        why(&waited, "lost"),
        "it is not connected, and has not proved the version"
    );
    assert_eq!(waited.missing[0].since, bed.node("lost").disconnected_since);

    let forget = |node: &str| bed.delivery.forget(system::local(), vec![node.to_owned()]);
    let words = forget("stays").await.unwrap_err().to_string();
    assert!(words.contains("`stays` is connected"), "{words}");
    let words = forget("nobody").await.unwrap_err().to_string();
    assert!(words.contains("no Envoy `nobody`"), "{words}");
    forget("lost").await.unwrap();
    let waited = bed.delivery.in_force(version, LONG).await;
    assert_eq!((waited.in_force.len(), waited.missing.len()), (1, 0));
    let known = bed.delivery.pool.read(|tx| tx.envoys()).await.unwrap();
    assert_eq!(known.len(), 1, "the store has forgotten it too");
    drop(stays);
}

#[tokio::test]
async fn a_restarted_server_waits_for_the_envoys_that_it_knew() {
    let bed = Bed::new(POLICY).await;
    let stays = settled(&bed, "stays").await;
    drop(settled(&bed, "lost").await);
    let (mut bed, mut stays) = (bed, Some(stays));
    for _ in 0..2 {
        drop(stays.take());
        bed = bed.restarted().await;
        let id = bed.issue(1).await[0];
        let version = bed.revoke(id).await;
        stays = Some(settled(&bed, "stays").await);
        bed.published(version).await;
        report(&bed, "stays", (0, 1), version, version).await;
        let waited = bed.delivery.in_force(version, BRIEF).await;
        assert_eq!(waited.in_force, ["stays"]);
        assert!(why(&waited, "lost").starts_with("it is not connected"));
        assert!(waited.missing[0].since.is_some());
    }
}

#[tokio::test]
async fn where_no_envoy_is_known_nobody_has_it_in_force() {
    let bed = Bed::new(POLICY).await;
    let version = bed.published(1).await.version();
    let asked = keystile_api::fleet::Wait {
        version: Some(version),
        patience: Some(keystile_model::wire::Span(0)),
    };
    let waited = crate::envoys::wait(asked, &bed.delivery, system::local())
        .await
        .unwrap();
    assert!(!waited.done, "nothing was proved");
    assert_eq!((waited.in_force, waited.missing.len()), (0, 0));
}

#[tokio::test]
async fn a_version_of_another_timeline_proves_nothing_and_the_next_one_lies_above_it() {
    let bed = Bed::new(POLICY).await;
    let _envoy = settled(&bed, "e1").await;
    let version = bed.published(1).await.version();
    let theirs = version + 3_600_000;
    report(&bed, "e1", (0, 1), theirs, theirs).await;
    assert_eq!(bed.node("e1").in_force, None);
    let waited = bed.delivery.in_force(version, BRIEF).await;
    assert_eq!(waited.in_force, Vec::<String>::new());
    bed.published(theirs + 1).await;
    let query = keystile_store::Query {
        action: Some("keyset.rise".to_owned()),
        ..keystile_store::Query::default()
    };
    let found = bed.delivery.pool.read(move |tx| tx.last_audit(&query, 9));
    let found = found.await.unwrap();
    assert_eq!((found.len(), found[0].subject.as_str()), (1, "e1"));
    // A new base goes out at that version, and the Envoy proves what was published here.
    bed.until("a base above it", |d| d.numbers().base_version > theirs)
        .await;
    let risen = bed.published(theirs + 1).await.version();
    report(&bed, "e1", (0, 1), risen, risen).await;
    let waited = bed.delivery.in_force(version, BRIEF).await;
    assert_eq!(waited.in_force, ["e1"]);

    // A number between two that were published proves nothing either.
    let between = bed.revoke(bed.issue(1).await[0]).await + 50;
    report(&bed, "e1", (0, 1), between, between).await;
    assert_eq!(bed.node("e1").in_force, None);
    // Nor does one that no clock has come to use up the numbers.
    let in_two_years = system::now().ms() + 2 * 366 * 86_400 * 1000;
    for version in [u64::MAX, 1 << 52, in_two_years] {
        let absurd = sealed(&bed, "e1", (0, 1), version, 1, 0).await;
        let refused = bed
            .delivery
            .reported(&absurd.body, &absurd.kid, &absurd.tag);
        assert_eq!(refused, Err(ReportRefusal::Version(version)));
    }
}

/// How often the version rose above that of an Envoy.
async fn rises(bed: &Bed) -> usize {
    let query = keystile_store::Query {
        action: Some("keyset.rise".to_owned()),
        ..keystile_store::Query::default()
    };
    let found = bed.delivery.pool.read(move |tx| tx.last_audit(&query, 99));
    found.await.unwrap().len()
}

#[tokio::test]
async fn the_version_rises_above_an_envoys_once_in_a_while_and_for_the_highest_then() {
    let mut settings = settings();
    settings.limits.rise = LONG * 60;
    let bed = Bed::with(POLICY, settings).await;
    let _envoy = settled(&bed, "e1").await;
    let theirs = bed.published(1).await.version() + 3_600_000;
    report(&bed, "e1", (0, 1), theirs, theirs).await;
    bed.published(theirs + 1).await;
    for n in 1..=3 {
        let theirs = theirs + n * 1_000_000;
        report(&bed, "e1", (0, 1), theirs, theirs).await;
        let version = bed.revoke(bed.issue(1).await[0]).await;
        assert!(bed.published(version).await.version() < theirs);
        assert_eq!(rises(&bed).await, 1);
    }
    assert_eq!(bed.delivery.numbers().bases_total, 2);

    let mut settings = crate::delivery::tests::settings();
    settings.limits.rise = BRIEF;
    let bed = Bed::with(POLICY, settings).await;
    let _envoy = settled(&bed, "e1").await;
    let theirs = bed.published(1).await.version() + 3_600_000;
    report(&bed, "e1", (0, 1), theirs, theirs).await;
    bed.published(theirs + 1).await;
    for n in 1..=20 {
        let theirs = theirs + n * 1_000_000;
        report(&bed, "e1", (0, 1), theirs, theirs).await;
    }
    bed.published(theirs + 20_000_001).await;
    assert_eq!(rises(&bed).await, 2, "for all of them together");
}

#[tokio::test]
async fn a_node_that_never_connected_does_not_raise_the_version_and_is_named() {
    let bed = Bed::new(POLICY).await;
    let _envoy = settled(&bed, "e1").await;
    let version = bed.published(1).await.version();
    let theirs = version + 3_600_000;
    report(&bed, "ghost", (0, 1), theirs, theirs).await;
    let changed = bed.revoke(bed.issue(1).await[0]).await;
    assert!(bed.published(changed).await.version() < theirs);
    assert_eq!(rises(&bed).await, 0);
    let waited = bed.delivery.in_force(version, BRIEF).await;
    assert!(why(&waited, "ghost").contains("from another timeline"));

    let enroll = |store: &mut keystile_store::Store| {
        registry::node::enroll(store, &system::local(), "ghost").map(|key| key.signing_key())
    };
    let key = bed.delivery.pool.write(enroll).await.unwrap();
    let report = sealed_with(&bed, "ghost", theirs, &SigningKeys::new(vec![key])).await;
    let told = async {
        let told = || {
            bed.delivery
                .reported(&report.body, &report.kid, &report.tag)
        };
        while told().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, told).await.unwrap();
    bed.published(theirs + 1).await;
}

#[tokio::test]
async fn a_base_that_is_being_loaded_is_not_pushed_again() {
    let bed = Bed::new(POLICY).await;
    let mut base = Stream::open(&bed, "e1", &["keystile-base"]).await;
    let mut overlay = Stream::open(&bed, "e1", &["keystile"]).await;
    let pushed = base.next().await;
    // Before the main thread has answered, and just after it.
    report(&bed, "e1", (0, 1), 0, 0).await;
    base.answer(&pushed, None).await;
    overlay.take().await;
    bed.until("acknowledged", |d| d.numbers().acknowledged_total == 2)
        .await;
    report(&bed, "e1", (0, 1), 0, 0).await;
    let version = bed.published(1).await.version();
    report(&bed, "e1", (0, 1), version, version).await;
    let for_ms = u64::try_from(LOADED_AFTER.as_millis()).unwrap() + 1500;
    assert!(base.is_quiet(for_ms).await && overlay.is_quiet(50).await);
    assert_eq!(bed.delivery.numbers().repairs_total, 0);
    // One that lost it since has it at once.
    report(&bed, "e1", (0, 1), 0, 0).await;
    base.take().await;
    assert_eq!(bed.delivery.numbers().repairs_total, 1);
}

#[tokio::test]
async fn a_worker_without_its_base_gets_it_again_under_a_fresh_seal() {
    let bed = Bed::new(POLICY).await;
    let mut base = Stream::open(&bed, "e1", &["keystile-base"]).await;
    let mut overlay = Stream::open(&bed, "e1", &["keystile"]).await;
    let first = base.take().await;
    overlay.take().await;
    bed.until("acknowledged", |d| d.numbers().acknowledged_total == 2)
        .await;
    for _ in 0..3 {
        // Whoever says it again and again is heard once in two seconds.
        report(&bed, "e1", (0, 2), 0, 0).await;
    }
    let again = base.take().await;
    assert_ne!(again.version_info, first.version_info, "bytes of its own");
    assert_eq!(
        again.version_info.rsplit_once('-').unwrap().0,
        first.version_info.rsplit_once('-').unwrap().0,
        "of the same content"
    );
    overlay.take().await;
    assert!(base.is_quiet(200).await && overlay.is_quiet(50).await);
    assert_eq!(bed.delivery.numbers().repairs_total, 1);
    let version = bed.published(1).await.version();
    let waited = bed.delivery.in_force(version, BRIEF).await;
    assert!(why(&waited, "e1").contains("lacks the base"));
}

#[test]
fn the_number_of_nodes_is_bounded_and_those_that_proved_who_they_are_stay() {
    let fleet = Fleet::default();
    let (now, at) = (system::now(), system::instant());
    let proof = |node: String| Proof {
        node,
        process: None,
        vm: 0,
        vms: 1,
        sent: now.seconds(),
        claimed: 1,
        version: 7,
        base: 7,
        missing_base: false,
    };
    let strangers = (0..7).map(|n| KnownEnvoy {
        node: format!("stranger{n}"),
        gone: Some(n),
        ..KnownEnvoy::default()
    });
    fleet.load(strangers.collect(), now, at);
    for n in 0..10 {
        let taken = fleet.reported(&proof(format!("e{n}")), now, at, 10);
        assert_eq!(taken, Ok(()), "strangers make room");
    }
    let more = fleet.reported(&proof("e10".to_owned()), now, at, 10);
    assert_eq!(more, Err(ReportRefusal::TooMany));
    assert!(fleet.inner().nodes.keys().all(|id| id.starts_with('e')));
    assert_eq!(fleet.take_unkept().dropped.len(), 7);
}
