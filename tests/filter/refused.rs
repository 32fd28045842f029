//! What a refusal leaves behind: for the caller the id of the request, by which the operator finds it in
//! the access log; and in the log whose key it was, where, and which limit was used up.

use serde_json::json;

use crate::answers::TABLE;
use crate::fixture::{Answer, Edge, Store, by_bearer, by_header};
use crate::host::{Headers, Request, Status};

/// What access logs print: client, route, limit.
fn logged(answer: &Answer) -> [Option<String>; 3] {
    ["client", "route", "limit"].map(|name| answer.state(name))
}

fn words(words: [&str; 3]) -> [Option<String>; 3] {
    words.map(|word| (!word.is_empty()).then(|| word.to_owned()))
}

#[test]
fn every_refusal_has_the_id_of_its_request_in_head_and_body() {
    let id = "b4b3c1f0-6a0c-9f3d-8a52-1f7e5d0c9a11";
    for row in TABLE {
        let (mut edge, request) = (row.scene)();
        let request = request.header("x-request-id", id);
        let answer = edge.ask(&request);
        assert_eq!(answer.field("x-request-id").as_deref(), Some(id));
        assert_eq!(answer.problem()["request_id"], id, "{}", row.code);
        let (mut edge, request) = (row.scene)();
        let call = request
            .with(":method", "POST")
            .header("content-type", "application/grpc")
            .header("x-request-id", id);
        let answer = edge.ask(&call);
        assert_eq!(answer.field("x-request-id").as_deref(), Some(id));
        let message = String::from_utf8_lossy(&answer.reply().body).into_owned();
        assert!(!message.contains(id), "{message}");
    }
}

#[test]
fn an_id_that_could_be_read_as_anything_else_is_shown_nowhere() {
    let long = "x".repeat(129);
    let hostile: [&[u8]; 8] = [
        b"\",\"code\":\"ok\",\"x\":\"",
        b"a\\",
        b"a\r\nset-cookie: a=b",
        b"<script>alert(1)</script>",
        b"a b",
        b"",
        b"\xff\xfe",
        long.as_bytes(),
    ];
    for id in hostile {
        let mut edge = Edge::start(&Store::new());
        let answer = edge.ask(&by_header("hunter2").header("x-request-id", id));
        assert_eq!(answer.field("x-request-id"), None);
        let problem = answer.problem();
        assert_eq!(problem.get("request_id"), None, "{problem}");
        assert_eq!(problem["code"], "malformed_api_key");
    }
}

#[test]
fn trailers_that_are_refused_are_answered_with_the_id_that_envoy_still_knows() {
    let (store, key) = Store::small();
    let mut edge = Edge::start(&store);
    let request = by_header(&key).property(&["request", "id"], "id-7");
    let (stream, _) = edge.vm.open(edge.root, &request);
    edge.process
        .borrow_mut()
        .fail_next("proxy_get_header_map_pairs", Status::InternalFailure, 1);
    let trailers = Headers::new(&[("x-api-key", "K")]);
    let (goes_on, _) = edge.vm.trailers(&stream, trailers).expect("no trap");
    assert!(!goes_on);
    let reply = edge.vm.reply(&stream).expect("answered");
    assert_eq!(reply.headers.get("x-request-id").as_deref(), Some("id-7"));
    edge.vm.finish(stream).expect("no trap");
}

#[test]
fn the_refusal_of_a_known_key_names_its_client_and_the_route() {
    let mut store = Store::new();
    let poor = store.issue("acme");
    let revoked = store.issue_as("beta", |row| row.revoked = true);
    let mut edge = Edge::start(&store);
    for (request, code, expected) in [
        (
            by_bearer("GET", "/users/7", &poor),
            "insufficient_scope",
            words(["acme", "/users/{id}", ""]),
        ),
        (
            by_header(&revoked),
            "revoked_api_key",
            words(["beta", "/plain", ""]),
        ),
        // The key is not looked up where no route matches.
        (
            by_bearer("GET", "/nowhere", &poor),
            "route_denied",
            words(["", "", ""]),
        ),
    ] {
        let answer = edge.ask(&request);
        assert_eq!(answer.code(), code);
        assert_eq!(logged(&answer), expected, "{code}");
        assert!(!answer.passes_guard(), "{code}");
    }
}

#[test]
fn nothing_is_logged_of_who_presents_no_key_of_ours() {
    let mut store = Store::new();
    let key = store.issue("acme");
    store.rows.clear();
    let other = store.issue("acme");
    let mut edge = Edge::start(&store);
    for request in [
        by_header(&key),
        by_header("hunter2"),
        by_header(&key).header("x-api-key", &other),
        Request::get("/plain"),
    ] {
        let answer = edge.ask(&request);
        assert!(!answer.passed());
        assert_eq!(logged(&answer), words(["", "", ""]));
    }
    assert_eq!(edge.code(&other), "ok");
}

#[test]
fn a_429_names_the_limit_that_was_used_up() {
    let of_plan = json!([
        {"requests": 9, "per": "1m"},
        {"requests": 1, "per": "1h", "burst": 1, "by": "client"},
    ]);
    let (by_plan, key) = Store::limited(of_plan);
    let told = |store: &Store, request: Request| {
        let mut edge = Edge::start(store);
        let let_in = edge.ask(&request);
        assert!(let_in.passed());
        assert_eq!(
            logged(&let_in)[1..],
            [None, None],
            "of a request that goes on"
        );
        let answer = edge.ask(&request);
        assert_eq!(answer.reply().status, 429);
        logged(&answer)
    };
    assert_eq!(
        told(&by_plan, by_header(&key)),
        words(["acme", "/plain", "plan p: 1 per 3600 s, burst 1, by client"])
    );
    let (by_quota, key) = Store::with_quota(json!({"requests": 1, "per": "month"}));
    assert_eq!(
        told(&by_quota, by_header(&key)),
        words(["acme", "/plain", "plan p: quota of 1"])
    );
    let routes = json!([{"path": "/plain", "limit": {"requests": 1, "per": "1m"}}]);
    let mut by_route = Store::with(json!({"routes": routes}));
    let key = by_route.issue("acme");
    assert_eq!(
        told(&by_route, by_header(&key)),
        words(["acme", "/plain", "route: 1 per 60 s, burst 1, by key"])
    );
}

#[test]
fn every_scope_that_is_missing_is_named_and_of_alternatives_the_first_is_asked_for() {
    let mut store = Store::new();
    let none = store.issue("acme");
    let mut edge = Edge::start(&store);
    for (method, path, header, body) in [
        (
            "PUT",
            "/users/7",
            "read:users write:users",
            json!({"missing_scopes": ["read:users", "write:users"]}),
        ),
        (
            "GET",
            "/any",
            "read:users",
            json!({"any_scope": ["read:users", "read:reports"]}),
        ),
    ] {
        let answer = edge.ask(&by_bearer(method, path, &none));
        assert_eq!(answer.code(), "insufficient_scope");
        let challenge = answer.field("www-authenticate").unwrap();
        assert_eq!(
            challenge,
            format!(
                "Bearer realm=\"api.example.com\", error=\"insufficient_scope\", scope=\"{header}\""
            )
        );
        let problem = answer.problem();
        for field in ["missing_scopes", "any_scope"] {
            assert_eq!(problem.get(field), body.get(field), "{path} {field}");
        }
    }
}

#[test]
fn a_list_of_scopes_too_long_for_a_header_is_in_the_body_alone() {
    let scopes: Vec<String> = (0..40)
        .map(|n| format!("{n:02}{}", "s".repeat(40)))
        .collect();
    let routes =
        json!([{"path": "/many", "scopes": scopes}, {"path": "/few", "scopes": scopes[..20]}]);
    let mut store = Store::with(json!({"routes": routes}));
    let none = store.issue("acme");
    let mut edge = Edge::start(&store);
    for (path, is_told) in [("/many", false), ("/few", true)] {
        let answer = edge.ask(&by_bearer("GET", path, &none));
        let challenge = answer.field("www-authenticate").unwrap();
        assert!(challenge.contains("error=\"insufficient_scope\""));
        assert_eq!(challenge.contains("scope=\"0"), is_told, "{challenge}");
        let named = answer.problem()["missing_scopes"].as_array().unwrap().len();
        assert_eq!(named, if is_told { 20 } else { 40 });
    }
}
