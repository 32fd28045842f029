//! Who the upstream and the guard are told is calling, and that nobody else can tell them.

use serde_json::json;

use crate::fixture::{Edge, Store, by_bearer, by_header};
use crate::host::{Headers, Request};

const IDENTITY: [&str; 3] = ["x-keystile-client", "x-keystile-key", "x-keystile-scopes"];

/// What of these fields the upstream sees.
fn told(headers: &Headers, names: [&str; 3]) -> [Vec<String>; 3] {
    names.map(|name| {
        headers
            .all(name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    })
}

/// Requests that are let in without a key.
fn anonymous() -> (Edge, [(&'static str, Request); 4]) {
    let edge = Edge::start(&Store::new().set("preflight", json!("allow")));
    let preflight = Request::new("OPTIONS", "/plain")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET");
    let requests = [
        ("auth none", Request::get("/healthz")),
        (
            "auth none, with what looks like a key",
            Request::get("/healthz").header("x-api-key", "ks_live_hunter2"),
        ),
        ("optional without a key", Request::get("/maybe")),
        ("preflight", preflight),
    ];
    (edge, requests)
}

#[test]
fn a_publishable_key_brings_no_scope_that_the_policy_has_taken_from_such_keys() {
    let policy = json!({"scopes": ["read:users"]});
    let mut store = Store::new().set("publishable", policy);
    let key = store.issue_as("acme", |row| {
        row.publishable = true;
        row.origins = vec!["https://app.example:443".to_owned()];
        row.scopes = vec!["write:users".to_owned(), "read:users".to_owned()]
    });
    let mut edge = Edge::start(&store);
    let from_page =
        |method, path| by_bearer(method, path, &key).header("origin", "https://app.example");
    let answer = edge.ask(&from_page("GET", "/users/7"));
    let [_, _, scopes] = told(answer.outcome.forwarded(), IDENTITY);
    assert_eq!(scopes, ["read:users"]);
    let refused = edge.ask(&from_page("PUT", "/users/7"));
    assert_eq!(refused.code(), "insufficient_scope");
}

#[test]
fn the_upstream_is_told_client_key_and_scopes() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| {
        row.scopes = vec!["write:users".to_owned(), "read:users".to_owned()]
    });
    let id = store.row(&key).id.to_string();
    let mut edge = Edge::start(&store);
    let answer = edge.ask(&by_bearer("GET", "/users/7", &key));
    let told = told(answer.outcome.forwarded(), IDENTITY);
    assert_eq!(
        told,
        [
            vec!["acme".to_owned()],
            vec![id.clone()],
            vec!["read:users write:users".to_owned()]
        ]
    );
    assert_eq!(answer.state("client").as_deref(), Some("acme"));
    assert_eq!(answer.state("key"), Some(id));
    assert_eq!(answer.state("reason"), None);
}

#[test]
fn renamed_headers_carry_the_identity_and_an_empty_name_leaves_one_out() {
    let identity = json!({"client": "X-Who", "key": "x-which", "scopes": ""});
    let mut store = Store::new().set("identity", identity);
    let key = store.issue_as("acme", |row| row.scopes = vec!["read:users".to_owned()]);
    let id = store.row(&key).id.to_string();
    let mut edge = Edge::start(&store);
    let request = by_header(&key)
        .header("x_who", "root")
        .header("x-which", "root");
    let answer = edge.ask(&request);
    let headers = answer.outcome.forwarded();
    assert_eq!(
        told(headers, ["x-who", "x-which", "x_who"]),
        [vec!["acme".to_owned()], vec![id], vec![]]
    );
    assert_eq!(
        told(headers, IDENTITY),
        [vec![], vec![], vec![]] as [Vec<String>; 3]
    );
}

#[test]
fn identity_headers_of_the_caller_never_pass_in_any_spelling() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let (mut edge, anonymous) = anonymous();
    edge.push(store.change(|_| {}));
    let mut requests = vec![
        ("a key", by_header(&key)),
        (
            "a key, optional",
            Request::get("/maybe").header("x-api-key", &key),
        ),
    ];
    requests.extend(
        anonymous
            .into_iter()
            .filter(|(what, _)| *what != "preflight"),
    );
    for (what, request) in requests {
        for name in IDENTITY {
            let others = [
                name.replace('-', "_"),
                name.replace('-', "."),
                name.replacen('-', "_", 1),
                name.to_uppercase(),
            ];
            for spelled in others.iter().map(String::as_str).chain([name]) {
                let request = request.clone().header(spelled, "root").header(spelled, "");
                let answer = edge.ask(&request);
                let headers = answer.outcome.forwarded();
                let spoofed = headers.0.iter().any(|(_, value)| value == b"root");
                assert!(!spoofed, "{what}: {spelled}: {headers:?}");
            }
        }
    }
}

/// lighttpd, and CGI gateways of its kind, turn every character that is neither letter nor digit into `_`.
#[test]
fn spellings_with_other_marks_are_removed_too() {
    let mut edge = Edge::start(&Store::new());
    for spelled in [
        "x!keystile!client",
        "x~keystile-client",
        "x-keystile+client",
        "x'keystile^key",
        "x|keystile`scopes",
    ] {
        let answer = edge.ask(&Request::get("/healthz").header(spelled, "root"));
        assert!(
            !format!("{:?}", answer.headers).contains("root"),
            "{spelled}"
        );
    }
}

#[test]
fn headers_that_only_look_like_the_identity_stay() {
    let mut edge = Edge::start(&Store::new());
    let near = [
        "x-keystile-clients",
        "x-keystile",
        "xx-keystile-client",
        "x-request-id",
    ];
    let request = near.iter().fold(Request::get("/healthz"), |request, name| {
        request.header(name, "mine")
    });
    let answer = edge.ask(&request);
    for name in near {
        assert_eq!(answer.headers.get(name).as_deref(), Some("mine"), "{name}");
    }
}

#[test]
fn anonymous_requests_get_the_mark_of_the_guard_and_no_identity() {
    let (mut edge, requests) = anonymous();
    for (what, request) in requests {
        let answer = edge.ask(&request);
        assert!(answer.passed(), "{what}");
        assert_eq!(answer.state("client").as_deref(), Some("-"), "{what}");
        assert_eq!(answer.state("key"), None, "{what}");
        assert_eq!(
            told(&answer.headers, IDENTITY),
            [vec![], vec![], vec![]] as [Vec<String>; 3],
            "{what}"
        );
        assert_eq!(answer.headers.get("x-api-key"), None, "{what}");
    }
    assert_eq!(edge.counted("ok"), 4);
}

#[test]
fn a_preflight_passes_only_where_the_policy_says_so_and_only_if_it_is_one() {
    let (mut edge, [.., (_, preflight)]) = anonymous();
    for (what, not_one) in [
        ("another method", preflight.clone().with(":method", "GET")),
        ("no origin", preflight.clone().without("origin")),
        (
            "no method asked for",
            preflight.clone().without("access-control-request-method"),
        ),
    ] {
        assert_eq!(edge.ask(&not_one).code(), "missing_api_key", "{what}");
    }
    assert_eq!(
        edge.ask(&preflight.clone().with(":path", "/files/%2e%2e/b"))
            .code(),
        "ambiguous_path"
    );
    assert_eq!(
        Edge::start(&Store::new()).ask(&preflight).code(),
        "missing_api_key"
    );
}

#[test]
fn a_wrong_key_is_refused_where_keys_are_optional() {
    let (store, foreign) = Store::small();
    let mut edge = Edge::start(&Store::new());
    let ask = |edge: &mut Edge, key: &str| {
        edge.ask(&Request::get("/maybe").header("x-api-key", key))
            .code()
    };
    assert_eq!(ask(&mut edge, &foreign), "unknown_api_key");
    assert_eq!(ask(&mut edge, "hunter2"), "malformed_api_key");
    assert_eq!(
        Edge::start(&store).ask(&Request::get("/maybe")).code(),
        "route_denied"
    );
}

#[test]
fn a_well_formed_key_that_is_not_known_is_logged_as_unverified() {
    let (mut store, key) = Store::small();
    let id = store.row(&key).id;
    store.rows.clear();
    let answer = Edge::start(&store).ask(&by_header(&key));
    assert_eq!(answer.state("key"), Some(format!("unverified:{id}")));
    assert_eq!(answer.state("client"), None);
}

/// A second filter in the chain has a name of its own, and a guard that asks for its mark alone.
#[test]
fn a_filter_with_a_name_of_its_own_leaves_a_mark_of_its_own() {
    let (store, key) = Store::small();
    let mut edge = Edge::start(&store);
    for name in ["second", &"n".repeat(200)] {
        edge.process.borrow_mut().plugin_name = name.into();
        let usual = edge.add(&store);
        let own = format!("client.{name}");
        let answer = edge.ask(&by_header(&key));
        assert_eq!(answer.state(&own).as_deref(), Some("acme"));
        assert_eq!(answer.state("client").as_deref(), Some("acme"));
        let declared = &answer.filter_state[&format!("wasm.keystile.{own}")].declared;
        assert_eq!((declared.read_only, declared.span), (true, 1));
        let again = edge.ask(&by_header(&key).redirected(&answer.outcome, "/plain"));
        assert!(again.passed());
        let refused = edge.ask(&by_header("hunter2"));
        assert_eq!(refused.state(&own), None);
        let answer = edge.ask_at(usual, &by_header(&key));
        assert_eq!(answer.state(&own), None, "the other filter");
        edge.root = usual;
    }
}

#[test]
fn the_mark_of_the_guard_is_read_only_and_outlives_a_redirect() {
    let (store, key) = Store::small();
    let mut edge = Edge::start(&store);
    let first = edge.ask(&by_header(&key));
    edge.ask(&by_header(&key).redirected(&first.outcome, "/plain"));
    let answer = edge.ask(&by_header(&key));
    for name in ["client", "key", "pass"] {
        let declared = &answer.filter_state[&format!("wasm.keystile.{name}")].declared;
        assert!(declared.read_only, "{name}");
        assert_eq!(
            (declared.kind, declared.span),
            (1, 1),
            "{name}: a string, of the downstream request"
        );
    }
}
