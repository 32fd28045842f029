//! In which order keys are listed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a list of keys is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyOrder {
    /// By id, which is random.
    #[default]
    Id,
    /// The last created first.
    Newest,
    /// The first created first.
    Oldest,
    /// Only keys that have not expired, those that expire soonest first, and last those that never
    /// do.
    Ending,
}
