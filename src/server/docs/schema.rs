//! Types as tables.

use serde_json::Value;

use super::read::{escaped, object, prose, resolve, text};

pub(super) fn described(schema: &Value, out: &mut String) {
    let description = text(schema, "/description");
    if !description.is_empty() {
        out.push_str(&format!("<p>{}</p>\n", prose(description)));
    }
}

/// The properties of an object, those that it takes from others included.
pub(super) fn properties(document: &Value, schema: &Value, out: &mut String) {
    let needed = schema.get("required").and_then(Value::as_array);
    let rows: Vec<String> = object(schema.get("properties"))
        .map(|(name, property)| {
            let required = needed.is_some_and(|r| r.iter().any(|n| n == name.as_str()));
            row(
                name,
                &type_of(Some(property)),
                required,
                description(document, property),
            )
        })
        .collect();
    table("Field", &rows, out);
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
                properties(document, part, out);
            }
        }
    }
}

/// What a property is: in its own words, or in those of the type that it refers to.
pub(super) fn description<'d>(document: &'d Value, property: &'d Value) -> &'d str {
    let own = text(property, "/description");
    if !own.is_empty() {
        return own;
    }
    let any = property.get("oneOf").and_then(Value::as_array);
    let parts: Vec<&Value> = any.into_iter().flatten().chain([property]).collect();
    let own = parts.iter().map(|part| text(part, "/description"));
    if let Some(own) = own.into_iter().find(|words| !words.is_empty()) {
        return own;
    }
    let referred = |part: &'d Value| {
        let to = resolve(document, text(part, "/$ref"))?;
        Some(text(to, "/description")).filter(|words| !words.is_empty())
    };
    parts.into_iter().find_map(referred).unwrap_or_default()
}

pub(super) fn row(name: &str, kind: &str, required: bool, description: &str) -> String {
    let mark = if required {
        " <span class=\"needed\">needed</span>"
    } else {
        ""
    };
    format!(
        "<tr><td><code>{}</code>{mark}</td><td>{kind}</td><td>{}</td></tr>\n",
        escaped(name),
        prose(description)
    )
}

pub(super) fn table(head: &str, rows: &[String], out: &mut String) {
    if !rows.is_empty() {
        out.push_str(&format!("<div class=\"scroll\"><table><tr><th>{head}</th><th>Type</th><th>Description</th></tr>\n"));
        out.extend(rows.iter().map(String::as_str));
        out.push_str("</table></div>\n");
    }
}

/// A type in a few words, with a link to what it refers to.
pub(super) fn type_of(schema: Option<&Value>) -> String {
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
