//! The policy of a keyset.

use std::sync::Arc;

use super::id::PolicyId;
use super::overlay::BaseName;
use crate::limit::quota::Quota;
use crate::policy::Policy;

/// The policy of a keyset, kept without its keys.
pub struct KeysetRules {
    /// Names the keyset.
    pub name: BaseName,
    /// Wall-clock seconds after which it is rejected.
    pub not_after: Option<u64>,
    /// The policy.
    pub policy: Arc<Policy>,
    /// The id of that policy.
    pub policy_id: PolicyId,
    pub(super) quotas: Arc<[Option<Quota>]>,
}
