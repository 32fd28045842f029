//! Kubernetes resources: what all kinds have in common, and how they are written as YAML.
//!
//! The types of resources (`kubernetes::types`, `istio::types`, `envoy_gateway::types`) have only
//! the fields that are printed, named as in the API. `tests/control/schemas.rs` checks that the API
//! has these fields, against JSON schemas.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::chosen::Chosen;

use keystile_model::error::{Result, defect};

/// A resource of any kind.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource<S> {
    /// The API that defines the kind.
    pub api_version: &'static str,
    /// What it is.
    pub kind: &'static str,
    /// Its name and namespace.
    pub metadata: Metadata,
    /// Its content.
    pub spec: S,
}

/// Name, place and labels of a resource.
#[derive(Serialize)]
pub struct Metadata {
    /// Its name.
    pub name: &'static str,
    /// Its namespace: none for a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Chosen<String>>,
    /// Its labels.
    #[serde(skip_serializing_if = "ManifestLabels::is_empty")]
    pub labels: ManifestLabels,
}

/// Labels that do not differ between users.
pub type ManifestLabels = BTreeMap<&'static str, &'static str>;

impl Metadata {
    /// Of a resource without labels.
    pub fn new(name: &'static str, namespace: &str) -> Self {
        Self {
            name,
            namespace: Some(Chosen::Fixed(namespace.to_owned())),
            labels: ManifestLabels::new(),
        }
    }
}

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
        .map_err(|e| defect(format_args!("the resource cannot be written ({e})")))
}
