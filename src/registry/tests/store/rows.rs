//! What a keyset is built from: which rows, and how many of them are read and written.

use super::*;

#[test]
fn rows_since_a_version_are_those_that_changed_after_it() {
    let mut b = Bench::new();
    b.client("other");
    let ids: Vec<_> = b
        .issue(&system::at(NOON + 1), 4)
        .into_iter()
        .map(|i| i.key.id)
        .collect();
    let since = |b: &mut Bench, version| {
        let mut found: Vec<_> = b
            .store
            .read(|tx| tx.rows_since(version))
            .unwrap()
            .into_iter()
            .map(|r| r.id)
            .collect();
        found.sort();
        found
    };
    let all = {
        let mut all = ids.clone();
        all.sort();
        all
    };
    assert_eq!(since(&mut b, NOON * 1000), all);
    let base = b.version();
    assert!(since(&mut b, base).is_empty());

    key::revoke_all(&mut b.store, &system::at(NOON + 2), &ids[..1], "").unwrap();
    assert_eq!(since(&mut b, base), ids[..1]);
    // With a clock that goes back, a change is a later version still.
    key::set_disabled(&mut b.store, &system::at(NOON - 9), ids[1], true).unwrap();
    let mut two = ids[..2].to_vec();
    two.sort();
    assert_eq!(since(&mut b, base), two);

    let base = b.version();
    let patch = client::ClientPatch {
        plan: Some(Some("free".to_owned())),
        ..client::ClientPatch::default()
    };
    client::update(&mut b.store, &system::at(NOON + 3), "other", patch.clone()).unwrap();
    assert!(since(&mut b, base).is_empty(), "another client's plan");
    client::update(&mut b.store, &system::at(NOON + 3), "acme", patch).unwrap();
    assert_eq!(since(&mut b, base), all, "the plan of their client");
    let rows = b.store.read(|tx| tx.rows_since(base)).unwrap();
    assert!(rows.iter().all(|r| r.plan.as_deref() == Some("free")));
}

#[test]
fn a_change_of_a_clients_plan_writes_no_more_rows_for_many_keys_than_for_one() {
    let mut b = Bench::in_file();
    let plan = |b: &mut Bench, plan: &str, at: u64| {
        let patch = client::ClientPatch {
            plan: Some(Some(plan.to_owned())),
            ..client::ClientPatch::default()
        };
        let before = b.store.rows_written();
        client::update(&mut b.store, &system::at(at), "acme", patch).unwrap();
        b.store.rows_written() - before
    };
    b.issue(&system::at(NOON + 1), 1);
    let of_one = plan(&mut b, "free", NOON + 2);
    b.issue(&system::at(NOON + 3), 200);
    assert_eq!(plan(&mut b, "gold", NOON + 4), of_one);
}

#[test]
fn a_key_is_found_for_the_keyset_without_a_look_at_the_others() {
    for plan in Bench::in_file().store.row_plans() {
        assert!(
            plan.starts_with("SEARCH") || plan.contains("USING INDEX"),
            "{plan}"
        );
    }
}

#[test]
fn clients_and_keys_are_summed_as_they_lie_without_a_look_at_others() {
    let mut b = Bench::in_file();
    for step in Step::ALL {
        for these in [These::Clients, These::Keys, These::KeysOf(7)] {
            let one = OnlyThese {
                route: Some(3),
                outcome: Some(4),
            };
            for only in [OnlyThese::default(), one] {
                let found = b.store.usage_plan(step, these, only);
                assert!(
                    found.contains("USING PRIMARY KEY (t=?"),
                    "{these:?}: {found}"
                );
                assert!(!found.contains("TEMP B-TREE"), "{these:?}: {found}");
            }
        }
    }
}
