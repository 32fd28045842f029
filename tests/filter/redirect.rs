//! An internal redirect runs the filter chain again, with the key already taken out: the caller stays who it was, is
//! not charged twice, and is asked for what the new route asks.

use serde_json::json;

use crate::fixture::{Edge, Store, by_header};
use crate::host::{Outcome, Request};

/// A policy with a limit of two, and a key on it that may do `a`.
fn store() -> (Store, String) {
    let (store, key) = Store::limited(json!([{"requests": 2, "per": "1h"}]));
    let mut store = store.set(
        "routes",
        json!([
            {"path": "/plain"},
            {"path": "/a", "scopes": ["a"]},
            {"path": "/b", "scopes": ["b"], "limit": {"requests": 1, "per": "1h"}},
            {"path": "/maybe", "auth": "optional"},
            {"path": "/open", "auth": "none"},
        ]),
    );
    store.row(&key).scopes = vec!["a".to_owned()];
    (store, key)
}

/// The first pass of a request that goes through.
fn first_pass(edge: &mut Edge, request: &Request) -> Outcome {
    let answer = edge.ask(request);
    assert!(answer.passed(), "{:?}", answer.outcome);
    answer.outcome
}

#[test]
fn a_second_pass_is_the_same_caller_and_not_charged() {
    let (mut store, key) = store();
    let id = store.row(&key).id.to_string();
    let mut edge = Edge::start(&store);
    let request = by_header(&key);
    let first = first_pass(&mut edge, &request);
    let buckets = edge.buckets();
    let second = request.redirected(&first, "/a");
    assert_eq!(
        second.headers.get("x-api-key"),
        None,
        "as the first pass left it"
    );
    for _ in 0..5 {
        let answer = edge.ask(&second);
        assert_eq!(answer.code(), "ok");
        let told = ["client", "key", "scopes"]
            .map(|name| answer.headers.get(&format!("x-keystile-{name}")));
        assert_eq!(told, ["acme", &id, "a"].map(|text| Some(text.to_owned())));
        assert_eq!(answer.state("client").as_deref(), Some("acme"));
        assert_eq!(answer.state("key"), Some(id.clone()));
    }
    assert_eq!(edge.buckets(), buckets);
    assert_eq!([edge.code(&key), edge.code(&key)], ["ok", "rate_limited"]);
    assert_eq!(
        edge.ask(&second).code(),
        "ok",
        "who was let in is not refused for what came after"
    );
}

#[test]
fn a_second_pass_needs_the_scope_of_the_new_route() {
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    let request = by_header(&key);
    let first = first_pass(&mut edge, &request);
    assert_eq!(
        edge.ask(&request.redirected(&first, "/b")).code(),
        "insufficient_scope"
    );
    assert_eq!(
        edge.ask(&request.redirected(&first, "/nowhere")).code(),
        "route_denied"
    );
    assert_eq!(
        edge.ask(&request.redirected(&first, "/a/%2e%2e/b")).code(),
        "ambiguous_path"
    );
}

#[test]
fn a_third_pass_is_like_the_second() {
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    let request = by_header(&key);
    let first = first_pass(&mut edge, &request);
    let second = request.redirected(&first, "/a");
    let outcome = first_pass(&mut edge, &second);
    assert_eq!(
        edge.ask(&second.redirected(&outcome, "/plain")).code(),
        "ok"
    );
    assert_eq!(
        edge.ask(&second.redirected(&outcome, "/b")).code(),
        "insufficient_scope"
    );
}

#[test]
fn a_key_that_was_revoked_in_between_is_refused() {
    let (mut store, key) = store();
    let mut edge = Edge::start(&store);
    let request = by_header(&key);
    let first = first_pass(&mut edge, &request);
    let second = request.redirected(&first, "/a");
    edge.push(store.change(|store| store.row(&key).revoked = true));
    assert_eq!(edge.ask(&second).code(), "revoked_api_key");
    edge.push(store.change(|store| store.rows.clear()));
    assert_eq!(edge.ask(&second).code(), "unknown_api_key");
}

#[test]
fn a_key_that_expires_in_between_is_refused() {
    let (mut store, key) = store();
    store.row(&key).expires = Some(crate::fixture::NOW + 1);
    let mut edge = Edge::start(&store);
    let request = by_header(&key);
    let first = first_pass(&mut edge, &request);
    edge.wait(1);
    assert_eq!(
        edge.ask(&request.redirected(&first, "/a")).code(),
        "expired_api_key"
    );
}

#[test]
fn who_was_nobody_stays_nobody() {
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    for request in [
        Request::get("/open"),
        Request::get("/maybe"),
        Request::get("/open").header("x-api-key", &key),
    ] {
        let first = first_pass(&mut edge, &request);
        for (path, code) in [
            ("/plain", "missing_api_key"),
            ("/a", "missing_api_key"),
            ("/maybe", "ok"),
            ("/open", "ok"),
        ] {
            let answer = edge.ask(&request.redirected(&first, path));
            assert_eq!(answer.code(), code, "{path}");
            assert_eq!(answer.state("client").as_deref(), Some("-"), "{path}");
            assert_eq!(answer.headers.get("x-keystile-client"), None, "{path}");
        }
    }
}

#[test]
fn a_known_caller_redirected_to_an_open_route_brings_no_identity_there() {
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    let request = by_header(&key);
    let first = first_pass(&mut edge, &request);
    let answer = edge.ask(&request.redirected(&first, "/open"));
    assert_eq!(answer.code(), "ok");
    assert_eq!(
        answer.headers.get("x-keystile-client"),
        None,
        "the route looks at no key"
    );
}

#[test]
fn a_forwarded_credential_is_not_charged_twice() {
    let (store, key) = store();
    let mut edge = Edge::start(&store.set("forward_credential", json!(true)));
    let request = by_header(&key);
    let first = first_pass(&mut edge, &request);
    let second = request.redirected(&first, "/a");
    assert_eq!(
        second.headers.get("x-api-key"),
        Some(key.clone()),
        "still there"
    );
    let buckets = edge.buckets();
    assert_eq!(edge.ask(&second).code(), "ok");
    assert_eq!(edge.buckets(), buckets);
    assert_eq!(
        edge.ask(&request.redirected(&first, "/b")).code(),
        "insufficient_scope"
    );
}

/// A request that an open route let by with its key still in it is told by that key, and charged for the first time.
#[test]
fn a_forwarded_credential_that_nobody_looked_at_is_looked_at() {
    let (store, key) = store();
    let mut edge = Edge::start(&store.set("forward_credential", json!(true)));
    let request = Request::get("/open").header("x-api-key", &key);
    let first = first_pass(&mut edge, &request);
    let answer = edge.ask(&request.redirected(&first, "/a"));
    assert_eq!(answer.code(), "ok");
    assert_eq!(
        answer.headers.get("x-keystile-client").as_deref(),
        Some("acme")
    );
    assert_eq!(edge.buckets().len(), 1);
    // The filter state cannot be taken back: it was set by the first pass, and is read-only.
    assert_eq!(answer.state("client").as_deref(), Some("-"));
}

/// In shadow mode keys stay where they are, as with `forward_credential`.
#[test]
fn a_redirect_in_shadow_mode_is_not_charged_twice() {
    let (store, key) = store();
    let mut edge = Edge::start(&store.set("mode", json!("shadow")));
    let request = by_header(&key);
    let first = first_pass(&mut edge, &request);
    let buckets = edge.buckets();
    assert!(edge.ask(&request.redirected(&first, "/a")).passed());
    assert_eq!(edge.buckets(), buckets);
}

#[test]
fn nothing_that_a_caller_sends_stands_for_an_earlier_pass() {
    let (mut store, key) = store();
    let mut edge = Edge::start(&store);
    let digest = store.row(&key).digest.prefix();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = store.row(&key).id.to_string();
    let names = ["entry", "key"].map(|name| {
        let forms = ["keystile.", "wasm.keystile.", "x-keystile-", "keystile-"];
        forms.map(|form| format!("{form}{name}"))
    });
    for value in [&hex, &id] {
        let names = names.iter().flatten();
        let request = names.fold(Request::get("/plain"), |request, name| {
            request.header(name, value)
        });
        assert_eq!(edge.ask(&request).code(), "missing_api_key");
    }
    let forge = |edge: &mut Edge, first: &Outcome, name: &str, forged: &[u8]| {
        let mut second = by_header(&key).redirected(first, "/plain");
        let state = second.filter_state.get_mut(name).expect("set");
        state.value = forged.to_vec();
        let answer = edge.ask(&second);
        assert!(
            matches!(&answer.code()[..], "missing_api_key" | "unknown_api_key"),
            "{name} `{forged:?}`: {}",
            answer.code()
        );
    };
    // Not even the filter state, unless it is the filter's own and well formed.
    let first = first_pass(&mut edge, &by_header(&key));
    let unverified = format!("unverified:{id}");
    for forged in [
        "",
        "00",
        "0000000000",
        "zzzzzzzzzz",
        "é23456789",
        &unverified,
        &id[1..],
    ] {
        forge(&mut edge, &first, "wasm.keystile.key", forged.as_bytes());
    }
    // Seen once, so that requests carry their digest.
    assert!(
        edge.ask(&by_header(&key).redirected(&first, "/plain"))
            .passed()
    );
    let first = first_pass(&mut edge, &by_header(&key));
    for forged in [&b""[..], &[0], &[0; 16], &digest[1..], hex.as_bytes()] {
        forge(&mut edge, &first, "wasm.keystile.entry", forged);
    }
}

/// Envoy can be told to answer a refusal with another page, for which it runs the filter
/// chain again as for a redirect of the upstream's.
#[test]
fn who_was_refused_is_not_let_in_by_a_redirect_of_the_refusal() {
    let (store, key) = store();
    for forwards in [false, true] {
        let store = store.clone().set("forward_credential", json!(forwards));
        let mut edge = Edge::start(&store);
        let request = by_header(&key);
        for _ in 0..2 {
            assert_eq!(edge.ask(&request).code(), "ok");
        }
        let refused = edge.ask(&request);
        assert_eq!(refused.code(), "rate_limited");
        assert!(refused.state("key").is_some(), "logs name the key");
        let second = Request {
            filter_state: refused.filter_state.clone(),
            ..Request::get("/plain")
        };
        assert_eq!(edge.ask(&second).code(), "missing_api_key");
        let with_key = Request {
            filter_state: refused.filter_state,
            ..request
        };
        assert_eq!(edge.ask(&with_key).code(), "rate_limited");
    }
}

#[test]
fn a_caller_who_was_nobody_first_is_known_on_a_third_pass() {
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    let first = first_pass(&mut edge, &Request::get("/open"));
    let second = by_header(&key)
        .redirected(&first, "/plain")
        .header("x-api-key", &key);
    let outcome = first_pass(&mut edge, &second);
    assert_eq!(edge.ask(&second.redirected(&outcome, "/a")).code(), "ok");
}

#[test]
fn requests_carry_their_digest_once_a_redirect_was_seen() {
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    for is_carried in [false, true] {
        let answer = edge.ask(&by_header(&key));
        assert!(answer.passed());
        assert_eq!(answer.state("entry").is_some(), is_carried);
        let second = by_header(&key).redirected(&answer.outcome, "/plain");
        assert!(edge.ask(&second).passed());
    }
}
