//! Shadow mode decides, counts and tags, and lets everything through.

use serde_json::json;

use crate::fixture::{Edge, Store, by_bearer, by_header, name, network};
use crate::host::Request;

fn store() -> Store {
    Store::new().set("mode", json!("shadow"))
}

#[test]
fn everything_passes_with_its_reason_in_filter_state_and_in_a_metric() {
    let mut store = store().set("require_tls", json!(false));
    let good = store.issue_as("acme", |row| row.plan = Some("free".to_owned()));
    let revoked = store.issue_as("acme", |row| row.revoked = true);
    let elsewhere = store.issue_as("acme", |row| row.allow = vec![network("10.0.0.0/8")]);
    let test = store.issue_as("acme", |row| row.environment = name("test"));
    let mut edge = Edge::start(&store);
    (0..10).for_each(|_| assert!(edge.ask(&by_header(&good)).passed()));
    for (request, reason) in [
        (Request::get("/plain"), "missing_api_key"),
        (by_header("hunter2"), "malformed_api_key"),
        (
            by_header(&good).header("x-api-key", &revoked),
            "multiple_api_keys",
        ),
        (by_header(&revoked), "revoked_api_key"),
        (by_header(&elsewhere), "address_denied"),
        (by_header(&test), "environment_denied"),
        (by_bearer("GET", "/users/7", &good), "insufficient_scope"),
        (Request::get("/nowhere"), "route_denied"),
        (Request::get("/files/%2e%2e/b"), "ambiguous_path"),
        (by_header(&good), "rate_limited"),
        (Request::default(), "ambiguous_path"),
    ] {
        let metric = format!("outcome=.={reason};.;keystile_shadow_refusals_total");
        let before = (edge.counter(&metric), edge.counted(reason));
        let answer = edge.ask(&request);
        assert!(answer.passed(), "{reason}: {:?}", answer.outcome);
        assert_eq!(answer.state("reason").as_deref(), Some(reason));
        assert_eq!(
            answer.state("client").as_deref(),
            Some("-"),
            "{reason}: the guard lets it by"
        );
        assert_eq!(
            answer.headers.get("x-keystile-client"),
            None,
            "{reason}: nobody is vouched for"
        );
        assert_eq!(
            (edge.counter(&metric), edge.counted(reason)),
            (before.0 + 1, before.1 + 1)
        );
    }
}

#[test]
fn who_would_be_let_in_is_named_to_the_upstream() {
    let mut store = store();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    let answer = edge.ask(&by_header(&key).header("x-keystile-client", "root"));
    assert_eq!(
        answer.headers.get("x-keystile-client").as_deref(),
        Some("acme")
    );
    assert_eq!(answer.state("client").as_deref(), Some("acme"));
    assert_eq!(answer.state("reason"), None);
    assert_eq!(edge.counted("ok"), 1);
}

/// The upstream may still check keys itself.
#[test]
fn keys_stay_where_they_are() {
    let mut store = store();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    for key in [&key[..], "hunter2"] {
        let request = Request::get(&format!("/plain?api_key={key}"))
            .header("x-api-key", key)
            .header("authorization", format!("Bearer {key}"))
            .header("cookie", format!("api_key={key}"));
        let answer = edge.ask(&request);
        assert!(answer.passed());
        for name in [":path", "x-api-key", "authorization", "cookie"] {
            assert_eq!(
                answer.headers.get(name),
                request.headers.get(name),
                "{name}"
            );
        }
    }
}

#[test]
fn spoofed_identities_are_removed_all_the_same() {
    let mut edge = Edge::start(&store());
    let request = Request::get("/plain")
        .header("x-keystile-client", "root")
        .header("x_keystile_key", "root");
    let answer = edge.ask(&request);
    assert!(answer.passed());
    assert!(!format!("{:?}", answer.headers).contains("root"));
}

#[test]
fn responses_carry_no_rate_limit_fields() {
    let (store, key) = Store::limited(json!([{"requests": 1, "per": "1m"}]));
    let store = store
        .set("mode", json!("shadow"))
        .set("rate_limit_fields", json!("always"));
    let mut edge = Edge::start(&store);
    for _ in 0..3 {
        let upstream = crate::host::Headers::new(&[(":status", "200")]);
        let (outcome, response) = edge.vm.exchange(edge.root, &by_header(&key), &upstream);
        assert!(matches!(outcome, crate::host::Outcome::Continue { .. }));
        assert_eq!(response, upstream);
    }
    assert_eq!(edge.counted("rate_limited"), 2);
}

#[test]
fn a_vm_without_any_keyset_has_no_policy_that_says_shadow() {
    let (store, key) = Store::small();
    let mut store = store.set("mode", json!("shadow"));
    let old = store.clone();
    let mut first = Edge::start(store.change(|_| {}));
    first.tick();
    assert_eq!(
        Edge::beside(&first.process, &old).code(&key),
        "keyset_unavailable"
    );
}
