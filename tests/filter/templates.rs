//! Text around parameters: a template takes what it names and nothing else, however a path is spelled.

use serde_json::{Value, json};

use crate::fixture::{Edge, Store, by_header};
use crate::host::Request;

fn vectors() -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../vectors/templates.json")).expect("JSON");
    all["templates"].as_array().expect("a list").clone()
}

fn paths<'a>(vector: &'a Value, list: &str) -> Vec<&'a str> {
    let list = vector[list].as_array().expect("a list");
    list.iter().map(|p| p.as_str().expect("a text")).collect()
}

#[test]
fn a_template_with_text_takes_what_it_names_and_nothing_else() {
    for vector in vectors() {
        let routes = json!([{"path": "/{*rest}", "auth": "none"}, {"path": vector["template"]}]);
        let mut edge = Edge::start(&Store::with(json!({"routes": routes})));
        let mut codes = |list| -> Vec<(String, String)> {
            let mut code = |path: &str| edge.ask(&Request::get(path)).code();
            let each = |path: &str| (path.to_owned(), code(path).to_owned());
            paths(&vector, list).into_iter().map(each).collect()
        };
        for (path, code) in codes("fits") {
            assert_eq!(code, "missing_api_key", "{path}");
        }
        for (path, code) in codes("others") {
            assert_eq!(code, "ok", "{path}");
        }
        for (path, code) in codes("doubtful") {
            assert!(
                code == "ambiguous_path" || code == "missing_api_key",
                "{path}: {code}"
            );
        }
    }
}

#[test]
fn a_key_opens_what_its_template_names_and_no_more() {
    let route = json!([{"path": "/m/{id}.json", "scopes": ["read"]}]);
    let mut store = Store::with(json!({"routes": route}));
    let key = store.issue_as("acme", |row| row.scopes = vec!["read".to_owned()]);
    let mut edge = Edge::start(&store);
    for (path, code) in [
        ("/m/1.json", "ok"),
        ("/m/1.json?x=.csv", "ok"),
        ("/m/1", "route_denied"),
        ("/m/export.csv", "route_denied"),
        ("/m/1.csv?x=.json", "route_denied"),
    ] {
        assert_eq!(
            edge.ask(&by_header(&key).with(":path", path)).code(),
            code,
            "{path}"
        );
    }
}
