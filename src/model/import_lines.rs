//! Clients and keys of another system, line by line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::wire::LimitWords;

/// A client to create, unless it exists.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ImportClient)]
pub struct ClientLine {
    /// Its name.
    pub name: String,
    /// Its plan.
    #[serde(default)]
    pub plan: Option<String>,
    /// Free text.
    #[serde(default)]
    pub description: String,
}

/// A key to import, unless it exists.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = ImportKey)]
pub struct KeyLine {
    /// Where it comes from, for messages.
    pub place: String,
    /// Name of its client.
    pub client: String,
    /// SHA-256 of the whole key: 64 hexadecimal digits.
    pub sha256: String,
    /// Free text.
    pub name: String,
    /// Its environment; if empty, the first of the policy.
    pub environment: String,
    /// `secret` or `publishable`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Scopes.
    pub scopes: Vec<String>,
    /// A plan for the key.
    pub plan: String,
    /// Limits for the key: `100/1m`.
    pub limits: Vec<String>,
    /// When it expires.
    pub expires: String,
    /// When it becomes valid.
    pub not_before: String,
    /// Address ranges from which it may be used.
    pub cidrs: Vec<String>,
    /// Address ranges from which it may not be used. A server that does not know this field refuses
    /// it, so it is sent only if needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_cidrs: Vec<String>,
    /// Web origins from which it may be used.
    pub origins: Vec<String>,
    /// Identities of client certificates that it is bound to: `spiffe://…` or `dns:…`. A server
    /// that does not know this field refuses it, so it is sent only if needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// Labels: `team=payments`.
    pub labels: Vec<String>,
    /// Disabled.
    pub disabled: bool,
}

/// A quota by calendar month.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ImportQuota)]
pub struct QuotaLine {
    /// How many.
    pub requests_per_month: u64,
}

/// Imports clients, plans and keys: all of them, or none. What exists already stays as it is, so
/// that a second run changes nothing.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// Clients.
    #[serde(default)]
    pub clients: Vec<ClientLine>,
    /// Keys, by their digests.
    #[serde(default)]
    pub keys: Vec<KeyLine>,
    /// Limits of plans that clients are on.
    #[serde(default)]
    pub plans: BTreeMap<String, Vec<LimitWords>>,
    /// Quotas of plans that clients are on. A server that does not know this field refuses it, so
    /// it is sent only if needed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quotas: BTreeMap<String, QuotaLine>,
    /// Add plans that the policy does not have to it.
    #[serde(default)]
    pub add_plans: bool,
    /// Accept scopes that no route of the policy asks for.
    #[serde(default)]
    pub allow_unknown_scope: bool,
    /// Check everything, but change nothing. Plans count as added.
    #[serde(default)]
    pub dry_run: bool,
}

/// The result of the import.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[schema(as = ImportDone)]
pub struct Done {
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// Clients that were created.
    pub clients_created: Vec<String>,
    /// How many clients existed already.
    pub clients_known: u64,
    /// How many keys were imported.
    pub keys_imported: u64,
    /// How many keys existed already.
    pub keys_known: u64,
    /// Plans that were added to the policy.
    pub plans_added: Vec<String>,
    /// Plans that the policy has with other limits, and keeps: those asked for are not taken.
    #[serde(default)]
    pub plans_kept: Vec<String>,
    /// What exists in another form, and was left as it is.
    pub kept: Vec<String>,
}
