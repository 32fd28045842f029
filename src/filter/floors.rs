//! Versions below which no VM of this Envoy falls, in shared data.

use super::host;
use keystile_core::keyset::StoreId;

/// A number that is kept in shared data.
pub fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn floor_key(store: StoreId) -> String {
    format!("keystile/version/{store}")
}

/// The highest version of a store that any VM of this process had in force, below which a VM that
/// is recreated after a crash must not fall.
#[inline(never)]
pub fn floor(store: StoreId) -> u64 {
    match host::shared_data(floor_key(store).as_bytes()) {
        Ok(Some((bytes, _))) => number(&bytes).unwrap_or(0),
        _ => 0,
    }
}

/// A VM that ticks has this version in force.
#[inline(never)]
pub fn raise(store: StoreId, version: u64) {
    let key = floor_key(store);
    for _ in 0..16 {
        let (have, cas) = match host::shared_data(key.as_bytes()) {
            Ok(Some((bytes, cas))) => (number(&bytes).unwrap_or(0), cas),
            Ok(None) => (0, host::CAS_ABSENT),
            Err(_) => return,
        };
        if have >= version {
            return;
        }
        match host::set_shared_data(key.as_bytes(), &version.to_be_bytes(), cas) {
            Err(host::Status::CAS_MISMATCH) => {}
            _ => return,
        }
    }
}
