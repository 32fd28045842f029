//! What is common to both kinds of artefact.

use serde::{Deserialize, Serialize};

/// The version of the format of manifest and pages.
pub const FORMAT: u32 = 1;

/// Bytes of a page. One lookup verifies at most two, and pages are small enough that the first
/// touch costs some 20 µs.
pub const PAGE: usize = 4096;

/// The two kinds of artefact. Each is signed in a domain of its own, so that neither passes for the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtefactKind {
    /// Policy and all keys.
    Keyset,
    /// The keys that changed since.
    Overlay,
}
