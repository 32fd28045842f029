//! Envoy's `/config_dump`.

use serde_json::Value;

/// The part of a dump that is of this kind.
pub(super) fn part<'d>(dump: &'d Value, kind: &str) -> Option<&'d Value> {
    let mut all = dump["configs"].as_array()?.iter();
    all.find(|c| c["@type"].as_str().is_some_and(|t| t.ends_with(kind)))
}
