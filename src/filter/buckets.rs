//! Buckets in shared data, by compare-and-swap: exact across workers, and they survive
//! pushes and VM crashes. Shared data knows no expiry and no deletion, so buckets are
//! made for valid keys only: the keyset bounds their number.

use std::cell::RefCell;

use super::quotas::SharedTallies;
use super::{host, metrics};
use keystile_core::limit::bucket::{BucketKey, Buckets, Contended, Levels};
use keystile_core::limit::lease::{self, Leases};
use keystile_core::limit::quota::{Counts, Tallies, TallyKey};

/// Every lost swap means that another worker's take succeeded, so losing this often in a
/// row takes a rival that never rests. The request is then refused, with `Retry-After: 1`.
const TRIES: usize = 64;

thread_local! {
    /// They belong to the VM, and outlive configuration pushes.
    static LEASES: RefCell<Leases> = RefCell::default();
}

/// Once a second: gives back what nobody used.
pub fn tick() {
    let now = host::monotonic_ns();
    let expired = LEASES.with_borrow_mut(|leases| leases.expire(now));
    lease::give_back(expired, &mut SharedBuckets);
}

/// The buckets and tallies of this Envoy process.
pub struct SharedBuckets;

impl Buckets for SharedBuckets {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        swap(key.as_bytes(), |bytes| {
            let mut levels = match bytes {
                Some(bytes) => Levels::from_bytes(bytes)?,
                None => Levels::default(),
            };
            Some(f(&mut levels).then(|| levels.to_bytes()))
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

/// Gives `f` what is stored and stores what it returns, `Some(None)` for nothing new. `None`
/// says that what is stored is not ours: somebody else writes under our prefix.
pub fn swap(
    key: &[u8],
    mut f: impl FnMut(Option<&[u8]>) -> Option<Option<Vec<u8>>>,
) -> Result<(), Contended> {
    for _ in 0..TRIES {
        let (stored, cas) = match host::shared_data(key) {
            Ok(Some((bytes, cas))) => (Some(bytes), cas),
            Ok(None) => (None, host::CAS_ABSENT),
            Err(_) => break,
        };
        let Some(change) = f(stored.as_deref()) else {
            break;
        };
        let Some(new) = change else {
            return Ok(());
        };
        match host::set_shared_data(key, &new, cas) {
            Ok(()) => return Ok(()),
            Err(host::Status::CAS_MISMATCH) => {}
            Err(_) => break,
        }
    }
    metrics::contended();
    Err(Contended)
}
