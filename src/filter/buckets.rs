//! Buckets in shared data, by compare-and-swap: exact across workers, and they survive pushes and
//! VM crashes. Shared data cannot expire or be deleted, so buckets are created only for valid keys,
//! and the keyset bounds their number.

use std::cell::RefCell;

use super::given::HostBytes;
use super::host;
use super::quotas::SharedTallies;
use super::swap::swap;
use keystile_core::limit::bucket::{
    BucketKey, Buckets, ChangeLevel, Contended, Levels, Sole, give_back,
};
use keystile_core::limit::lease::Leases;
use keystile_core::limit::quota::{Counts, Tallies, TallyKey};

thread_local! {
    /// Leases belong to the VM and outlive configuration pushes.
    static LEASES: RefCell<Leases> = RefCell::default();
}

/// Once a second: gives back unused leases.
pub fn tick() {
    let now = host::monotonic_ns();
    let expired = LEASES.with_borrow_mut(|leases| leases.expire(now));
    give_back(expired, &mut SharedBuckets);
}

/// The buckets and tallies of this Envoy process.
pub struct SharedBuckets;

impl Buckets for SharedBuckets {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        swap(key.as_bytes(), |stored| parsed(stored, f))
    }

    fn update_sole(
        &mut self,
        key: &BucketKey,
        sole: Sole<'_>,
        change: &mut ChangeLevel<'_>,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        swap(key.as_bytes(), |stored| {
            let bytes = stored.as_deref_mut();
            let changed = bytes.and_then(|bytes| sole.change_in(bytes, change));
            changed.or_else(|| parsed(stored, f))
        })
    }

    fn with_leases<R>(&mut self, f: impl FnOnce(&mut Leases) -> R) -> Option<R> {
        Some(LEASES.with_borrow_mut(f))
    }
}

impl Tallies for SharedBuckets {
    fn update_tally(
        &mut self,
        key: &TallyKey,
        f: &mut dyn FnMut(&mut Counts) -> bool,
    ) -> Result<(), Contended> {
        SharedTallies.update_tally(key, f)
    }
}

/// A separate function, because few takes need it: most buckets are alone in their place.
#[inline(never)]
fn parsed(stored: &mut Option<HostBytes>, f: &mut dyn FnMut(&mut Levels) -> bool) -> Option<bool> {
    let mut levels = match stored {
        Some(bytes) => Levels::from_bytes(bytes)?,
        None => Levels::default(),
    };
    let is_changed = f(&mut levels);
    if is_changed {
        *stored = Some(levels.to_bytes().into());
    }
    Some(is_changed)
}
