//! The description of the API, and its page.

use super::*;

#[tokio::test]
async fn openapi_lists_each_route_once_and_every_reference_resolves() {
    let document = super::super::openapi::document();
    assert_eq!(document["openapi"], "3.1.0");
    let listed: Vec<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |m| format!("{} {path}", m.to_uppercase()))
        })
        .collect();
    let mut known: Vec<String> = routes()
        .iter()
        .map(|r| format!("{} {}", r.method.as_str(), r.path))
        .collect();
    let (mut sorted, count) = (listed.clone(), known.len());
    sorted.sort();
    known.sort();
    known.dedup();
    assert_eq!(known.len(), count, "two operations share a route");
    assert_eq!(sorted, known);

    let mut names: Vec<&str> = routes().iter().map(|r| r.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "two operations share a name");

    fn check(value: &Value, document: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    let found = document.pointer(reference.strip_prefix('#').unwrap());
                    assert!(found.is_some(), "{reference} leads nowhere");
                }
                map.values().for_each(|v| check(v, document));
            }
            Value::Array(list) => list.iter().for_each(|v| check(v, document)),
            _ => {}
        }
    }
    check(&document, &document);
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let empty = schema.as_object().is_none_or(serde_json::Map::is_empty);
        assert!(!empty, "{name} says nothing");
    }
    let issue = &document["components"]["schemas"]["KeyIssue"];
    assert_eq!(issue["required"], json!(["client"]));
    assert!(issue["properties"]["progress"].is_null());
}

#[tokio::test]
async fn the_page_runs_one_script_of_ours_and_loads_nothing_from_elsewhere() {
    let api = Api::new();
    let page = api.ask("", "GET", "/docs", Value::Null).await;
    assert_eq!(page.status, 200);
    assert!(header(&page, "content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(page.text.matches("<script").count(), 1);
    assert!(
        page.text
            .contains("<script src=\"/docs.js\" defer></script>")
    );
    assert!(!page.text.contains("http://"));
    for route in routes() {
        assert!(
            page.text.contains(&format!("id=\"{}\"", route.name)),
            "{}",
            route.name
        );
    }
    assert_eq!(
        api.ask("", "GET", "/docs.css", Value::Null).await.status,
        200
    );
    let script = api.ask("", "GET", "/docs.js", Value::Null).await;
    assert_eq!(
        header(&script, "content-type"),
        "text/javascript; charset=utf-8"
    );
    let document = api.ask("", "GET", "/openapi.json", Value::Null).await;
    assert_eq!(document.body["info"]["title"], "Keystile");
}
