//! Tallies of quotas in shared data, by compare-and-swap, like [`super::buckets`]: all workers of
//! this Envoy draw on the same one.

use super::swap::swap;
use keystile_core::key::KeyId;
use keystile_core::keyset::StoreId;
use keystile_core::limit::bucket::Contended;
use keystile_core::limit::quota::{Counts, Tallies, TallyKey};
use keystile_core::report::usage::QuotaUse;

/// The tallies of this Envoy process.
pub struct SharedTallies;

impl Tallies for SharedTallies {
    fn update_tally(
        &mut self,
        key: &TallyKey,
        f: &mut dyn FnMut(&mut Counts) -> bool,
    ) -> Result<(), Contended> {
        swap(key.as_bytes(), |stored| {
            let mut counts = match stored {
                Some(bytes) => Counts::from_bytes(bytes)?,
                None => Counts::default(),
            };
            let is_changed = f(&mut counts);
            if is_changed {
                *stored = Some(counts.to_bytes().into());
            }
            Some(is_changed)
        })
    }
}

impl SharedTallies {
    /// Records what others have taken; if that fails, the next receipt repeats it.
    pub fn hear(&mut self, store: StoreId, quota: &QuotaUse) {
        let Ok(lineage) = quota.lineage.parse::<KeyId>() else {
            return;
        };
        let key = TallyKey::new(store.0, lineage.as_u64());
        let _ = self.update_tally(&key, &mut |counts| {
            counts.hear(quota.window, quota.others, quota.given_back)
        });
    }
}
