//! Values in shared data, changed by compare-and-swap.

use super::given::HostBytes;
use super::{host, metrics};
use keystile_core::limit::bucket::Contended;

/// Every lost swap means that another worker's take succeeded, so losing this often in a row
/// requires a rival that never pauses. The request is then refused, with `Retry-After: 1`.
const TRIES: usize = 64;

/// Gives `f` the stored value to change in place, and stores it if `f` says that it changed. `None`
/// means that the value is not ours: somebody else writes under our prefix.
pub fn swap(
    key: &[u8],
    mut f: impl FnMut(&mut Option<HostBytes>) -> Option<bool>,
) -> Result<(), Contended> {
    for _ in 0..TRIES {
        let (mut stored, cas) = match host::shared_bucket(key) {
            Ok(Some((bytes, cas))) => (Some(bytes), cas),
            Ok(None) => (None, host::CAS_ABSENT),
            Err(_) => break,
        };
        match f(&mut stored) {
            Some(true) => {}
            Some(false) => return Ok(()),
            None => break,
        }
        let new = stored.as_deref().unwrap_or_default();
        match host::set_shared_data(key, new, cas) {
            Ok(()) => return Ok(()),
            Err(host::Status::CAS_MISMATCH) => {}
            Err(_) => break,
        }
    }
    metrics::contended();
    Err(Contended)
}
