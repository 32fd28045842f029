//! Limits and quotas of both policies.

use super::*;

#[test]
fn the_smaller_limit_of_both_holds() {
    for replaced in [true, false] {
        for (older, newest, expected) in [(1000, 3, 3), (3, 1000, 3), (5, 5, 5), (2000, 1500, 1500)]
        {
            let (mut old, key) = Store::limited(limits(older)["p"]["limits"].clone());
            let other = old.issue_as("beta", |row| row.plan = Some("p".to_owned()));
            let new = versions(&old, &[("plans", limits(newest))]);
            let mut edge = stepped_back(&old, &new, replaced);
            assert_eq!(
                admitted(&mut edge, &key, 2002),
                expected,
                "{older} {newest}"
            );
            edge.push(&new);
            let left = (newest as usize - expected).min(3);
            let still = admitted(&mut edge, &key, 3);
            assert_eq!(still, left, "what both took, both have");
            assert_eq!(admitted(&mut edge, &other, 1), 1);
        }
    }
}

#[test]
fn a_limit_that_both_set_is_taken_from_once() {
    let both = json!([{"requests": 4, "per": "1d"}, {"requests": 9, "per": "1h", "by": "client"}]);
    let (old, key) = Store::limited(both);
    let new = versions(&old, &[("realm", json!("newer"))]);
    let mut edge = stepped_back(&old, &new, true);
    assert_eq!(admitted(&mut edge, &key, 10), 4);
}

#[test]
fn who_refuses_is_told_with_its_limit() {
    let (old, key) = Store::limited(limits(1000)["p"]["limits"].clone());
    let mut plan = limits(2);
    plan["p"]["quota"] = json!({"requests": 50, "per": "month"});
    let new = versions(&old, &[("plans", plan)]);
    let mut edge = stepped_back(&old, &new, true);
    assert_eq!(admitted(&mut edge, &key, 3), 2);
    let answer = edge.ask(&by_header(&key));
    assert_eq!(answer.code(), "rate_limited");
    let wait = answer.field("retry-after").expect("when to come back");
    assert!(wait.parse::<u64>().is_ok_and(|s| s > 40_000), "{wait}");
    let policy = answer.field("ratelimit-policy").expect("the limits");
    assert!(policy.starts_with("\"p\";q=2;w=86400"), "{policy}");
    let state = answer.field("ratelimit").expect("what is left");
    assert!(state.starts_with("\"p\";r=0;"), "{state}");
}

#[test]
fn quotas_of_both_hold_and_each_request_counts_once_in_each() {
    let day = |requests: u64| json!({"requests": requests, "per": "day"});
    let month = |requests: u64| json!({"requests": requests, "per": "month"});
    for (older, newest, today, in_all) in [
        (None, Some(month(2)), 2, 2),
        (Some(month(2)), None, 2, 2),
        (Some(day(9)), Some(month(12)), 9, 12),
        (Some(month(12)), Some(day(9)), 9, 12),
        (Some(month(5)), Some(month(3)), 3, 3),
        (Some(month(3)), Some(month(5)), 3, 3),
    ] {
        for replaced in [true, false] {
            let plans = |quota: &Option<Value>| match quota {
                Some(quota) => json!({"p": {"quota": quota}}),
                None => json!({"p": {"limits": [{"requests": 1000, "per": "1d"}]}}),
            };
            let (old, key) = Store::with_quota(day(1));
            let old = old.set("plans", plans(&older));
            let new = versions(&old, &[("plans", plans(&newest))]);
            let mut edge = stepped_back(&old, &new, replaced);
            let said = format!("{older:?} {newest:?}");
            assert_eq!(admitted(&mut edge, &key, 20), today, "{said}");
            assert_eq!(edge.code(&key), "quota_exceeded");
            edge.wait(86_400);
            assert_eq!(admitted(&mut edge, &key, 20), in_all - today, "{said}");
        }
    }
}

#[test]
fn a_quota_that_was_used_up_stays_so_and_one_that_refuses_takes_no_token() {
    let (old, key) = Store::limited(limits(1000)["p"]["limits"].clone());
    let newest = json!({"p": {"limits": [{"requests": 3, "per": "1d"}], "quota": {"requests": 2, "per": "month"}}});
    let new = versions(&old, &[("plans", newest)]);
    let mut edge = Edge::start(&new);
    assert_eq!(admitted(&mut edge, &key, 5), 2);
    edge.push(&old);
    assert_eq!(admitted(&mut edge, &key, 5), 0);
    edge.push(&versions(&new, &[("plans", limits(3))]));
    assert_eq!(admitted(&mut edge, &key, 5), 1, "two of three were taken");
}

#[test]
fn limits_and_costs_of_routes_are_those_of_both() {
    let (mut old, _) = Store::limited(json!([{"requests": 12, "per": "1d"}]));
    old.rows.clear();
    let key = old.issue_as("acme", |row| row.plan = Some("p".to_owned()));
    let rival = old.issue_as("acme", |row| row.plan = Some("p".to_owned()));
    for (route, each) in [
        (
            json!({"path": "/plain", "limit": {"requests": 2, "per": "1d"}}),
            2,
        ),
        (json!({"path": "/plain", "cost": 4}), 3),
        (
            json!({"path": "/{*rest}", "limit": {"requests": 2, "per": "1d"}}),
            2,
        ),
    ] {
        for replaced in [true, false] {
            let new = versions(&old, &[("routes", json!([route]))]);
            let mut edge = stepped_back(&old, &new, replaced);
            assert_eq!(admitted(&mut edge, &key, 20), each, "{route}");
            assert_eq!(admitted(&mut edge, &rival, 20), each, "{route}");
        }
    }
}

/// Eight limits of a plan and one of the route in either: all are taken from, or none.
#[test]
fn as_many_limits_as_two_policies_can_have_are_all_heeded() {
    let list = |from: u64, last: u64| -> Value {
        let limit = |n: u64| json!({"requests": if n == 7 { last } else { 50 + n }, "per": format!("{}h", from + n)});
        (0..8).map(limit).collect()
    };
    let (old, key) = Store::limited(list(1, 40));
    let old = old.set(
        "routes",
        json!([{"path": "/plain", "limit": {"requests": 30, "per": "1d"}}]),
    );
    let new = versions(
        &old,
        &[
            ("plans", json!({"p": {"limits": list(20, 41)}})),
            (
                "routes",
                json!([{"path": "/plain", "limit": {"requests": 4, "per": "2d"}}]),
            ),
        ],
    );
    let mut edge = stepped_back(&old, &new, true);
    assert_eq!(admitted(&mut edge, &key, 20), 4);
    // None of the others has lost what the last one refused.
    let again = versions(&new, &[("routes", json!([{"path": "/plain"}]))]);
    edge.push(&again);
    assert_eq!(admitted(&mut edge, &key, 60), 37);
}
