//! Buckets and tallies in the memory of this Envoy process: exact across its workers, because all
//! of them take from the same ones, and bounded, because they are created only for valid keys and
//! dropped once nothing is lost with them.
//!
//! A lock guards a sixty-fourth of them for as long as a take lasts, some fifty nanoseconds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use core::hash::{BuildHasher as _, Hash};

use keystile_core::fast_hash::FastMap;
use keystile_core::key::KeyId;
use keystile_core::keyset::StoreId;
use keystile_core::limit::bucket::{BucketKey, Buckets, ChangeLevel, Contended, Levels, Sole};
use keystile_core::limit::quota::{Counts, Tallies, TallyKey};
use keystile_core::report::usage::QuotaUse;

/// More than there are workers, so that they rarely meet at one lock.
const SHARDS: usize = 64;
/// Examined at each tick: all of them within sixteen seconds.
const SWEPT_AT_ONCE: usize = 4;

#[derive(Default)]
struct Shard {
    levels: FastMap<BucketKey, Levels>,
    counts: FastMap<TallyKey, Counts>,
}

static ALL: LazyLock<Vec<Mutex<Shard>>> =
    LazyLock::new(|| (0..SHARDS).map(|_| Mutex::default()).collect());

/// # Errors
/// [`Contended`] never: under a lock, no swap can be lost.
fn shard<K: Hash>(key: &K) -> Result<MutexGuard<'static, Shard>, Contended> {
    let hash = keystile_core::fast_hash::hasher().hash_one(key);
    // The table takes its places from the low bits.
    let at = (hash >> 48) as usize % SHARDS;
    let shard = ALL.get(at).ok_or(Contended)?;
    // A panic leaves levels as they were, or lower.
    Ok(shard.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The buckets and tallies of this process.
pub struct ProcessBuckets;

impl Buckets for ProcessBuckets {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        change(&mut shard(key)?.levels, key, f);
        Ok(())
    }

    fn update_sole(
        &mut self,
        key: &BucketKey,
        sole: Sole<'_>,
        change_sole: &mut ChangeLevel<'_>,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        let mut shard = shard(key)?;
        let lying = shard.levels.get_mut(key);
        // It changes nothing that it does not say.
        if lying.is_none_or(|levels| sole.change_of(levels, change_sole).is_none()) {
            change(&mut shard.levels, key, f);
        }
        Ok(())
    }
}

impl Tallies for ProcessBuckets {
    fn update_tally(
        &mut self,
        key: &TallyKey,
        f: &mut dyn FnMut(&mut Counts) -> bool,
    ) -> Result<(), Contended> {
        change(&mut shard(key)?.counts, key, f);
        Ok(())
    }
}

/// Stores what `f` makes of the present value, if `f` says so.
fn change<K: Hash + Eq + Copy, V: Clone + Default>(
    all: &mut FastMap<K, V>,
    key: &K,
    f: &mut dyn FnMut(&mut V) -> bool,
) {
    let mut value = all.get(key).cloned().unwrap_or_default();
    if f(&mut value) {
        all.insert(*key, value);
    }
}

/// Records what others have taken of a quota.
pub fn hear(store: StoreId, quota: &QuotaUse) {
    let Ok(lineage) = quota.lineage.parse::<KeyId>() else {
        return;
    };
    let key = TallyKey::new(store.0, lineage.as_u64());
    let _ = ProcessBuckets.update_tally(&key, &mut |counts| {
        counts.hear(quota.window, quota.others, quota.given_back)
    });
}

/// Once a second: drops what nothing is lost with.
pub fn tick(monotonic: u64, wall: u64) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let first = NEXT.fetch_add(SWEPT_AT_ONCE, Ordering::Relaxed);
    for at in first..first + SWEPT_AT_ONCE {
        if let Some(shard) = ALL.get(at % SHARDS) {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.levels.retain(|_, levels| !levels.is_spent(monotonic));
            shard.counts.retain(|_, counts| !counts.is_past(wall));
        }
    }
}

/// How many places there are.
#[cfg(test)]
pub fn places() -> usize {
    let count = |shard: &Mutex<Shard>| {
        let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.levels.len() + shard.counts.len()
    };
    ALL.iter().map(count).sum()
}
