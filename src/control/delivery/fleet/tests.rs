//! What is proved to be in force, and what is not.

use super::*;
use crate::delivery::tests::*;
use crate::world;

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
    assert!(why(&waited, "e1").contains("set `report` in the policy"));
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
        "its connection was lost before it proved the version"
    );
    assert_eq!(bed.node("e1").state, "disconnected");
    assert!(bed.node("e1").disconnected_since.is_some());
    let waited = bed.delivery.in_force(version, BRIEF).await;
    assert_eq!(waited, Waited::default(), "it is not connected");
}

#[tokio::test]
async fn two_envoys_of_one_name_prove_nothing() {
    let bed = Bed::new(POLICY).await;
    let _one = settled(&bed, "e1").await;
    let version = bed.published(1).await.version();
    report(&bed, "e1", (0, 1), version, version).await;
    let mut twin = Stream::open(&bed, "e1", &BOTH).await;
    twin.take().await;
    let waited = bed.delivery.in_force(version, BRIEF).await;
    assert!(why(&waited, "e1").contains("two Envoys call themselves so"));
}

#[tokio::test]
async fn an_envoy_that_starts_anew_has_proved_nothing() {
    let bed = Bed::new(POLICY).await;
    let envoy = settled(&bed, "e1").await;
    let version = bed.published(1).await.version();
    report(&bed, "e1", (0, 1), version, version).await;
    assert_eq!(bed.node("e1").in_force, Some(version));
    drop(envoy);
    bed.until("gone", |d| d.numbers().nodes == 0).await;
    let mut envoy = Stream::open(&bed, "e1", &BOTH).await;
    envoy.next().await;
    assert_eq!(bed.node("e1").in_force, None);
    assert_eq!(bed.node("e1").resources[1].acknowledged, None);
}

#[tokio::test]
async fn reports_that_are_forged_old_or_from_the_future_do_not_count() {
    let bed = Bed::new(POLICY).await;
    let _envoy = settled(&bed, "e1").await;
    let version = bed.published(1).await.version();
    let good = sealed(&bed, "e1", (0, 1), version, version, 0).await;
    let mut forged = good.clone();
    let at = forged.body.len() - 3;
    forged.body[at] ^= 1;
    let refused = bed
        .delivery
        .reported(&forged.body, &forged.kid, &forged.tag);
    assert!(matches!(refused, Err(Refused::Report(_))), "{refused:?}");
    let old = sealed(&bed, "e1", (0, 1), version, version, 90).await;
    let refused = bed.delivery.reported(&old.body, &old.kid, &old.tag);
    assert!(
        matches!(refused, Err(Refused::Clock(89..=91))),
        "{refused:?}"
    );
    assert_eq!(bed.node("e1").vms, []);
    bed.delivery
        .reported(&good.body, &good.kid, &good.tag)
        .unwrap();
    let replayed = sealed(&bed, "e1", (0, 1), version - 1, version - 1, 5).await;
    let refused = bed
        .delivery
        .reported(&replayed.body, &replayed.kid, &replayed.tag);
    assert_eq!(refused, Err(Refused::Older));
    assert_eq!(bed.node("e1").in_force, Some(version));
    let numbers = bed.delivery.numbers();
    assert_eq!(
        (numbers.reports_total, numbers.reports_refused_total),
        (1, 3)
    );
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
fn dead_vms_prove_nothing_and_nodes_long_gone_are_forgotten() {
    let fleet = Fleet::default();
    let (now, at) = (world::now(), world::instant());
    let proof = Proof {
        node: "e1".to_owned(),
        vm: 0,
        vms: 1,
        sent: now.seconds(),
        version: 7,
        base: 7,
        missing_base: false,
    };
    fleet.reported(&proof, now, at, 10).unwrap();
    let every = Duration::from_secs(10);
    fleet.bury(every, at + every * 2);
    assert_eq!(fleet.inner().nodes["e1"].vms.len(), 1);
    fleet.bury(every, at + every * 4);
    assert_eq!(fleet.inner().nodes["e1"].vms.len(), 0);
    fleet.forget(Moment::from_ms(now.ms() + REMEMBERED_MS - 1));
    assert_eq!(fleet.inner().nodes.len(), 1);
    fleet.forget(Moment::from_ms(now.ms() + REMEMBERED_MS));
    assert_eq!(fleet.inner().nodes.len(), 0);
}

#[test]
fn the_number_of_nodes_is_bounded() {
    let fleet = Fleet::default();
    let (now, at) = (world::now(), world::instant());
    for n in 0..30 {
        let proof = Proof {
            node: format!("e{n}"),
            vm: 0,
            vms: 1,
            sent: now.seconds(),
            version: 7,
            base: 7,
            missing_base: false,
        };
        fleet.reported(&proof, now, at, 10).unwrap();
    }
    assert_eq!(fleet.inner().nodes.len(), 10);
}
