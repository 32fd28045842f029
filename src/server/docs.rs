//! A page that shows the OpenAPI document: generated here as a whole. Its script only searches the
//! list of operations.

mod example;
mod read;
mod schema;

use serde_json::Value;

use read::{escaped, object, resolve, text};
use schema::{described, properties, row, table, type_of};

/// The policy of the page, its style and its script: nothing from elsewhere, nothing inline.
pub const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page's style.
pub const STYLE: &str = include_str!("docs/docs.css");

/// The page's script.
pub const SCRIPT: &str = include_str!("docs/docs.js");

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Keystile API</title>\
     <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
     <meta name=\"color-scheme\" content=\"light dark\">\
     <link rel=\"stylesheet\" href=\"/docs.css\"><script src=\"/docs.js\" defer></script></head><body>\n";

const LEAD: &str = "<main><h1>Keystile API</h1>\n\
     <p>Send an admin token: <code>Authorization: Bearer kst_…</code>. Bodies are JSON; a refusal is \
     answered as a problem (RFC 9457). The same as <a href=\"/openapi.json\">OpenAPI 3.1</a>. In the \
     examples, <code>$KEYSTILE</code> is the address of this server, and <code>$KEYSTILE_TOKEN</code> \
     the token.</p>\n";

/// The page.
pub fn page(document: &Value) -> String {
    let mut out = String::from(HEAD);
    let operations = operations(document);
    list(document, &operations, &mut out);
    out.push_str(LEAD);
    for of_tag in operations.chunk_by(|a, b| a.tag == b.tag) {
        let tag = of_tag.first().map_or("", |o| o.tag);
        out.push_str(&format!("<section><h2>{}</h2>\n", escaped(tag)));
        for o in of_tag {
            operation(document, o, &mut out);
        }
        out.push_str("</section>\n");
    }
    out.push_str("<section><h2>Types</h2>\n");
    for (name, schema) in object(document.pointer("/components/schemas")) {
        out.push_str(&format!(
            "<article id=\"type-{0}\"><h3><code>{0}</code></h3>\n",
            escaped(name)
        ));
        described(schema, &mut out);
        properties(document, schema, &mut out);
        out.push_str("</article>\n");
    }
    out.push_str("</section></main></body></html>\n");
    out
}

struct Op<'d> {
    tag: &'d str,
    method: &'d str,
    path: &'d str,
    id: &'d str,
    summary: &'d str,
    value: &'d Value,
}

fn operations(document: &Value) -> Vec<Op<'_>> {
    let word =
        |v: &'_ Value, p: &str| -> Option<String> { v.pointer(p)?.as_str().map(str::to_owned) };
    let mut out: Vec<Op<'_>> = object(document.get("paths"))
        .flat_map(|(path, item)| {
            object(Some(item)).map(move |(method, value)| (path, method, value))
        })
        .map(|(path, method, value)| Op {
            tag: text(value, "/tags/0"),
            method,
            path,
            id: text(value, "/operationId"),
            summary: text(value, "/summary"),
            value,
        })
        .collect();
    out.sort_by_key(|o| (o.tag, o.path, word(o.value, "/operationId")));
    out
}

/// The sidebar: a search, which the script shows, and every operation and type.
fn list(document: &Value, operations: &[Op<'_>], out: &mut String) {
    out.push_str(
        "<nav class=\"side\" aria-label=\"Operations\"><a class=\"brand\" href=\"/docs\">Keystile API</a>\n\
         <div hidden><label for=\"search\">Search</label><input id=\"search\" type=\"search\" placeholder=\"revoke, /v1/keys\" autocomplete=\"off\"></div>\n\
         <p class=\"none\" role=\"status\" hidden>Nothing has that in its name.</p>\n",
    );
    for of_tag in operations.chunk_by(|a, b| a.tag == b.tag) {
        let tag = of_tag.first().map_or("", |o| o.tag);
        out.push_str(&format!("<div data-group><h2>{}</h2><ul>\n", escaped(tag)));
        for o in of_tag {
            let words = format!("{} {} {} {}", o.id, o.method, o.path, o.summary);
            out.push_str(&format!(
                "<li data-words=\"{words}\"><a href=\"#{id}\">{summary}</a></li>\n",
                words = escaped(&words.to_lowercase()),
                id = escaped(o.id),
                summary = escaped(o.summary)
            ));
        }
        out.push_str("</ul></div>\n");
    }
    out.push_str("<div data-group><h2>Types</h2><ul>\n");
    for (name, _) in object(document.pointer("/components/schemas")) {
        out.push_str(&format!(
            "<li data-words=\"{words}\"><a href=\"#type-{name}\">{name}</a></li>\n",
            words = escaped(&name.to_lowercase()),
            name = escaped(name)
        ));
    }
    out.push_str("</ul></div></nav>\n");
}

fn operation(document: &Value, o: &Op<'_>, out: &mut String) {
    out.push_str(&format!(
        "<article id=\"{}\"><h3>{}</h3><p class=\"path\"><span class=\"method {}\">{}</span> {}</p>\n<p class=\"roles\">{}</p>\n<div class=\"parts\"><div>\n",
        escaped(o.id),
        escaped(o.summary),
        escaped(o.method),
        escaped(&o.method.to_ascii_uppercase()),
        escaped(o.path),
        escaped(text(o.value, "/description")),
    ));
    let rows: Vec<String> = parameters(o)
        .map(|p| {
            row(
                text(p, "/name"),
                &format!("{}, {}", text(p, "/in"), type_of(p.get("schema"))),
                p.get("required") == Some(&Value::Bool(true)),
                schema::description(
                    document,
                    p.get("schema")
                        .filter(|_| text(p, "/description").is_empty())
                        .unwrap_or(p),
                ),
            )
        })
        .collect();
    table("Parameter", &rows, out);
    if let Some(schema) = resolve(document, text(o.value, BODY)) {
        out.push_str("<h4>Body</h4>\n");
        properties(document, schema, out);
    }
    out.push_str("</div><div>\n<h4>Request</h4>\n");
    out.push_str(&block(&curl(document, o)));
    for (status, response) in object(o.value.get("responses")) {
        let Some(schema) = response.pointer("/content/application~1json/schema") else {
            continue;
        };
        out.push_str(&format!(
            "<h4>Answer: {} {}</h4>\n",
            escaped(status),
            type_of(Some(schema))
        ));
        let example = example::value(document, "", schema);
        out.push_str(&block(&pretty(&example)));
    }
    out.push_str("</div></div></article>\n");
}

/// Where the type of the body stands.
const BODY: &str = "/requestBody/content/application~1json/schema/$ref";

fn parameters<'d>(o: &Op<'d>) -> impl Iterator<Item = &'d Value> {
    let all = o.value.get("parameters").and_then(Value::as_array);
    all.into_iter().flatten()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn block(text: &str) -> String {
    format!("<pre tabindex=\"0\"><code>{}</code></pre>\n", escaped(text))
}

/// The body that a request could have.
fn body(document: &Value, o: &Op<'_>) -> Option<Value> {
    let schema = resolve(document, text(o.value, BODY))?;
    Some(example::body(document, schema))
}

/// A request as it is typed.
fn curl(document: &Value, o: &Op<'_>) -> String {
    let mut path = o.path.to_owned();
    let mut query = Vec::new();
    for p in parameters(o) {
        let (name, schema) = (text(p, "/name"), p.get("schema").unwrap_or(&Value::Null));
        let value = match example::value(document, name, schema) {
            Value::String(text) => text,
            other => other.to_string(),
        };
        match text(p, "/in") {
            "path" => path = path.replace(&format!("{{{name}}}"), &value),
            "query" if p.get("required") == Some(&Value::Bool(true)) => {
                query.push(format!("{name}={value}"));
            }
            _ => {}
        }
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let method = match o.method {
        "get" => String::new(),
        other => format!(" -X {}", other.to_ascii_uppercase()),
    };
    let auth = "-H \"Authorization: Bearer $KEYSTILE_TOKEN\"";
    let mut out = format!("curl{method} \"$KEYSTILE{path}\" \\\n  {auth}");
    if let Some(body) = body(document, o) {
        // In single quotes; a body with one in it would have to be escaped for the shell.
        let text = pretty(&body).replace('\'', "'\\''");
        out.push_str(" \\\n  -H 'Content-Type: application/json' \\\n");
        out.push_str(&format!("  -d '{text}'"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_every_example_is_one_that_its_operation_reads() {
        let document = super::super::openapi::document();
        let all = operations(&document);
        let (mut bodies, mut wrong) = (0, Vec::new());
        macro_rules! each {
            ($($operation:ty,)*) => { $( {
                use keystile_api::Operation as _;
                let route = <$operation>::ENDPOINT;
                let o = all.iter().find(|o| o.id == route.name).unwrap();
                if let Some(Value::Object(mut body)) = body(&document, o) {
                    bodies += 1;
                    for p in parameters(o).filter(|p| text(p, "/in") == "path") {
                        let name = text(p, "/name");
                        body.insert(name.to_owned(), example::value(&document, name, &p["schema"]));
                    }
                    let read = serde_json::from_value::<$operation>(Value::Object(body.clone()));
                    if let Err(e) = read {
                        wrong.push(format!("{}: {e} {body:?}", route.name));
                    }
                }
            } )* };
        }
        keystile_api::for_each_operation!(each);
        assert!(bodies > 15, "{bodies}");
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn everything_on_the_page_is_described() {
        let page = page(&super::super::openapi::document());
        let mut empty = Vec::new();
        let mut at = "";
        for line in page.lines() {
            if let Some((_, rest)) = line.split_once("<article id=\"") {
                at = rest.split('"').next().unwrap();
            }
            if line.contains("<td></td></tr>") {
                empty.push(format!("{at}: {line}"));
            }
        }
        assert!(empty.is_empty(), "{}", empty.join("\n"));
        let operations = operations(&super::super::openapi::document()).len();
        assert_eq!(
            page.matches("<pre tabindex=\"0\"><code>curl").count(),
            operations
        );
    }
}
