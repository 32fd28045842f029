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

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Whoever can check a signature can make one.
    HmacSha256,
    /// Envoys have the public key, which makes no signatures.
    Ed25519,
}

impl Algorithm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::HmacSha256, Self::Ed25519];

    /// As the envelope, the store and the command line call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The algorithm with this name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == word)
    }
}
