//! A page that shows the OpenAPI document: generated here as a whole, without a script.

use serde_json::Value;

/// The policy of the page and its style: nothing from elsewhere, no scripts.
pub const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page's style.
pub const STYLE: &str = "\
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .3rem; overflow-wrap: anywhere; }
code { font: .9em ui-monospace, monospace; }
.method { display: inline-block; min-width: 4.2em; font-weight: 700; }
nav ul { columns: 18rem; padding-left: 1.2rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--soft); }
th { font-weight: 600; } td:first-child { white-space: nowrap; }
p { margin: .3rem 0; } .roles { opacity: .75; }
";

/// The page.
pub fn page(document: &Value) -> String {
    let mut out = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Keystile API</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"stylesheet\" href=\"/docs.css\"></head><body><h1>Keystile API</h1>\n",
    );
    out.push_str(
        "<p>Send an admin token: <code>Authorization: Bearer kst_…</code>. Bodies are JSON; a refusal is \
         answered as a problem (RFC 9457). The same as <a href=\"/openapi.json\">OpenAPI 3.1</a>. How to use it all: <a href=\"/docs/guide/\">the guide</a>.</p>\n",
    );
    let operations = operations(document);
    out.push_str("<nav><ul>\n");
    for o in &operations {
        out.push_str(&format!(
            "<li><a href=\"#{id}\">{summary}</a></li>\n",
            id = escaped(o.id),
            summary = escaped(o.summary)
        ));
    }
    out.push_str("</ul></nav>\n");
    let mut tag = "";
    for o in &operations {
        if o.tag != tag {
            tag = o.tag;
            out.push_str(&format!("<h2>{}</h2>\n", escaped(tag)));
        }
        operation(document, o, &mut out);
    }
    out.push_str("<h2>Types</h2>\n");
    for (name, schema) in object(document.pointer("/components/schemas")) {
        out.push_str(&format!(
            "<h3 id=\"type-{0}\"><code>{0}</code></h3>\n",
            escaped(name)
        ));
        described(schema, &mut out);
        properties(schema, &mut out);
    }
    out.push_str("</body></html>\n");
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

fn operation(document: &Value, o: &Op<'_>, out: &mut String) {
    out.push_str(&format!(
        "<h3 id=\"{}\"><code><span class=\"method\">{}</span> {}</code></h3>\n<p>{}.</p><p class=\"roles\">{}</p>\n",
        escaped(o.id),
        escaped(&o.method.to_ascii_uppercase()),
        escaped(o.path),
        escaped(o.summary),
        escaped(text(o.value, "/description")),
    ));
    let parameters = o.value.get("parameters").and_then(Value::as_array);
    let rows: Vec<String> = parameters
        .into_iter()
        .flatten()
        .map(|p| {
            row(
                text(p, "/name"),
                &format!("{}, {}", text(p, "/in"), type_of(p.get("schema"))),
                p.get("required") == Some(&Value::Bool(true)),
                text(p, "/description"),
            )
        })
        .collect();
    table(&rows, out);
    let body = "/requestBody/content/application~1json/schema/$ref";
    if let Some(schema) = resolve(document, text(o.value, body)) {
        out.push_str("<p>Body:</p>\n");
        properties(schema, out);
    }
    for (status, response) in object(o.value.get("responses")) {
        let schema = response.pointer("/content/application~1json/schema");
        if schema.is_some() {
            out.push_str(&format!(
                "<p>Answer: {} {}</p>\n",
                escaped(status),
                type_of(schema)
            ));
        }
    }
}

fn described(schema: &Value, out: &mut String) {
    let description = text(schema, "/description");
    if !description.is_empty() {
        out.push_str(&format!("<p>{}</p>\n", escaped(description)));
    }
}

/// The properties of an object, those that it takes from others included.
fn properties(schema: &Value, out: &mut String) {
    let needed = schema.get("required").and_then(Value::as_array);
    let rows: Vec<String> = object(schema.get("properties"))
        .map(|(name, property)| {
            let required = needed.is_some_and(|r| r.iter().any(|n| n == name.as_str()));
            row(
                name,
                &type_of(Some(property)),
                required,
                text(property, "/description"),
            )
        })
        .collect();
    table(&rows, out);
    for word in ["allOf", "oneOf"] {
        for part in schema
            .get(word)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if part.get("$ref").is_some() || part.get("type") == Some(&Value::from("array")) {
                out.push_str(&format!("<p>{}</p>\n", type_of(Some(part))));
            } else {
                properties(part, out);
            }
        }
    }
}

fn row(name: &str, kind: &str, required: bool, description: &str) -> String {
    let mark = if required { " *" } else { "" };
    format!(
        "<tr><td><code>{}</code>{mark}</td><td>{kind}</td><td>{}</td></tr>\n",
        escaped(name),
        escaped(description)
    )
}

fn table(rows: &[String], out: &mut String) {
    if !rows.is_empty() {
        out.push_str("<table><tr><th>Name (* needed)</th><th>Type</th><th></th></tr>\n");
        out.extend(rows.iter().map(String::as_str));
        out.push_str("</table>\n");
    }
}

/// A type in a few words, with a link to what it refers to.
fn type_of(schema: Option<&Value>) -> String {
    let Some(schema) = schema else {
        return String::new();
    };
    if let Some(name) = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|r| r.strip_prefix("#/components/schemas/"))
    {
        return format!("<a href=\"#type-{0}\">{0}</a>", escaped(name));
    }
    if let Some(list) = schema.get("oneOf").and_then(Value::as_array) {
        let words: Vec<String> = list.iter().map(|s| type_of(Some(s))).collect();
        return words.join(" or ");
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(Value::Array(kinds)) => {
            let words: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            words.join(" or ")
        }
        _ => "anything".to_owned(),
    };
    match schema.get("items") {
        Some(items) => format!("{} of {}", escaped(&kind), type_of(Some(items))),
        None => escaped(&kind),
    }
}

fn resolve<'d>(document: &'d Value, reference: &str) -> Option<&'d Value> {
    document.pointer(reference.strip_prefix('#')?)
}

fn object(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
