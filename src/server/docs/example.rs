//! A request that could be sent: made from the types, with the values that fields usually have.

use serde_json::{Map, Value, json};

use super::read::{object, resolve, text};

/// Fields of a body that are shown although they may be left out.
const OTHERS: u32 = 4;

/// How deep types lie in one another.
const DEPTH: u32 = 12;

/// A value for a field of that name and type.
pub(super) fn value(document: &Value, name: &str, schema: &Value) -> Value {
    at_depth(document, name, schema, DEPTH)
}

/// A body: every field that is needed, and the first of the others.
pub(super) fn body(document: &Value, schema: &Value) -> Value {
    let needed = schema.get("required").and_then(Value::as_array);
    let is_needed = |name: &str| needed.is_some_and(|r| r.iter().any(|n| n == name));
    let mut others = 0;
    let mut fields = Map::new();
    for (name, property) in object(schema.get("properties")) {
        if !is_needed(name) {
            others += 1;
            if others > OTHERS {
                continue;
            }
        }
        fields.insert(name.clone(), value(document, name, property));
    }
    Value::Object(fields)
}

fn at_depth(document: &Value, name: &str, schema: &Value, depth: u32) -> Value {
    let Some(depth) = depth.checked_sub(1) else {
        return Value::Null;
    };
    if let Some(usual) = usual(name).filter(|usual| is_of(usual, kind(schema))) {
        return usual;
    }
    if let Some(to) = resolve(document, text(schema, "/$ref")) {
        return at_depth(document, name, to, depth);
    }
    for word in ["enum", "oneOf", "anyOf", "allOf"] {
        let Some(all) = schema.get(word).and_then(Value::as_array) else {
            continue;
        };
        if word == "enum" {
            return all.first().cloned().unwrap_or_default();
        }
        let not_null = |s: &&Value| s.get("type") != Some(&Value::from("null"));
        if let Some(first) = all.iter().find(not_null) {
            return at_depth(document, name, first, depth);
        }
    }
    match kind(schema) {
        "integer" | "number" => json!(1),
        "boolean" => json!(true),
        "array" => {
            let item = schema.get("items").unwrap_or(&Value::Null);
            json!([at_depth(document, name, item, depth)])
        }
        "object" => {
            let field = |(name, s): (&String, &Value)| {
                let value = at_depth(document, name, s, depth);
                (name.clone(), value)
            };
            let fields: Map<String, Value> = object(schema.get("properties")).map(field).collect();
            Value::Object(fields)
        }
        _ => json!("text"),
    }
}

/// Whether a value may stand for a type; one that is only referred to is not known here.
fn is_of(value: &Value, kind: &str) -> bool {
    match value {
        Value::Array(_) => matches!(kind, "array" | ""),
        Value::Object(_) => matches!(kind, "object" | ""),
        _ => matches!(kind, "string" | ""),
    }
}

/// The type that is not null.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            let mut words = kinds.iter().filter_map(Value::as_str);
            words.find(|k| *k != "null").unwrap_or_default()
        }
        _ => "",
    }
}

/// What a field of that name usually holds.
fn usual(name: &str) -> Option<Value> {
    Some(match name {
        "client" | "of" => json!("acme"),
        "id" | "key" | "cursor" => json!("0Ab3dEfGh1"),
        "ids" => json!(["0Ab3dEfGh1"]),
        "node" => json!("edge-1"),
        "nodes" => json!(["edge-1"]),
        "url" => json!("https://hooks.example.com/keystile"),
        "events" => json!(["key.*"]),
        "scopes" => json!(["read"]),
        "plans" => json!(["gold"]),
        "plan" => json!("gold"),
        "environment" => json!("live"),
        "expires" | "max_expiry" | "rotate_every" => json!("90d"),
        "not_before" | "grace" | "overlap" => json!("1h"),
        "since" | "before" | "minutes" | "hours" | "days" | "network_learning" => json!("7d"),
        "until" | "at" => json!("2027-02-01"),
        "host" => json!("api.example.com"),
        "path" => json!("/v1/users/7"),
        "headers" => json!([["x-request-id", "7"]]),
        "cidrs" | "deny_cidrs" => json!(["10.0.0.0/8"]),
        "origins" => json!(["https://app.example.com"]),
        "limits" => json!(["100/1m:20"]),
        "label" => json!(["team=web"]),
        "labels" => json!({"team": "web"}),
        "role" => json!("issuer"),
        "reason" => json!("seen in a public repository"),
        _ => return None,
    })
}
