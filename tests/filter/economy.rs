//! What a request costs in hostcalls. Each is between 0.1 and 1.5 µs in Envoy, and there are a few of them.

use std::collections::BTreeMap;

use serde_json::json;

use crate::fixture::{Edge, Store, by_bearer, by_header};
use crate::host::Request;

/// Calls of each host function that a request makes, once everything it needs has been seen before.
fn calls(edge: &mut Edge, request: &Request) -> BTreeMap<String, u64> {
    edge.ask(request);
    edge.process.borrow_mut().calls.clear();
    edge.ask(request);
    edge.process.borrow().calls.clone()
}

/// Of a request whose key is not looked up. One property is set in either case: the reason of a
/// refusal, or the client `-`.
const WITHOUT_A_KEY: [(&str, u64); 3] = [
    ("proxy_get_header_map_pairs", 1),
    ("clock_time_get", 1),
    ("proxy_set_property", 1),
];

/// What is missing here is as wrong as what is too many: a request that costs nothing was not looked at.
#[track_caller]
fn exactly(calls: &BTreeMap<String, u64>, expected: &[&[(&str, u64)]]) {
    let mut sum = BTreeMap::new();
    for (name, count) in expected.iter().copied().flatten() {
        *sum.entry((*name).to_owned()).or_insert(0) += count;
    }
    assert_eq!(*calls, sum);
}

#[test]
fn a_request_with_key_scope_and_one_limit_makes_eleven_calls() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| {
        row.plan = Some("gold".to_owned());
        row.scopes = vec!["read:users".to_owned()];
    });
    let mut edge = Edge::start(&store);
    let calls = calls(&mut edge, &by_bearer("GET", "/users/7", &key));
    exactly(
        &calls,
        &[&[
            ("proxy_get_header_map_pairs", 1),
            ("clock_time_get", 1),
            ("proxy_get_shared_data", 1),
            ("proxy_set_shared_data", 1),
            // The key's id and the client for logs, the mark for the guard and for second passes.
            ("proxy_set_property", 3),
            ("proxy_remove_header_map_value", 1),
            ("proxy_add_header_map_value", 3),
        ]],
    );
}

#[test]
fn an_open_route_reads_the_headers_and_sets_the_mark() {
    let mut edge = Edge::start(&Store::new());
    let calls = calls(&mut edge, &Request::get("/healthz"));
    exactly(&calls, &[&WITHOUT_A_KEY, &[("proxy_set_property", 1)]]);
}

#[test]
fn a_refusal_costs_no_more_than_a_reply() {
    let mut edge = Edge::start(&Store::new());
    let calls = calls(&mut edge, &by_header("hunter2"));
    let reply = ("proxy_send_local_response", 1);
    exactly(&calls, &[&WITHOUT_A_KEY, &[reply]]);
}

/// Nothing more is read; what is set is for access logs.
#[test]
fn the_refusal_of_a_known_key_names_key_reason_client_and_route() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    let request = by_bearer("GET", "/users/7", &key).header("x-request-id", "id-1");
    let calls = calls(&mut edge, &request);
    let reply = ("proxy_send_local_response", 1);
    exactly(
        &calls,
        &[&WITHOUT_A_KEY, &[reply, ("proxy_set_property", 3)]],
    );
}

#[test]
fn a_request_that_is_limited_away_writes_no_shared_data() {
    let (store, key) = Store::limited(
        json!([{"requests": 1, "per": "1h"}, {"requests": 5, "per": "1h", "by": "client"}]),
    );
    let mut edge = Edge::start(&store);
    edge.code(&key);
    let calls = calls(&mut edge, &by_header(&key));
    assert_eq!(calls.get("proxy_set_shared_data"), None);
    assert!(calls["proxy_get_shared_data"] <= 2, "{calls:?}");
}

#[test]
fn properties_are_read_only_for_what_asks_for_them() {
    let (store, key) = Store::limited(json!([{"requests": 1_000, "per": "1s"}]));
    let mut edge = Edge::start(&store);
    let reads =
        |calls: BTreeMap<String, u64>| calls.get("proxy_get_property").copied().unwrap_or(0);
    assert_eq!(reads(calls(&mut edge, &by_header(&key))), 0);
    assert_eq!(reads(calls(&mut edge, &by_header("hunter2"))), 0);
    assert_eq!(
        reads(calls(&mut edge, &Request::get("/plain"))),
        1,
        "who was here before"
    );
    let mut edge = Edge::start(&store.set("require_tls", json!(true)));
    let over_tls = by_header(&key).property(&["connection", "tls_version"], "TLSv1.3");
    assert_eq!(reads(calls(&mut edge, &over_tls)), 1, "TLS");
}

#[test]
fn nothing_is_logged_for_a_request() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    let before = edge.process.borrow().log.len();
    for request in [
        by_header(&key),
        by_header("hunter2"),
        Request::get("/plain"),
        Request::default(),
    ] {
        edge.ask(&request);
    }
    assert_eq!(
        edge.process.borrow().log.len(),
        before,
        "who floods us must not fill the disk"
    );
}

/// Envoy's counter, told by nobody in particular.
fn told(edge: &Edge, outcome: &str) -> u64 {
    edge.counter(&format!("outcome=.={outcome};.;keystile_requests_total"))
}

#[test]
fn requests_are_counted_together_and_none_is_lost_when_a_root_or_a_vm_ends() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    let ask = |edge: &mut Edge, count: usize| {
        for _ in 0..count {
            assert_eq!(edge.code(&key), "ok");
        }
    };
    ask(&mut edge, 3);
    assert_eq!(told(&edge, "ok"), 0);
    edge.tick();
    assert_eq!(told(&edge, "ok"), 3);
    // Another outcome comes in between.
    ask(&mut edge, 2);
    edge.ask(&by_header("hunter2"));
    assert_eq!(told(&edge, "ok"), 5);
    assert_eq!(edge.counted("malformed_api_key"), 1);
    // A trap can cost few of them, however seldom ticks are.
    ask(&mut edge, 1_000);
    let untold = 1_005 - told(&edge, "ok");
    assert!((1..=32).contains(&untold), "{untold}");
    // A push: the old root ends.
    edge.push(store.change(|_| {}));
    assert_eq!(told(&edge, "ok"), 1_005);
    // The VM itself: its last root ends.
    ask(&mut edge, 7);
    edge.vm.stop_plugin(edge.root).expect("the last root ends");
    assert_eq!(told(&edge, "ok"), 1_012);
}

#[test]
fn metrics_are_defined_once_for_the_life_of_a_vm() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    let mut round = |edge: &mut Edge| {
        for request in [
            by_header(&key),
            by_header("hunter2"),
            Request::get("/plain"),
            Request::get("/nowhere"),
        ] {
            edge.ask(&request);
        }
        edge.push(store.change(|_| {}));
        edge.tick();
    };
    round(&mut edge);
    let defined = |edge: &Edge| edge.process.borrow().called("proxy_define_metric");
    let before = defined(&edge);
    assert!(before > 0);
    for _ in 0..10 {
        round(&mut edge);
    }
    assert_eq!(defined(&edge), before);
}

#[test]
fn a_page_is_hashed_once_and_a_request_takes_no_memory_for_good() {
    let mut store = Store::new();
    let keys: Vec<String> = (0..500)
        .map(|n| store.issue(&format!("client-{n}")))
        .collect();
    let mut edge = Edge::start(&store);
    keys.iter().for_each(|key| assert_eq!(edge.code(key), "ok"));
    let memory = edge.vm.memory();
    keys.iter().for_each(|key| assert_eq!(edge.code(key), "ok"));
    assert_eq!(edge.vm.memory(), memory);
}

/// The host writes into memory that is kept; what is longer than that has memory of its own, and
/// neither shows in the other.
#[test]
fn requests_of_any_length_are_read_whole_one_after_another() {
    let (store, key) = Store::limited(json!([{"requests": 1_000, "per": "1s"}]));
    let mut edge = Edge::start(&store);
    let long = |length: usize| by_header(&key).header("x-padding", "y".repeat(length));
    // Around 8 KB and far above, a request in between being short.
    let lengths = (7_900..8_300).step_by(7).chain([16_384, 60_000, 1]);
    let mut memory = 0;
    for turn in 0..2 {
        for length in lengths.clone() {
            assert_eq!(edge.ask(&long(length)).code(), "ok", "{length}");
            assert_eq!(edge.ask(&by_header("hunter2")).code(), "malformed_api_key");
            assert_eq!(edge.code(&key), "ok");
        }
        match turn {
            0 => memory = edge.vm.memory(),
            _ => assert_eq!(edge.vm.memory(), memory),
        }
    }
}

#[test]
fn only_the_callbacks_that_are_used_are_exported() {
    let edge = Edge::start(&Store::small().0);
    assert!(edge.vm.exports("proxy_on_request_headers"));
    assert!(edge.vm.exports("proxy_on_memory_allocate"));
    for unused in [
        "proxy_on_vm_start",
        "proxy_on_log",
        "proxy_on_request_body",
        "proxy_on_delete",
    ] {
        assert!(!edge.vm.exports(unused), "{unused}");
    }
}
