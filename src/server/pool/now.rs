//! The state of the store, as far as others wait for its changes.

use keystile_model::error::Result;
use keystile_store::{BaseMark, Tx};

/// What may have changed.
pub struct CommittedState {
    /// The version of the keyset.
    pub version: u64,
    /// The number of the last audit record.
    pub record: u64,
    /// Which base is published.
    pub base: BaseMark,
}

/// Reads it.
///
/// # Errors
/// Those of the store.
pub fn now(tx: &Tx<'_>) -> Result<CommittedState> {
    let meta = tx.meta();
    Ok(CommittedState {
        version: meta.version,
        record: meta.head.seq,
        base: tx.base_mark()?,
    })
}
