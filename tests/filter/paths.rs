//! Hosts and paths that readers could understand differently: one rule for all readings, or 400.

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

/// What a vector's readers are known to see.
fn reached(vector: &Value) -> Vec<&str> {
    let list = vector["reaches"].as_array().expect("a list");
    list.iter()
        .map(|path| path.as_str().expect("a text"))
        .collect()
}

/// A template that a path is the only one to fit. `None` where no template can name it.
fn template(path: &str) -> Option<String> {
    let nameable = |s: &str| {
        !s.is_empty() && !s.ends_with('.') && !s.contains(['%', ';', '\\', '"', '{', ' ', '$'])
    };
    let bare = path.strip_prefix('/')?;
    (bare.is_empty() || bare.split('/').all(nameable)).then(|| path.to_owned())
}

#[test]
fn a_path_with_one_reading_finds_its_route_and_travels_as_it_was_sent() {
    for vector in vectors("one") {
        let store = Store::with(json!({"routes": [{"path": "/{*rest}", "auth": "none"}]}));
        let answer = Edge::start(&store).ask(&Request::get(text(&vector, "raw")));
        assert_eq!(answer.code(), "ok", "{vector}");
        assert_eq!(
            answer.headers.get(":path").as_deref(),
            Some(text(&vector, "raw")),
            "the upstream gets what was sent"
        );
    }
}

/// Each protected path by itself beside an open catch-all, with every spelling that some reader takes
/// for it: parameters, escapes, slashes, dots, backslashes.
#[test]
fn no_spelling_of_a_protected_path_is_let_in_by_an_open_catch_all() {
    let mut tried = 0;
    for vector in vectors("several") {
        for path in reached(&vector) {
            let Some(template) = template(path) else {
                continue;
            };
            let routes = json!([{"path": "/{*rest}", "auth": "none"}, {"path": template}]);
            let mut edge = Edge::start(&Store::with(json!({"routes": routes})));
            let answer = edge.ask(&Request::get(text(&vector, "raw")));
            assert!(!answer.passed(), "{vector}: {template}");
            let code = answer.code();
            assert!(
                code == "ambiguous_path" || code == "missing_api_key",
                "{vector}: {code}"
            );
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried} paths were tried");
}

/// The other way round: what is open is open in one spelling, and every other one belongs to the
/// protected catch-all for some reader.
#[test]
fn no_other_spelling_of_an_open_path_is_let_in() {
    for vector in vectors("several") {
        for path in reached(&vector) {
            let Some(template) = template(path).filter(|t| t != text(&vector, "raw")) else {
                continue;
            };
            let routes = json!([{"path": template, "auth": "none"}, {"path": "/{*rest}"}]);
            let mut edge = Edge::start(&Store::with(json!({"routes": routes})));
            let answer = edge.ask(&Request::get(text(&vector, "raw")));
            assert!(!answer.passed(), "{vector}: {template}");
        }
    }
}

#[test]
fn a_path_whose_readings_all_belong_to_one_rule_goes_on_as_it_was_sent() {
    let mut store = Store::with(json!({"routes": [{"path": "/{*rest}"}]}));
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    for vector in vectors("several") {
        let raw = text(&vector, "raw");
        assert_eq!(edge.ask(&Request::get(raw)).code(), "missing_api_key");
        let answer = edge.ask(&by_header(&key).with(":path", raw));
        assert_eq!(answer.code(), "ok", "{vector}");
        assert_eq!(answer.headers.get(":path").as_deref(), Some(raw));
    }
}

#[test]
fn what_no_honest_client_sends_is_refused_on_open_and_on_protected_routes() {
    let mut store = Store::with(json!({"routes": [{"path": "/{*rest}", "auth": "none"}]}));
    let mut open = Edge::start(&store);
    let key = store.issue("acme");
    store.policy["routes"] = json!([{"path": "/{*rest}"}]);
    let mut protected = Edge::start(&store);
    let mut passed = Vec::new();
    for vector in vectors("refused") {
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
    let routes = json!([{"path": "/a/{*rest}"}, {"path": "/{*rest}", "auth": "none"}]);
    let mut edge = Edge::start(&Store::with(json!({"routes": routes})));
    for (path, words) in [
        ("/a%2Fb", "escaped slash"),
        ("/a/../b", "dot segment"),
        ("/a;b", "`;`"),
        ("//a", "double slash"),
        ("/\\a", "backslash"),
        ("/%61", "escape"),
        ("/a%00", "control character"),
    ] {
        let answer = edge.ask(&Request::get(path));
        assert_eq!(answer.code(), "ambiguous_path", "{path}");
        let detail = answer.problem()["detail"].clone();
        assert!(detail.as_str().expect("a text").contains(words), "{detail}");
    }
}

/// `/public/;/../admin/x` is `/admin/x` to a servlet container (parameters cut, slashes merged), and
/// `/admin/x//./../../public/x` is `/admin/public/x` to who does not merge slashes.
/// Every reader that the field knows, in short: none of them may see a path from this list under `/admin`.
#[test]
fn what_some_upstream_would_read_as_protected_is_never_let_in_as_open() {
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
        "/admin;x=1/x",
        "/;/admin/x",
        "/admin;/x",
        "/..%3B/admin/x",
        "/public/..%3b/admin/x",
        "/public/%252e%252e/admin/x",
        "/admin%2fx",
        "/public/../admin;/x",
    ];
    // An open subtree beside the protected one, and an open catch-all around it.
    for open in ["/public/{*rest}", "/{*rest}"] {
        let routes = json!([{"path": open, "auth": "none"}, {"path": "/admin/{*rest}"}]);
        let mut edge = Edge::start(&Store::with(json!({"routes": routes})));
        let mut let_in = Vec::new();
        for path in tricks {
            if edge.ask(&Request::get(path)).passed() {
                let_in.push(path);
            }
        }
        assert_eq!(let_in, Vec::<&str>::new(), "{open}");
    }
}

#[test]
fn a_host_belongs_to_its_rule_in_every_reading_or_is_refused() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| row.scopes = vec!["read:reports".to_owned()]);
    let ports = |store: &Store, word: Option<&str>| {
        let mut store = store.clone();
        if let Some(word) = word {
            store.policy["host_ports"] = json!(word);
        }
        Edge::start(&store)
    };
    let cases = [
        ("api.example.com", "ok", "ok"),
        ("API.Example.COM:8443", "ambiguous_host", "ok"),
        ("api.example.com.", "ambiguous_host", "ambiguous_host"),
        ("api.example.com:x", "ambiguous_host", "ambiguous_host"),
        ("x@api.example.com", "ambiguous_host", "ambiguous_host"),
        ("[api.example.com]", "ambiguous_host", "ambiguous_host"),
        ("evil.example.com", "route_denied", "route_denied"),
        ("evil.example.com:81", "route_denied", "route_denied"),
        ("api.example.com.evil.test", "route_denied", "route_denied"),
        ("", "ambiguous_host", "ambiguous_host"),
    ];
    let (mut plain, mut ignoring) = (ports(&store, None), ports(&store, Some("ignore")));
    for (host, by_both, by_name) in cases {
        let request = by_header(&key)
            .with(":path", "/reports/1")
            .with(":authority", host);
        assert_eq!(plain.ask(&request).code(), by_both, "{host}");
        assert_eq!(ignoring.ask(&request).code(), by_name, "{host}");
    }
}

#[test]
fn a_rule_of_a_virtual_host_goes_by_what_envoy_says() {
    let routes = json!([
        {"path": "/{*rest}", "virtual_hosts": ["corp"]},
        {"path": "/{*rest}", "auth": "none"},
    ]);
    let mut edge = Edge::start(&Store::with(json!({"routes": routes})));
    let asked = |name: &str| Request::get("/x").property(&["xds", "virtual_host_name"], name);
    assert_eq!(edge.ask(&asked("corp")).code(), "missing_api_key");
    assert_eq!(edge.ask(&asked("pub")).code(), "ok");
    assert_eq!(
        edge.ask(&Request::get("/x")).code(),
        "ambiguous_host",
        "nobody falls to the open rule because a name is not told"
    );
}
