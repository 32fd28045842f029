//! Paths that two readers could understand differently: brought into one form, or refused.

use serde_json::{Value, json};

use crate::fixture::{Edge, Store, by_header};
use crate::host::Request;

fn vectors(list: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../vectors/paths.json")).expect("JSON");
    all[list].as_array().expect("a list").clone()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().expect("a text")
}

/// One open route at the canonical path and nothing else: who reads the path otherwise is denied.
#[test]
fn every_spelling_of_a_path_finds_the_route_of_its_canonical_form() {
    for vector in vectors("ok")
        .iter()
        .filter(|vector| vector["parameters"].is_null())
    {
        let path = text(vector, "path");
        let store = Store::with(json!({"routes": [{"path": path, "auth": "none"}]}));
        let answer = Edge::start(&store).ask(&Request::get(text(vector, "raw")));
        assert_eq!(answer.code(), "ok", "{vector}");
        assert_eq!(
            answer.headers.get(":path").as_deref(),
            Some(text(vector, "raw")),
            "the upstream gets what was sent"
        );
    }
}

#[test]
fn no_spelling_passes_by_a_protected_route() {
    let mut routes = vec![json!({"path": "/{*rest}", "auth": "none"})];
    for vector in vectors("ok")
        .iter()
        .filter(|vector| vector["parameters"].is_null())
    {
        let path = json!({"path": text(vector, "path")});
        if !routes.contains(&path) {
            routes.push(path);
        }
    }
    let mut edge = Edge::start(&Store::with(json!({"routes": routes})));
    for vector in vectors("ok")
        .iter()
        .filter(|vector| vector["parameters"].is_null())
    {
        let answer = edge.ask(&Request::get(text(vector, "raw")));
        assert_eq!(answer.code(), "missing_api_key", "{vector}");
    }
}

#[test]
fn ambiguous_paths_are_refused_on_open_and_on_protected_routes() {
    let mut store = Store::with(json!({"routes": [{"path": "/{*rest}", "auth": "none"}]}));
    let mut open = Edge::start(&store);
    let key = store.issue("acme");
    store.policy["routes"] = json!([{"path": "/{*rest}"}]);
    let mut protected = Edge::start(&store);
    let mut passed = Vec::new();
    for vector in vectors("fail") {
        let raw = text(&vector, "raw");
        for answer in [
            open.ask(&Request::get(raw)),
            protected.ask(&by_header(&key).with(":path", raw)),
        ] {
            if answer.passed() || answer.reply().status != 400 {
                passed.push(text(&vector, "name").to_owned());
            }
        }
    }
    assert_eq!(passed, Vec::<String>::new());
}

#[test]
fn a_caller_is_told_what_is_wrong_with_the_path() {
    let mut edge = Edge::start(&Store::new());
    let detail =
        |path: &str, edge: &mut Edge| edge.ask(&Request::get(path)).problem()["detail"].clone();
    assert_eq!(
        detail("/a%2Fb", &mut edge),
        "the path holds an escaped slash or backslash"
    );
    assert_eq!(
        detail("/a/%2e%2e/b", &mut edge),
        "the path hides a dot segment"
    );
    assert_eq!(
        detail("/files/a;b", &mut edge),
        "the path holds a `;` parameter"
    );
}

#[test]
fn parameters_are_refused_on_protected_routes_and_pass_on_open_ones() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    for vector in vectors("ok")
        .iter()
        .filter(|vector| !vector["parameters"].is_null())
    {
        let raw = text(vector, "raw");
        for (under, code) in [("/open", "ok"), ("/files", "ambiguous_path")] {
            let answer = edge.ask(&by_header(&key).with(":path", format!("{under}{raw}")));
            assert_eq!(answer.code(), code, "{under}{raw}");
        }
    }
}

/// `/public/;/../admin/x` is `/admin/x` to a servlet container (parameters cut, slashes merged), and
/// `/admin/x//./../../public/x` is `/admin/public/x` to who does not merge slashes.
/// Every reader that the field knows, in short: none of them may see a path from this list under `/admin`.
#[test]
fn what_some_upstream_would_read_as_protected_is_never_let_in_as_open() {
    let policy = json!({"routes": [
        {"path": "/public/{*rest}", "auth": "none"},
        {"path": "/admin/{*rest}"},
    ]});
    let mut edge = Edge::start(&Store::with(policy));
    let tricks = [
        "/public/../admin/x",
        "/public/%2e%2e/admin/x",
        "/public/..%2fadmin/x",
        "/public/..\\admin\\x",
        "/public/..;/admin/x",
        "/public/.;/../../admin/x",
        "/public/;/../../admin/x",
        "/public/;/../admin/x",
        "/public//../admin/x",
        "/public//./../admin/x",
        "/public/a//../../../admin/x",
        "/admin//../public/x",
        "/admin/x//./../../public/x",
        "/admin/x//y/../../../public/x",
        "/admin/;/../../public/x",
        "//admin/x",
        "/./admin/x",
        "/%61dmin/x",
        "/admin%00/x",
        "/public/%00/../../admin/x",
        "/public\t/../admin/x",
        "/public/#/../../admin/x",
    ];
    let mut let_in = Vec::new();
    for path in tricks {
        if edge.ask(&Request::get(path)).passed() {
            let_in.push(path);
        }
    }
    assert_eq!(let_in, Vec::<&str>::new());
}

#[test]
fn hosts_compare_without_case_port_and_final_dot() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| row.scopes = vec!["read:reports".to_owned()]);
    let mut edge = Edge::start(&store);
    for (host, code) in [
        ("api.example.com", "ok"),
        ("API.Example.COM:8443", "ok"),
        ("api.example.com.", "rate_limited"),
        ("evil.example.com", "route_denied"),
        ("api.example.com.evil.test", "route_denied"),
        ("", "route_denied"),
    ] {
        let request = by_header(&key)
            .with(":path", "/reports/1")
            .with(":authority", host);
        assert_eq!(edge.ask(&request).code(), code, "{host}");
    }
}
