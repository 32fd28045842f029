//! What a change does to access.

use serde::Serialize;

/// What a change does to access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// A request is let in that was refused before.
    Opens,
    /// A request is refused that was let in before.
    Closes,
    /// Some are let in and others refused.
    Moves,
    /// Access stays the same, but limits or what the upstream or the caller is told change.
    Alters,
}

impl Effect {
    /// In a table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opens => "opens",
            Self::Closes => "closes",
            Self::Moves => "moves",
            Self::Alters => "alters",
        }
    }
}
