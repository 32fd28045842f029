//! What values settings can have: as a JSON schema, which Helm reads, too.

use serde_json::{Map, Value, json};

/// The kind of a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// A text, empty if it is not set.
    Text,
    /// A text that is not empty.
    Name,
    /// A number of replicas.
    Count,
    /// A port.
    Port,
    /// Texts by name.
    Labels,
    /// A list of texts.
    Texts,
    /// What containers ask for and may use.
    Amounts,
    /// Tolerations of a pod.
    Tolerations,
    /// Variables of a container.
    Variables,
    /// Names of secrets, as pods refer to them.
    References,
}

impl SettingKind {
    /// Its schema.
    pub fn schema(self) -> Value {
        let text = || json!({"type": "string"});
        let amount = json!({"type": ["string", "number"]});
        let amounts = json!({"type": "object", "additionalProperties": amount});
        let list = |items: Value| json!({"type": "array", "items": items});
        let closed = |required: &[&str], properties: Value| {
            json!({"type": "object", "required": required, "properties": properties,
                "additionalProperties": false})
        };
        match self {
            Self::Text => text(),
            Self::Name => json!({"type": "string", "minLength": 1}),
            Self::Count => json!({"type": "integer", "minimum": 0, "maximum": 1000}),
            Self::Port => json!({"type": "integer", "minimum": 1, "maximum": 65535}),
            Self::Labels => json!({"type": "object", "additionalProperties": text()}),
            Self::Texts => list(text()),
            Self::Amounts => closed(&[], json!({"requests": amounts, "limits": amounts})),
            Self::Tolerations => list(closed(
                &[],
                json!({"key": text(), "operator": text(), "value": text(), "effect": text(),
                    "tolerationSeconds": {"type": "integer"}}),
            )),
            Self::Variables => list(closed(
                &["name"],
                json!({"name": text(), "value": text(), "valueFrom": {"type": "object"}}),
            )),
            Self::References => list(closed(&["name"], json!({"name": text()}))),
        }
    }

    /// Whether it is written on one line.
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Text | Self::Name | Self::Count | Self::Port)
    }
}

/// A place in a value, and what is wrong there.
#[derive(Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Such as `tolerations[0].key`.
    pub place: String,
    /// What it should be.
    pub wanted: String,
}

/// The first thing in a value that its schema does not allow. Knows the words that are used here.
pub fn misfit(schema: &Value, value: &Value, place: &str) -> Option<Misfit> {
    let wrong = |wanted: String| {
        Some(Misfit {
            place: place.to_owned(),
            wanted,
        })
    };
    let types = schema.get("type").map(|t| match t {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect::<Vec<_>>(),
    });
    if let Some(types) = types.filter(|types| !types.iter().any(|t| is_a(t, value))) {
        return wrong(format!("it has to be of the type {}", types.join(" or ")));
    }
    let bound = |name| schema.get(name).and_then(Value::as_f64);
    if let Some(n) = value.as_f64() {
        let (low, high) = (bound("minimum"), bound("maximum"));
        if low.is_some_and(|low| n < low) || high.is_some_and(|high| n > high) {
            let text = |b: Option<f64>| b.map_or_else(String::new, |b| b.to_string());
            return wrong(format!("it has to be from {} to {}", text(low), text(high)));
        }
    }
    if bound("minLength").is_some() && value.as_str().is_some_and(str::is_empty) {
        return wrong("it has to be given".to_owned());
    }
    match value {
        Value::Object(members) => in_members(schema, members, place),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(n, item)| misfit(schema.get("items")?, item, &format!("{place}[{n}]"))),
        _ => None,
    }
}

fn in_members(schema: &Value, members: &Map<String, Value>, place: &str) -> Option<Misfit> {
    let below = |name: &str| match place {
        "" => name.to_owned(),
        place => format!("{place}.{name}"),
    };
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            return Some(Misfit {
                place: below(name),
                wanted: "it has to be given".to_owned(),
            });
        }
    }
    let others = schema.get("additionalProperties");
    members.iter().find_map(|(name, value)| {
        let own = schema.get("properties").and_then(|p| p.get(name));
        match own.or(others) {
            Some(Value::Bool(false)) => Some(Misfit {
                place: below(name),
                wanted: "there is no such setting".to_owned(),
            }),
            Some(schema) => misfit(schema, value, &below(name)),
            None => None,
        }
    })
}

fn is_a(name: &str, value: &Value) -> bool {
    match name {
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
