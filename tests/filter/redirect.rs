//! An internal redirect runs the filter chain again, with the key already taken out: the caller stays who it was, is
//! not charged twice, and is asked for what the new route asks.

use serde_json::json;

use crate::fixture::{Edge, Store, by_header};
use crate::host::{Headers, Outcome, Request};
use keystile_core::keyset::StoreId;

mod forged;

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
    let (store, _) = store();
    let mut edge = Edge::start(&store);
    for request in [
        Request::get("/open"),
        Request::get("/maybe"),
        Request::get("/open").header("x-api-key", "somebody-else's"),
    ] {
        let first = first_pass(&mut edge, &request);
        for (path, code) in [
            ("/plain", "missing_api_key"),
            ("/a", "missing_api_key"),
            ("/maybe", "ok"),
            ("/open", "ok"),
        ] {
            let request = request.clone().without("x-api-key");
            let answer = edge.ask(&request.redirected(&first, path).without("x-api-key"));
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

/// A key on an open route is taken out there, and judged where a redirect leads to a route that looks at keys: as if
/// it were still there, and once.
#[test]
fn a_key_that_an_open_route_took_out_is_judged_by_the_next() {
    let (mut store, key) = store();
    let revoked = store.issue_as("acme", |row| row.revoked = true);
    let unknown = store.issue("acme");
    store.rows.pop();
    let mut edge = Edge::start(&store);
    let open = |key: &str| Request::get("/open").header("x-api-key", key);
    let asked = |edge: &mut Edge, request: &Request, path: &str| {
        let first = first_pass(edge, request);
        assert_eq!(first.forwarded().get("x-api-key"), None, "taken out");
        let told = format!("{first:?}");
        assert!(!told.contains(&key[20..]), "no part of the secret is kept");
        let second = request.redirected(&first, path);
        (edge.ask(&second), second)
    };
    for (key, path, code) in [
        (&key[..], "/b", "insufficient_scope"),
        (&key, "/nowhere", "route_denied"),
        (&revoked, "/plain", "revoked_api_key"),
        (&unknown, "/plain", "unknown_api_key"),
        (&key[..key.len() - 1], "/plain", "malformed_api_key"),
        ("ks_live_x12345", "/maybe", "malformed_api_key"),
    ] {
        assert_eq!(asked(&mut edge, &open(key), path).0.code(), code, "{path}");
    }
    let two = open(&key).header("authorization", format!("Bearer {revoked}"));
    assert_eq!(
        asked(&mut edge, &two, "/plain").0.code(),
        "multiple_api_keys"
    );
    // Two are allowed. Each request passes three times and is charged once.
    for left in ["ok", "ok", "rate_limited"] {
        let (answer, second) = asked(&mut edge, &open(&key), "/plain");
        assert_eq!(answer.code(), left);
        if left == "ok" {
            let client = answer.headers.get("x-keystile-client");
            assert_eq!(client.as_deref(), Some("acme"));
            let third = second.redirected(&answer.outcome, "/a");
            assert_eq!(edge.ask(&third).code(), "ok");
        }
    }
}

#[test]
fn fields_that_are_always_wanted_are_there_after_a_redirect() {
    let (store, key) = store();
    let mut edge = Edge::start(&store.set("rate_limit_fields", json!("always")));
    let request = by_header(&key);
    let first = first_pass(&mut edge, &request);
    let buckets = edge.buckets();
    let upstream = Headers::new(&[(":status", "200")]);
    for _ in 0..3 {
        let second = request.redirected(&first, "/a");
        let (_, response) = edge.vm.exchange(edge.root, &second, &upstream);
        assert_eq!(
            response.get("ratelimit").as_deref(),
            Some("\"p\";r=1;t=1800")
        );
        assert_eq!(
            response.get("ratelimit-policy").as_deref(),
            Some("\"p\";q=2;w=3600")
        );
    }
    assert_eq!(edge.buckets(), buckets, "nothing was taken");
}

/// What the first of two filters of ours has let in means nothing to the second.
#[test]
fn a_second_filter_does_not_take_the_mark_of_the_first_for_its_own() {
    let (first, key) = store();
    let (mut of_other, other_key) = Store::small();
    of_other.id = StoreId(*b"another!");
    let stricter = first
        .clone()
        .set("routes", json!([{"path": "/plain", "scopes": ["c"]}]));
    let behind = |edge: &mut Edge, outcome: &Outcome, root, key: Option<&str>| {
        // The same pass: nothing of the filter state is lost.
        let Outcome::Continue {
            headers,
            filter_state,
        } = outcome.clone()
        else {
            panic!("{outcome:?}")
        };
        let mut request = Request {
            headers,
            filter_state,
            ..Request::get("/plain")
        };
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        edge.ask_at(root, &request).code()
    };
    let mut edge = Edge::start(&first);
    let old = edge.add(&of_other);
    let second = std::mem::replace(&mut edge.root, old);
    let passed = first_pass(&mut edge, &by_header(&key));
    assert_eq!(behind(&mut edge, &passed, second, None), "missing_api_key");
    assert_eq!(behind(&mut edge, &passed, second, Some(&other_key)), "ok");
    // Another store with the same policy and the same keys.
    let mut alike = first.clone();
    alike.id = StoreId(*b"likewise");
    edge.add(&alike);
    let root = edge.root;
    assert_eq!(behind(&mut edge, &passed, root, None), "missing_api_key");
    // One store, another policy: another VM, because the newest policy of a store governs its VM.
    let mut other_vm = Edge::start(&stricter);
    let root = other_vm.root;
    assert_eq!(
        behind(&mut other_vm, &passed, root, None),
        "missing_api_key"
    );
}
