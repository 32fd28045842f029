//! A description with a user's settings in it.

use serde_json::Value;

use super::settings::PlaneSettings;
use crate::chosen::Dependent;

/// The value, or nothing if the settings leave it out.
pub fn resolved(described: &Value, settings: &PlaneSettings) -> Option<Value> {
    match Dependent::read(described) {
        Some(Dependent::Setting { before, path }) => {
            let value = settings.at(path).clone();
            Some(match before {
                Some(before) => Value::String(after(before, &value)),
                None => value,
            })
        }
        Some(Dependent::When { path, given, then }) => {
            let there = is_empty(settings.at(path)) != given;
            there.then(|| resolved(then, settings)).flatten()
        }
        Some(Dependent::Items { .. }) => None,
        None => Some(match described {
            Value::Object(members) => members
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), resolved(value, settings)?)))
                .collect(),
            Value::Array(items) => items.iter().flat_map(|i| all(i, settings)).collect(),
            other => other.clone(),
        }),
    }
}

/// What an item of a list stands for.
fn all(item: &Value, settings: &PlaneSettings) -> Vec<Value> {
    let Some(Dependent::Items { before, path }) = Dependent::read(item) else {
        return resolved(item, settings).into_iter().collect();
    };
    let items = settings.at(path).as_array().into_iter().flatten();
    items
        .map(|item| match before {
            Some(before) => Value::String(after(before, item)),
            None => item.clone(),
        })
        .collect()
}

fn after(before: &str, value: &Value) -> String {
    match value.as_str() {
        Some(text) => format!("{before}{text}"),
        None => format!("{before}{value}"),
    }
}

/// As templates see it.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}
