//! Answers to what we send to the control plane.

use keystile_core::report::message::{KID_HEADER, SIGNATURE_HEADER};
use keystile_core::report::usage::MAX_BYTES;
use keystile_core::request::headers::{Headers, Pair};

/// An answer that arrived.
pub struct CalloutAnswer {
    /// HTTP status; zero for one that cannot be read.
    pub status: u16,
    /// The id of the key that signed it, empty if none did.
    pub kid: String,
    /// The signature, likewise.
    pub tag: String,
    /// Its body; empty if it is longer than any of ours.
    pub body: Vec<u8>,
}

impl CalloutAnswer {
    /// Of its headers and the pieces of its body.
    pub fn new(headers: &[Pair<'_>], chunks: &[&[u8]]) -> Self {
        let headers = Headers::from_pairs(headers);
        let text = |name| {
            let value = headers.get(name).unwrap_or_default();
            core::str::from_utf8(value).unwrap_or_default()
        };
        let size: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        Self {
            status: text(":status").parse().unwrap_or(0),
            kid: text(KID_HEADER).to_owned(),
            tag: text(SIGNATURE_HEADER).to_owned(),
            body: match size <= MAX_BYTES {
                true => chunks.concat(),
                false => Vec::new(),
            },
        }
    }
}
