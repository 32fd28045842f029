//! Which store and which policy.

use core::fmt;
use core::hash::{Hash as _, Hasher as _};
use core::str::FromStr;

use crate::fast_hash::FastHasher;
use crate::hex::Hex;
use crate::policy::RawPolicy;

/// The store that a keyset comes from; drawn at random when the store is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub [u8; 8]);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

/// The text is not sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreIdError;

impl FromStr for StoreId {
    type Err = StoreIdError;

    fn from_str(s: &str) -> Result<Self, StoreIdError> {
        if s.len() != 16 || !s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(StoreIdError);
        }
        let n = u64::from_str_radix(s, 16).map_err(|_| StoreIdError)?;
        Ok(Self(n.to_be_bytes()))
    }
}

/// Identifies a policy: the same for the same rules, whatever else changes in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyId(pub [u8; 8]);

impl PolicyId {
    /// Only signed policies are compared, so nobody can construct a collision.
    pub(super) fn from_policy(policy: &RawPolicy) -> Self {
        let mut mix = FastHasher::default();
        policy.hash(&mut mix);
        Self(mix.finish().to_be_bytes())
    }
}
