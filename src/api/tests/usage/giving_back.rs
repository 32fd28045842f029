//! A quota that the operator gives back, as Envoys, the operator and the audit log see it.

use super::*;
use crate::quota::{Reset, Show};
use keystile_model::record::Key;
use keystile_system as system;

const POLICY: &str =
    "version: 1\nplans:\n  day: {quota: {requests: 100, per: day}}\nroutes:\n- {path: /a}\n";

fn issue(b: &mut Bench, plan: Option<&str>) -> Key {
    let draft = key::KeyDraft {
        plan: plan.map(str::to_owned),
        ..key::KeyDraft::default()
    };
    let issued = key::issue(&mut b.store, &system::at(NOON), "acme", draft, 1, |_| {});
    issued.ok().unwrap().0.remove(0).key
}

fn used(b: &mut Bench, of: &str) -> Vec<(String, u64, Option<u64>)> {
    let ask = Show {
        of: of.to_owned(),
        ..Show::default()
    };
    let found = ask.run(&mut b.store, &system::at(NOON + 60)).unwrap();
    let each = found.quotas.into_iter();
    each.map(|q| (q.key.0.to_string(), q.left.used, q.left.remaining))
        .collect()
}

#[test]
fn a_quota_that_is_given_back_can_be_used_again_at_every_envoy_and_the_log_says_so() {
    let mut b = Bench::new();
    b.store
        .write(&system::at(NOON), |tx| tx.insert_policy(POLICY, NOON))
        .unwrap();
    let [one, two] = [(); 2].map(|()| issue(&mut b, Some("day")));
    issue(&mut b, None);
    let [one, two] = [one, two].map(|k| k.id.to_string());
    let send = |b: &mut Bench, vm, seq, id: &str, n| -> (u64, u64) {
        let told = batch(
            vm,
            seq,
            NOON,
            &[id.to_owned()],
            vec![row(Some(0), Some(0), 0, n)],
        );
        let mut done = try_counting(b, &quotas(), &[told], NOON + 60, false).unwrap();
        let quota = done.remove(0).receipt.quotas.remove(0);
        (quota.others, quota.given_back)
    };
    // Two Envoys use the first one up.
    assert_eq!(send(&mut b, 0, 1, &one, 70), (0, 0));
    assert_eq!(send(&mut b, 2, 1, &one, 30), (70, 0));
    assert_eq!(send(&mut b, 2, 2, &two, 9), (0, 0));
    let mut all = vec![(one.clone(), 100, Some(0)), (two.clone(), 9, Some(91))];
    all.sort();
    assert_eq!(used(&mut b, "acme"), all);

    let ask = Reset {
        of: one.clone(),
        ..Reset::default()
    };
    let done = ask
        .clone()
        .run(&mut b.store, &system::at(NOON + 60))
        .unwrap();
    assert_eq!((done.quotas.len(), done.quotas[0].left.used), (1, 100));
    assert_eq!(used(&mut b, &one), [(one.clone(), 0, Some(100))]);
    assert_eq!(used(&mut b, &two), [(two.clone(), 9, Some(91))]);
    // Each Envoy hears of it: its own 70 and the others' 30 less 100 leave nothing taken.
    assert_eq!(send(&mut b, 0, 2, &one, 1), (30, 100));
    assert_eq!(used(&mut b, &one), [(one.clone(), 1, Some(99))]);
    // Nothing is given back twice.
    ask.clone()
        .run(&mut b.store, &system::at(NOON + 60))
        .unwrap();
    let again = ask.run(&mut b.store, &system::at(NOON + 60)).unwrap();
    assert!(again.quotas.is_empty());
    assert_eq!(send(&mut b, 0, 3, &one, 1), (30, 101));

    let query = Query {
        action: Some("quota.reset".to_owned()),
        ..Query::default()
    };
    let log = b.store.read(|tx| tx.last_audit(&query, 10)).unwrap();
    assert_eq!(log.len(), 2);
    let first = log.last().unwrap();
    assert_eq!((&first.subject, first.client.as_str()), (&one, "acme"));
    assert!(first.before.contains(r#""used":100"#), "{}", first.before);
    assert!(first.after.contains(r#""used":0"#), "{}", first.after);

    // All of a client's at once, and not by the client itself.
    let all = Reset {
        of: "acme".to_owned(),
        ..Reset::default()
    };
    let grant = keystile_model::caller::Grant::nothing();
    let refused = all.clone().run(&mut b.store, &system::by(NOON + 60, grant));
    assert!(refused.is_err());
    all.run(&mut b.store, &system::at(NOON + 60)).unwrap();
    assert!(used(&mut b, "acme").iter().all(|(_, used, _)| *used == 0));
    assert_eq!(b.verify(), Ok(()));
}
