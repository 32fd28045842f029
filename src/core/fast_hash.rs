//! A fast hash for tables whose keys no outsider chooses: we draw the ids of keys and routes, so
//! the tables need no defence against chosen keys.

use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashMap;

/// Multiplies and folds.
#[derive(Clone, Copy, Debug, Default)]
pub struct FastHasher(u64);

impl Hasher for FastHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    /// Whole texts are hashed once, while a policy is read: one copy of this is enough.
    #[inline(never)]
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(u64::from(*b)));
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

    fn write_u64(&mut self, n: u64) {
        let wide = u128::from(self.0 ^ n ^ 0x9e37_79b9_7f4a_7c15) * 0xa076_1d64_78bd_642f;
        self.0 = (wide >> 64) as u64 ^ wide as u64;
    }
}

/// A table under [`FastHasher`].
pub type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<FastHasher>>;

/// What such tables hash with, for callers that spread keys over several tables.
pub fn hasher() -> BuildHasherDefault<FastHasher> {
    BuildHasherDefault::default()
}
