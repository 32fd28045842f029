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

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../book/pages/api.md");

const HEAD: &str = "# API

Every operation of the API, by its name in the audit log and in `next` of an [error](errors.md). The same server describes each with its
fields at `/docs`, and as OpenAPI 3.1 at `/openapi.json`.

Send an admin token: `Authorization: Bearer kst_…`. Bodies are JSON. Something that is created can be asked for twice with the same
`Idempotency-Key` and is made once. Everything that is shown individually has an `ETag`; with `If-Match`, a change is refused if it
has changed since. Lists have pages: pass `next` of one as `cursor` of the following. Roles are explained in
[Tokens and roles](operating.md#tokens-and-roles).
";

#[test]
#[expect(clippy::disallowed_methods, reason = "to write the page anew")]
fn the_page_of_the_api_lists_every_operation() {
    let mut all = routes();
    all.sort_by_key(|r| (r.tag(), r.path, r.method.as_str()));
    let (mut page, mut tag) = (HEAD.to_owned(), "");
    for route in all {
        if route.tag() != tag {
            tag = route.tag();
            page.push_str(&format!(
                "\n## {tag}\n\n| operation | | what it does | roles |\n| --- | --- | --- | --- |\n"
            ));
        }
        let roles: Vec<&str> = route.roles.iter().map(|r| r.as_str()).collect();
        let (name, method, path) = (route.name, route.method.as_str(), route.path);
        let roles = roles.join(", ");
        page.push_str(&format!(
            "| `{name}` | `{method} {path}` | {} | {roles} |\n",
            route.summary
        ));
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap();
    assert!(written == page, "`BLESS=1` writes the page anew");
}
