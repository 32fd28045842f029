//! What a store knows about itself.

use std::fmt;

use keystile_core::hex::Hex;
use keystile_core::keyset::StoreId;
use keystile_model::audit::Head;

/// What the store knows about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Names the store in keysets and buckets.
    pub store: StoreId,
    /// Distinguishes it from others that were restored from the same backup.
    pub timeline: Timeline,
    /// Version of the keyset that the timeline began with; 0 if it is the first.
    pub began: u64,
    /// Version of the keyset.
    pub version: u64,
    /// Seconds.
    pub issued_at: u64,
    /// End of the audit log.
    pub head: Head,
    /// Where the audit log begins: after this record, the last that was removed.
    pub start: Head,
}

/// Identifies the history of a store since it was created or last restored. Two stores restored
/// from one backup have the same id but different timelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline(pub [u8; 8]);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}
