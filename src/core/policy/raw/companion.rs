//! What is for the companion alone, which makes keys and takes reports. Not sent to filters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::is_default;

/// How long keys may live; the shortest limit that applies to a key counts, including that of its
/// plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLifetimes {
    /// Every key: `365d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any: Option<String>,
    /// Secret keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Publishable keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publishable: Option<String>,
    /// Keys of an environment, by its name.
    #[serde(skip_serializing_if = "is_default")]
    pub environments: BTreeMap<String, String>,
}

/// What happens to a key that came over plain HTTP. It is reported in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExposedKeys {
    /// No more than that: it goes on working over TLS.
    #[default]
    Report,
    /// It is disabled until somebody has looked into it.
    Disable,
    /// It is revoked for good.
    Revoke,
}
