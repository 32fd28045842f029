//! Reports that do not count.

use super::*;

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
    assert!(
        matches!(refused, Err(ReportRefusal::Report(_))),
        "{refused:?}"
    );
    let old = sealed(&bed, "e1", (0, 1), version, version, 90).await;
    let refused = bed.delivery.reported(&old.body, &old.kid, &old.tag);
    assert!(
        matches!(refused, Err(ReportRefusal::Clock(89..=91))),
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
    assert_eq!(refused, Err(ReportRefusal::Older));
    assert_eq!(bed.node("e1").in_force, Some(version));
    let numbers = bed.delivery.numbers();
    assert_eq!(
        (numbers.reports_total, numbers.reports_refused_total),
        (1, 3)
    );
}

#[tokio::test]
async fn an_envoy_whose_reports_are_refused_is_told_so() {
    let bed = Bed::new(POLICY).await;
    let _envoy = settled(&bed, "e1").await;
    let version = bed.published(1).await.version();
    assert_eq!(bed.node("e1").report_refused, None);
    let sealed = sealed(&bed, "e1", (0, 1), version, version, 0).await;
    let forged = sealed.tag.replace(|c: char| c != 'A', "A");
    let refused = bed.delivery.reported(&sealed.body, &sealed.kid, &forged);
    assert!(matches!(refused, Err(ReportRefusal::Report(_))));
    let waited = bed.delivery.in_force(version, BRIEF).await;
    assert!(why(&waited, "e1").contains("its reports are refused"));
    assert!(bed.node("e1").report_refused.is_some());
    let taken = bed
        .delivery
        .reported(&sealed.body, &sealed.kid, &sealed.tag);
    assert_eq!(taken, Ok(()));
    assert_eq!(bed.node("e1").report_refused, None);
}

#[tokio::test]
async fn a_report_of_a_node_that_cannot_be_is_not_kept() {
    let bed = Bed::new(POLICY).await;
    let version = bed.published(1).await.version();
    for node in ["", "e\n1", "e\u{202e}1", "e\u{ad}1"] {
        let sealed = sealed(&bed, node, (0, 1), version, version, 0).await;
        let refused = bed
            .delivery
            .reported(&sealed.body, &sealed.kid, &sealed.tag);
        assert_eq!(refused, Err(ReportRefusal::Node), "{node:?}");
    }
    assert_eq!(bed.delivery.fleet(), []);
}

#[test]
fn dead_vms_prove_nothing_and_their_nodes_are_remembered() {
    let fleet = Fleet::default();
    let (now, at) = (system::now(), system::instant());
    let proof = Proof {
        node: "e1".to_owned(),
        process: None,
        vm: 0,
        vms: 1,
        sent: now.seconds(),
        claimed: 1,
        version: 7,
        base: 7,
        missing_base: false,
    };
    fleet.reported(&proof, now, at, 10).unwrap();
    let every = Duration::from_secs(10);
    fleet.bury(every, at + every * 2);
    assert_eq!(fleet.inner().nodes["e1"].processes.vms().count(), 1);
    fleet.bury(every, at + every * 4);
    assert_eq!(fleet.inner().nodes["e1"].processes.vms().count(), 0);
    assert_eq!(fleet.inner().nodes.len(), 1);
}
