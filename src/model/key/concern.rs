//! What should worry the owner of a key.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What should worry the owner of a key that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyConcern {
    /// It never expires.
    Endless,
    /// Neither it nor its plan has a limit or a quota.
    Unlimited,
    /// It is more than a week old, and no request with it has been let through.
    NeverUsed,
    /// It was used, but not in the last 90 days.
    Unused,
    /// It should have been rotated by now.
    Overdue,
    /// It holds every scope that a route asks for.
    EveryScope,
    /// Neither it nor its client has a label `owner`.
    Ownerless,
}

impl KeyConcern {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Endless,
        Self::Unlimited,
        Self::NeverUsed,
        Self::Unused,
        Self::Overdue,
        Self::EveryScope,
        Self::Ownerless,
    ];
}
