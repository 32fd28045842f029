//! Where a key may stand, and that it goes no further.

use serde_json::json;

use crate::fixture::{Answer, Edge, Store, by_header};
use crate::host::Request;

/// The four places of the test policy, each with one key; with what must be left of them.
fn places(key: &str) -> [(&'static str, Request, &'static str, Option<&'static str>); 10] {
    let plain = || Request::get("/plain");
    [
        (
            "header",
            plain().header("x-api-key", key),
            "x-api-key",
            None,
        ),
        (
            "header with blanks",
            plain().header("x-api-key", format!("  {key}\t")),
            "x-api-key",
            None,
        ),
        (
            "header twice",
            plain().header("x-api-key", key).header("x-api-key", key),
            "x-api-key",
            None,
        ),
        (
            "bearer",
            plain().header("authorization", format!("Bearer {key}")),
            "authorization",
            None,
        ),
        (
            "bearer, another case",
            plain().header("authorization", format!("bEARER  {key} ")),
            "authorization",
            None,
        ),
        (
            "bearer beside another scheme",
            plain().header("authorization", format!("Basic eDp5, Bearer {key}")),
            "authorization",
            Some("Basic eDp5"),
        ),
        (
            "query",
            Request::get(&format!("/plain?api_key={key}")),
            ":path",
            Some("/plain"),
        ),
        (
            "query among others",
            Request::get(&format!("/plain?a=1&api%5Fkey={key}&b=%20&api_key={key}")),
            ":path",
            Some("/plain?a=1&b=%20"),
        ),
        (
            "cookie",
            plain().header("cookie", format!("api_key={key}")),
            "cookie",
            None,
        ),
        (
            "cookie among others",
            plain().header("cookie", format!("a=b; api_key=\"{key}\"; c=d")),
            "cookie",
            Some("a=b; c=d"),
        ),
    ]
}

fn shows(answer: &Answer, key: &str) -> bool {
    let headers = format!("{:?}", answer.headers);
    headers.contains(key) || headers.contains(&key[8..])
}

#[test]
fn the_key_is_taken_out_of_every_place_and_the_rest_stays() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    for (place, request, name, left) in places(&key) {
        let answer = edge.ask(&request);
        assert_eq!(answer.code(), "ok", "{place}");
        assert_eq!(answer.headers.get(name).as_deref(), left, "{place}");
        assert!(!shows(&answer, &key), "{place}");
        assert_eq!(answer.state("client").as_deref(), Some("acme"), "{place}");
    }
}

#[test]
fn the_same_key_in_several_places_is_taken_out_of_all() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let request = Request::get(&format!("/plain?api_key={key}"))
        .header("x-api-key", &key)
        .header("authorization", format!("Bearer {key},Bearer {key}"))
        .header("cookie", format!("api_key={key}"))
        .header("cookie", format!("x=y; api_key={key}"));
    let answer = Edge::start(&store).ask(&request);
    assert_eq!(answer.code(), "ok");
    assert!(!shows(&answer, &key), "{:?}", answer.headers);
    assert_eq!(answer.headers.get("cookie").as_deref(), Some("x=y"));
}

#[test]
fn a_policy_that_forwards_the_credential_leaves_every_place_alone() {
    let mut store = Store::new().set("forward_credential", json!(true));
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    for (place, request, name, _) in places(&key) {
        let answer = edge.ask(&request);
        assert_eq!(answer.code(), "ok", "{place}");
        assert_eq!(
            answer.headers.get(name),
            request.headers.get(name),
            "{place}"
        );
        assert_eq!(
            answer.headers.get("x-keystile-client").as_deref(),
            Some("acme")
        );
    }
}

#[test]
fn a_key_on_an_open_route_is_taken_out_unread() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    for (place, request, ..) in places(&key) {
        let path = request
            .headers
            .get(":path")
            .unwrap()
            .replace("/plain", "/open/x");
        let answer = edge.ask(&request.with(":path", path));
        assert_eq!(answer.state("client").as_deref(), Some("-"), "{place}");
        assert!(!shows(&answer, &key), "{place}: {:?}", answer.headers);
    }
}

/// What a service behind an open route checks itself is none of the filter's business.
#[test]
fn credentials_of_others_arrive_on_open_routes() {
    let mut store = Store::new();
    let imported = store.issue_as("acme", |_| {});
    let mut edge = Edge::start(&store);
    for (place, request, ..) in places("eyJhbGciOiJIUzI1NiJ9.e30.c2ln") {
        let path = request.headers.get(":path").unwrap();
        let request = request.with(":path", path.replace("/plain", "/open/x"));
        let answer = edge.ask(&request);
        assert_eq!(*answer.outcome.forwarded(), request.headers, "{place}");
    }
    // What has our brand is ours, mistyped or not.
    for text in [&imported[..], &imported[..20], "ks_live_", "KS_live_x"] {
        let answer = edge.ask(&Request::get("/open/x").header("x-api-key", text));
        assert_eq!(answer.headers.get("x-api-key"), None, "{text}");
    }
}

/// Where keys are looked at, the request was judged as it reads; so is it to be carried out.
#[test]
fn overrides_do_not_pass_where_keys_are_looked_at() {
    let mut store = Store::new().set("preflight", json!("allow"));
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    let names = [
        "x-http-method-override",
        "x-http_method",
        "x_method_override",
        "x-original-url",
        "x_rewrite_url",
        "x-forwarded-uri",
        "x-forwarded-path",
        "x-forwarded-method",
        "x-original-uri",
        "x-original-method",
    ];
    let with = |request: Request| {
        let request = names
            .iter()
            .fold(request, |r, name| r.header(name, "DELETE"));
        request
            .header("x-http-methods", "kept")
            .header("x-forwarded-prefix", "/kept")
    };
    let preflight = Request::new("OPTIONS", "/plain")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET");
    for request in [by_header(&key), preflight, Request::get("/maybe")] {
        let answer = edge.ask(&with(request));
        let headers = answer.outcome.forwarded();
        for name in names {
            assert_eq!(headers.get(name), None, "{name}");
        }
        assert_eq!(headers.get("x-http-methods").as_deref(), Some("kept"));
        assert!(headers.get("x-forwarded-prefix").is_some());
    }
    for (asked, kept) in [
        ("/open/y", true),
        ("/plain", false),
        ("/open/../plain", false),
    ] {
        let request = Request::get("/open/x").header("x-original-url", asked);
        let answer = edge.ask(&request);
        let found = answer.headers.get("x-original-url").is_some();
        assert_eq!(found, kept, "{asked}: another rule or the same");
    }
}

/// Access logs print the path of refused requests as well.
#[test]
fn no_key_is_left_in_the_path_after_a_refusal() {
    let mut store = Store::new();
    let (live, revoked) = (
        store.issue("acme"),
        store.issue_as("acme", |row| row.revoked = true),
    );
    let mut edge = Edge::start(&store);
    for (key, path, code) in [
        (&revoked, "/plain", "revoked_api_key"),
        (&live, "/users/7", "insufficient_scope"),
        (&live, "/nowhere", "route_denied"),
        (&live, "/files/%2e%2e/b", "ambiguous_path"),
        (&live, "/files;/x", "ambiguous_path"),
        (&"hunter2hunter2".to_owned(), "/plain", "malformed_api_key"),
    ] {
        let answer = edge.ask(&Request::get(&format!("{path}?x=1&api_key={key}")));
        assert_eq!(answer.code(), code);
        assert_eq!(
            answer.headers.get(":path"),
            Some(format!("{path}?x=1")),
            "{code}"
        );
    }
    let both = format!("/plain?api_key={live}&api_key={revoked}");
    let answer = edge.ask(&Request::get(&both));
    assert_eq!(answer.code(), "multiple_api_keys");
    assert_eq!(answer.headers.get(":path").as_deref(), Some("/plain"));
}

#[test]
fn a_stale_keyset_still_knows_where_keys_stand() {
    let mut store = Store::new().set("not_after", json!("1h"));
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    edge.wait(3600);
    let answer = edge.ask(&Request::get(&format!("/plain?api_key={key}")));
    assert_eq!(answer.code(), "keyset_unavailable");
    assert_eq!(answer.headers.get(":path").as_deref(), Some("/plain"));
}

#[test]
fn places_that_the_policy_does_not_list_hold_no_key() {
    let mut store = Store::new().set("credentials", json!([{"header": "x-key"}]));
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    for (place, request, ..) in places(&key) {
        assert_eq!(edge.ask(&request).code(), "missing_api_key", "{place}");
    }
    assert_eq!(
        edge.ask(&by_header(&key).header("x-key", &key)).code(),
        "ok"
    );
}

#[test]
fn an_empty_credential_is_no_key() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    let empty = Request::get("/plain?api_key=")
        .header("x-api-key", "  ")
        .header("authorization", "Bearer ")
        .header("authorization", "Basic eDp5")
        .header("cookie", "api_key=\"\"");
    assert_eq!(edge.ask(&empty).code(), "missing_api_key");
    let answer = edge.ask(&empty.header("x-api-key", &key));
    assert_eq!(answer.code(), "ok");
    assert_eq!(answer.headers.get(":path").as_deref(), Some("/plain"));
}
