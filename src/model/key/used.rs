//! How a key was used.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::wire::Time;

/// How a key was used, as far as the policy has it recorded; only requests that were let through
/// count.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = KeyUse)]
pub struct KeyUseView {
    /// The first use.
    pub first_used: Option<Time>,
    /// The last use, to the minute.
    pub last_used: Option<Time>,
    /// The address of the first use.
    pub first_address: Option<String>,
    /// The address of the last use.
    pub last_address: Option<String>,
    /// The user agent of the last use.
    pub last_agent: Option<String>,
}
