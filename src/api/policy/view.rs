//! What the API shows of policies.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use keystile_model::wire::Time;

/// A policy as it was applied.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Policy)]
pub struct PolicyView {
    /// The number of the revision, from 1.
    pub revision: u64,
    /// When it was created.
    pub applied: Time,
    /// The file, as it was written.
    pub text: String,
    /// The same as JSON.
    #[schema(value_type = Object)]
    pub policy: Value,
}

/// An earlier policy.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = PolicyRevision)]
pub struct RevisionView {
    /// The number of the revision, from 1.
    pub revision: u64,
    /// When it was put in force.
    pub applied: Time,
    /// Its size.
    pub bytes: u64,
    /// Its lines.
    pub lines: u64,
}

/// The revisions of the policy.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = PolicyRevisions)]
pub struct Revisions {
    /// Oldest first; the last one is in force.
    pub revisions: Vec<RevisionView>,
}

/// The result of applying a policy.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = PolicyApplied)]
pub struct AppliedView {
    /// Its number.
    pub revision: u64,
    /// Whether it differs from the one before.
    pub changed: bool,
    /// Warnings: effects on existing keys, and what is left open next to something protected.
    pub warnings: Vec<String>,
    /// Notes: intended, but may surprise, such as spellings of paths that are refused.
    #[serde(default)]
    pub notes: Vec<String>,
}
