//! Buckets over changes of policy and plan.

use super::*;

#[test]
fn levels_survive_a_push_a_new_vm_and_a_changed_policy() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| {
        row.plan = Some("free".to_owned());
        row.scopes = vec!["read:reports".to_owned()];
    });
    let mut edge = Edge::start(&store);
    let report = by_bearer("GET", "/reports/7", &key);
    assert_eq!(admitted(&mut edge, &report), 2, "the route's own limit");
    let mut left = 8;
    let mut take = |edge: &mut Edge| {
        assert_eq!(edge.code(&key), "ok");
        assert_eq!(edge.ask(&report).code(), "rate_limited");
        left -= 1;
    };
    take(&mut edge);
    edge.push(store.change(|_| {}));
    take(&mut edge);
    let mut edge = Edge::beside(&edge.process, &store);
    take(&mut edge);
    edge.push(store.change(|store| {
        let plans = json!({"aaa": {"limits": [{"requests": 1, "per": "1d"}]}});
        let mut all = store.policy["plans"].clone();
        all["aaa"] = plans["aaa"].clone();
        store.policy["plans"] = all;
        store.policy["routes"].as_array_mut().unwrap().reverse();
        store.issue("zeta");
    }));
    take(&mut edge);
    edge.push(store.change(|store| store.row(&key).plan = Some("gold".to_owned())));
    assert_eq!(
        edge.ask(&report).code(),
        "rate_limited",
        "the route's bucket is the same on every plan"
    );
    edge.push(store.change(|store| store.row(&key).plan = Some("free".to_owned())));
    assert_eq!(
        admitted(&mut edge, &by_header(&key)),
        left,
        "nothing was given back"
    );
}

#[test]
fn keys_of_a_client_on_plans_that_differ_do_not_restore_each_other() {
    for by in ["client", "key"] {
        let (mut store, slow) = Store::limited(json!([{"requests": 20, "per": "1d", "by": by}]));
        store.policy["plans"]["q"] =
            json!({"limits": [{"requests": 100_000, "per": "1d", "burst": 10, "by": by}]});
        let lineage = store.row(&slow).lineage;
        let fast = store.issue_as("acme", |row| {
            (row.plan, row.lineage) = (Some("q".to_owned()), lineage);
        });
        let mut edge = Edge::start(&store);
        let (mut slowly, mut fastly) = (0, 0);
        for _ in 0..4 {
            slowly += admitted(&mut edge, &by_header(&slow));
            fastly += admitted(&mut edge, &by_header(&fast));
            edge.wait(10);
        }
        assert_eq!((slowly, fastly), (20, 30), "by {by}");
    }
}

#[test]
fn a_limit_that_is_the_clients_instead_of_the_keys_gives_nothing_anew() {
    for route in [false, true] {
        for by in ["key", "client"] {
            let other = if by == "key" { "client" } else { "key" };
            let (mut store, key) = Store::limited(json!([]));
            let lineage = store.row(&key).lineage;
            let successor = store.issue_as("acme", |row| {
                (row.plan, row.lineage) = (Some("p".to_owned()), lineage);
            });
            let limit = |store: &mut Store, by: &str| {
                let limit = json!({"requests": 20, "per": "1d", "by": by});
                match route {
                    true => store.policy["routes"][0]["limit"] = limit,
                    false => store.policy["plans"]["p"]["limits"] = json!([limit]),
                }
            };
            limit(&mut store, by);
            let mut edge = Edge::start(&store);
            for _ in 0..15 {
                assert_eq!(edge.code(&key), "ok");
            }
            edge.push(store.change(|store| limit(store, other)));
            assert_eq!(admitted(&mut edge, &by_header(&successor)), 5, "from {by}");
            assert_eq!(edge.code(&key), "rate_limited");
        }
    }
}

#[test]
fn keys_that_have_used_a_limit_each_wait_for_one_token_when_it_becomes_their_clients() {
    let limit = |by: &str| json!([{"requests": 1000, "per": "1h", "by": by}]);
    let (mut store, one) = Store::limited(limit("key"));
    let two = store.issue_as("acme", |row| row.plan = Some("p".to_owned()));
    let mut edge = Edge::start(&store);
    for key in [&one, &two] {
        assert_eq!(admitted(&mut edge, &by_header(key)), 1000);
    }
    edge.push(store.change(|store| store.policy["plans"]["p"]["limits"] = limit("client")));
    for key in [&one, &two, &one] {
        let seconds = retry_after(&mut edge, &by_header(key));
        assert_eq!(seconds, 4);
        edge.wait(seconds);
        assert_eq!(edge.code(key), "ok");
    }
}

/// As the guide says: what is held beside, or keeps its place, gives nothing twice.
#[test]
fn a_limit_starts_anew_where_it_moves_to_another_route_and_only_there() {
    let limit = json!({"requests": 10, "per": "1d"});
    let (plain, limited) = (
        json!({"path": "/plain"}),
        json!({"path": "/plain", "limit": limit}),
    );
    let plan = json!([limit]);
    let methods = json!({"path": "/plain", "methods": ["GET"], "limit": limit});
    let dearer = json!({"path": "/plain", "limit": {"requests": 11, "per": "1d"}});
    for (before, after, more) in [
        ((&plan, &plain), (&json!([]), &limited), 10),
        ((&json!([]), &limited), (&plan, &plain), 10),
        ((&json!([]), &limited), (&json!([]), &methods), 10),
        ((&json!([]), &limited), (&json!([]), &dearer), 0),
        ((&plan, &plain), (&plan, &limited), 0),
    ] {
        let (mut store, key) = Store::limited(before.0.clone());
        store.policy["routes"] = json!([before.1]);
        let mut edge = Edge::start(&store);
        assert_eq!(admitted(&mut edge, &by_header(&key)), 10);
        edge.push(store.change(|store| {
            store.policy["plans"]["p"]["limits"] = after.0.clone();
            store.policy["routes"] = json!([after.1]);
        }));
        let got = admitted(&mut edge, &by_header(&key));
        assert_eq!(got, more, "{before:?} to {after:?}");
    }
}

/// Nothing has changed for a key whose limits are its own, whatever others of its client have used.
#[test]
fn a_clients_bucket_that_is_empty_is_no_matter_of_its_keys_on_other_plans() {
    let (mut store, slow) = Store::limited(json!([{"requests": 5, "per": "1d", "by": "client"}]));
    store.policy["plans"]["q"] = json!({"limits": [{"requests": 30, "per": "1d"}]});
    let fast = store.issue_as("acme", |row| row.plan = Some("q".to_owned()));
    let slower = store.issue_as("acme", |row| row.plan = Some("p".to_owned()));
    let mut edge = Edge::start(&store);
    assert_eq!(admitted(&mut edge, &by_header(&slow)), 5);
    assert_eq!(admitted(&mut edge, &by_header(&fast)), 30);
    edge.wait(2 * 86_400);
    assert_eq!(admitted(&mut edge, &by_header(&fast)), 30);
    assert_eq!(admitted(&mut edge, &by_header(&slower)), 5);
}

/// A level that a slower limit left behind, far beyond what the new one could ever reach.
#[test]
fn a_limit_made_wider_by_a_push_opens_when_retry_after_says() {
    let (mut store, key) = Store::limited(json!([{"requests": 1, "per": "1h", "burst": 10}]));
    let mut edge = Edge::start(&store);
    assert_eq!(
        admitted(&mut edge, &by_header(&key)),
        10,
        "ten hours to refill"
    );
    edge.push(store.change(|store| {
        store.policy["plans"]["p"]["limits"] =
            json!([{"requests": 3600, "per": "1h", "burst": 60}]);
    }));
    let seconds = retry_after(&mut edge, &by_header(&key));
    assert!(seconds <= 60, "{seconds}");
    edge.wait(seconds);
    assert_eq!(edge.code(&key), "ok", "after {seconds} s");
}
