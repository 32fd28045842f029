//! What an ordinary request asks of Envoy. Each call costs more than most of what we do ourselves, so
//! that one more has to be wanted: then it is added here.

use super::*;

/// What is called while a request with this key is decided and, if it goes on, answered.
fn calls(made: &Made, key: &str) -> Vec<String> {
    fake::called();
    let request = made.request(&get("/v1/a", &[("x-api-key", key)]));
    if request.headers() {
        request.response();
    }
    fake::called()
}

#[test]
fn a_request_that_is_let_in_asks_for_its_headers_and_one_mark_and_sets_what_is_told() {
    let mut store = Store::new(POLICY);
    let key = store.issue("many", &["read"]);
    let made = store.made();
    let want = [
        "get_headers_size",
        "get_headers",
        "increment_counter",
        "get_filter_state wasm.keystile.pass",
        "set_filter_state wasm.keystile.key",
        "set_header x-api-key",
        "add_header x-keystile-client",
        "add_header x-keystile-key",
        "add_header x-keystile-scopes",
        "set_filter_state wasm.keystile.client",
        "set_filter_state wasm.keystile.pass",
    ];
    for _ in 0..3 {
        assert_eq!(calls(&made, &key), want);
    }
}

#[test]
fn a_request_that_is_refused_reads_its_headers_once() {
    let (_, key, _) = one();
    let made = Store::new(POLICY).made();
    let want = [
        "get_headers_size",
        "get_headers",
        "increment_counter",
        "get_filter_state wasm.keystile.pass",
        "set_filter_state wasm.keystile.key",
        "set_filter_state wasm.keystile.reason",
        "send_response",
    ];
    for _ in 0..3 {
        assert_eq!(calls(&made, &key), want);
    }
}

#[test]
fn the_refusal_of_a_known_key_also_sets_what_access_logs_are_told() {
    let mut store = Store::new(POLICY);
    let key = store.issue("", &[]);
    let made = store.made();
    let want = [
        "get_headers_size",
        "get_headers",
        "increment_counter",
        "get_filter_state wasm.keystile.pass",
        "set_filter_state wasm.keystile.key",
        "set_filter_state wasm.keystile.reason",
        "set_filter_state wasm.keystile.client",
        "set_filter_state wasm.keystile.route",
        "send_response",
    ];
    for _ in 0..3 {
        assert_eq!(calls(&made, &key), want);
    }
}
