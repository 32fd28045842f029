//! Keys that a restore lost.

use keystile_core::key::KeyId;

use keystile_model::error::Result;
use keystile_model::world::World;
use keystile_store::{LostKey, Store};

/// What a restore lost.
pub struct Lost {
    /// Keys of the last published keyset that are unknown to the store, or valid again, with the
    /// time at which each was last let through, in seconds.
    pub published: Vec<(LostKey, Option<u64>)>,
    /// Keys that were let through but are unknown, with the time in seconds.
    pub in_use: Vec<(KeyId, u64)>,
}

/// A page of each, those of the last published keyset after an id.
///
/// # Errors
/// If the caller is bound to a client; those of the store.
pub fn list(store: &mut Store, world: &World, after: Option<KeyId>, most: u32) -> Result<Lost> {
    world.caller.unbound("see keys that a restore lost")?;
    store.with_usage(|store, usage| {
        let published = store.read(|tx| tx.lost_keys(after, most))?;
        usage.read(|tx| {
            let used = |key: LostKey| {
                let used = tx.key_usage(key.id)?;
                Ok((key, used.and_then(|(_, used)| used.last_used)))
            };
            Ok(Lost {
                published: published.into_iter().map(used).collect::<Result<_>>()?,
                in_use: tx.unknown_keys(u64::MAX, most)?,
            })
        })
    })
}
