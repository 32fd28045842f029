//! Kubernetes resources as YAML.

use serde::Serialize;

use crate::error::{Result, refuse};

/// One resource as a document, without its separator.
pub fn yaml(resource: &impl Serialize) -> Result<String> {
    let value = serde_json::to_value(resource).map_err(|e| e.to_string());
    value
        .and_then(|v| serde_saphyr::to_string(&v).map_err(|e| e.to_string()))
        .map(|mut text| {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text
        })
        .map_err(|e| {
            refuse(
                format_args!("the resource cannot be written ({e})"),
                "report this: it is a mistake in keystilectl",
            )
        })
}
