//! What Envoys are told of the quotas that others used up.

use super::*;

#[test]
fn windows_begin_at_midnight_and_at_the_first() {
    let at = 1_800_000_000; // 2027-01-15T08:00:00Z
    assert_eq!(window(&quotas()["day"], at), 1_799_971_200);
    assert_eq!(window(&quotas()["month"], at), 1_798_761_600);
    assert_eq!(window(&quotas()["day"], 1_799_971_200), 1_799_971_200);
    let midnight_in_tokyo = 1_799_971_200 - 9 * 3600;
    assert_eq!(window(&quotas()["tokyo"], at), midnight_in_tokyo);
}

#[test]
fn a_receipt_tells_what_others_let_through_of_each_quota_in_its_window() {
    let mut b = Bench::new();
    let policy =
        "version: 1\nplans:\n  day: {quota: {requests: 100, per: day}}\nroutes:\n- {path: /a}\n";
    b.store
        .write(&system::at(NOON), |tx| tx.insert_policy(policy, NOON))
        .unwrap();
    let draft = key::KeyDraft {
        plan: Some("day".into()),
        ..key::KeyDraft::default()
    };
    let issued = key::issue(&mut b.store, &system::at(NOON), "acme", draft, 1, |_| {});
    let id = issued.ok().unwrap().0[0].key.id.to_string();
    let grace = 3600;
    let rotated = crate::key::Rotate {
        id: Id::read(&id).unwrap(),
        grace: keystile_model::wire::Span(grace),
        ..rotation()
    };
    let next = rotated.run(&mut b.store, &system::at(NOON)).unwrap();
    let next = serde_json::to_value(&next).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let send = |b: &mut Bench, vm, seq, id: &str, at, n| -> Receipt {
        let rows = vec![row(Some(0), Some(0), 0, n), row(Some(0), Some(0), 1, 50)];
        let told = batch(vm, seq, at, &[id.to_owned()], rows);
        let mut done = try_counting(b, &quotas(), &[told], at + 60, false).unwrap();
        done.remove(0).receipt
    };
    let others = |r: &Receipt| {
        r.quotas
            .iter()
            .map(|q| (q.window, q.others))
            .collect::<Vec<_>>()
    };
    let midnight = window(&quotas()["day"], NOON);
    // VMs 0 and 1 are of one Envoy, 2 of another.
    assert_eq!(others(&send(&mut b, 0, 1, &id, NOON, 7)), [(midnight, 0)]);
    assert_eq!(others(&send(&mut b, 1, 1, &id, NOON, 8)), [(midnight, 0)]);
    let receipt = send(&mut b, 2, 1, &next, NOON, 20);
    assert_eq!(others(&receipt), [(midnight, 15)]);
    assert_eq!(receipt.quotas[0].lineage, id);
    // The same batch again: the same, as it is by then, and nothing counted.
    assert_eq!(others(&send(&mut b, 0, 1, &id, NOON, 7)), [(midnight, 20)]);
    let quota = operation::ShowQuota {
        id: Id::read(&next).unwrap(),
    };
    let left = quota.run(&mut b.store, &system::at(NOON + 60)).unwrap();
    assert_eq!((left.used, left.remaining), (35, Some(65)));
    // The last minute of the day is told of in the next one: both windows are.
    let eve = midnight + DAY - 60;
    assert_eq!(
        others(&send(&mut b, 2, 2, &id, eve, 1)),
        [(midnight, 15), (midnight + DAY, 0)]
    );
}
