//! Buckets and tallies in memory.

use std::collections::BTreeMap;

use crate::limit::bucket::{BucketKey, Buckets, Contended, Levels};
use crate::limit::quota::{Counts, Tallies, TallyKey};

/// For `explain`, tests and benchmarks.
#[derive(Clone, Debug, Default)]
pub struct MemoryBuckets {
    pub(super) buckets: BTreeMap<BucketKey, Levels>,
    tallies: BTreeMap<TallyKey, Counts>,
}

impl Buckets for MemoryBuckets {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        let mut levels = self.buckets.get(key).cloned().unwrap_or_default();
        if f(&mut levels) {
            self.buckets.insert(*key, levels);
        }
        Ok(())
    }
}

impl Tallies for MemoryBuckets {
    fn update_tally(
        &mut self,
        key: &TallyKey,
        f: &mut dyn FnMut(&mut Counts) -> bool,
    ) -> Result<(), Contended> {
        let mut counts = self.tallies.get(key).cloned().unwrap_or_default();
        if f(&mut counts) {
            self.tallies.insert(*key, counts);
        }
        Ok(())
    }
}
