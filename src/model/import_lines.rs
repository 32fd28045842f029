//! Clients and keys that another system had, line by line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::wire::LimitWords;

/// A client to make, unless it is there.
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

/// A key to take over, unless it is there.
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
    /// Where it is good; the first environment of the policy if it is empty.
    pub environment: String,
    /// `secret` or `publishable`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Permissions.
    pub scopes: Vec<String>,
    /// A plan of its own.
    pub plan: String,
    /// Limits of its own: `100/1m`.
    pub limits: Vec<String>,
    /// When it ends.
    pub expires: String,
    /// When it begins.
    pub not_before: String,
    /// Ranges that it may be used from.
    pub cidrs: Vec<String>,
    /// Ranges that it may not be used from. A server that does not know them refuses them, and
    /// is asked for them only where needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_cidrs: Vec<String>,
    /// Origins that it may be used from.
    pub origins: Vec<String>,
    /// Identities of client certificates that it may be used with: `spiffe://…` or `dns:…`.
    /// A server that does not know them refuses them, and is asked for them only where needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// Free pairs: `team=payments`.
    pub labels: Vec<String>,
    /// Switched off for now.
    pub disabled: bool,
}

/// So many requests in each calendar month.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ImportQuota)]
pub struct QuotaLine {
    /// How many.
    pub requests_per_month: u64,
}

/// Takes over clients, plans and keys: all of them, or none. What is there already stays
/// as it is, so that a second time changes nothing.
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
    /// Quotas of plans that clients are on. A server that does not know them refuses them, and
    /// is asked for them only where needed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quotas: BTreeMap<String, QuotaLine>,
    /// Add plans to the policy that it does not have.
    #[serde(default)]
    pub add_plans: bool,
    /// Take scopes that no route of the policy asks for.
    #[serde(default)]
    pub allow_unknown_scope: bool,
    /// Check everything, change nothing. Plans are taken as added.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was taken over.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[schema(as = ImportDone)]
pub struct Done {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Clients that were made.
    pub clients_created: Vec<String>,
    /// Clients that were there.
    pub clients_known: u64,
    /// How many keys were taken over.
    pub keys_imported: u64,
    /// How many were there.
    pub keys_known: u64,
    /// Plans that the policy did not have.
    pub plans_added: Vec<String>,
    /// Plans that the policy has with other limits, and keeps: those asked for are not taken.
    #[serde(default)]
    pub plans_kept: Vec<String>,
    /// What is there in another form, and was left as it is.
    pub kept: Vec<String>,
}
