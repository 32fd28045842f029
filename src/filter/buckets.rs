//! Buckets in shared data, by compare-and-swap: exact across workers, and they survive
//! pushes and VM crashes. Shared data knows no expiry and no deletion, so buckets are
//! made for valid keys only: the keyset bounds their number.

use super::{host, metrics};
use crate::bucket::{BucketKey, Buckets, Contended};

/// Every lost swap means that another worker's take succeeded, so losing this often in a
/// row takes a rival that never rests. The request is then refused, with `Retry-After: 1`.
const TRIES: usize = 64;

/// The buckets of this Envoy process.
pub struct SharedBuckets;

impl Buckets for SharedBuckets {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(u64) -> Option<u64>,
    ) -> Result<(), Contended> {
        for _ in 0..TRIES {
            let (stored, cas) = match host::shared_data(key.as_bytes()) {
                Ok(Some((bytes, cas))) => match bytes.try_into() {
                    Ok(bytes) => (u64::from_be_bytes(bytes), cas),
                    // Not ours: somebody else writes under our prefix.
                    Err(_) => break,
                },
                Ok(None) => (0, host::CAS_ABSENT),
                Err(_) => break,
            };
            let Some(new) = f(stored) else {
                return Ok(());
            };
            match host::set_shared_data(key.as_bytes(), &new.to_be_bytes(), cas) {
                Ok(()) => return Ok(()),
                Err(host::Status::CAS_MISMATCH) => {}
                Err(_) => break,
            }
        }
        metrics::contended();
        Err(Contended)
    }
}
