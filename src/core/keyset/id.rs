//! Which store and which policy.

use core::fmt;
use core::hash::{Hash as _, Hasher};
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
        let mut hasher = Short(FastHasher::default());
        policy.hash(&mut hasher);
        Self(hasher.0.finish().to_be_bytes())
    }
}

/// The same, in little code: policies have many fields, and are hashed once a push.
struct Short(FastHasher);

impl Hasher for Short {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    #[inline(never)]
    fn write_u64(&mut self, n: u64) {
        self.0.write_u64(n);
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
}
