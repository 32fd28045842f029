//! Envoy's `/config_dump`.

use serde_json::Value;

/// The part of a dump that is of this kind.
pub(super) fn part<'d>(dump: &'d Value, kind: &str) -> Option<&'d Value> {
    let mut all = below(dump, "/configs").as_array()?.iter();
    all.find(|c| {
        below(c, "/@type")
            .as_str()
            .is_some_and(|t| t.ends_with(kind))
    })
}

/// A field below a value, by its JSON pointer; null if there is none.
pub(super) fn below<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}
