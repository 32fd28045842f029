//! Tables by text, whose look-ups cost the same among five entries and a thousand.
//!
//! Only the author of a policy chooses their entries; requests only look up. So nobody can make
//! many entries collide.

use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashMap;

/// Entries by text.
pub(super) type Table<T> = HashMap<String, T, BuildHasherDefault<ByWords>>;

/// A hash of a short text, eight bytes at a time, of 64-bit operations alone: those are what
/// WebAssembly has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ByWords(u64);

impl ByWords {
    #[inline]
    fn add(&mut self, word: u64) {
        let mixed = self.0.rotate_left(23) ^ word;
        self.0 = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for ByWords {
    /// The table goes by the lowest bits and the highest seven: both depend on all bits then.
    #[inline]
    fn finish(&self) -> u64 {
        let folded = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        folded ^ (folded >> 29)
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|w| self.add(u64::from_le_bytes(*w)));
        let last = rest.iter().fold(0, |word, b| word << 8 | u64::from(*b));
        self.add(last ^ (rest.len() as u64) << 56);
    }

    /// The end of a text: `write` has taken its length in.
    fn write_u8(&mut self, _: u8) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::Hash as _;
    use std::collections::BTreeSet;

    fn hash(text: &str) -> u64 {
        let mut hasher = ByWords::default();
        text.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn names_that_differ_by_little_stand_in_different_places() {
        let mut names: Vec<String> = (0..1_000).map(|n| format!("kind-{n:04}")).collect();
        names.extend((0..1_000).map(|n| format!("h{n}.example.com")));
        names.extend((0..1_000).map(|n| format!(":do-{n:04}-at-once")));
        names.extend((0..40).map(|n| "a".repeat(n)));
        let all: BTreeSet<u64> = names.iter().map(|n| hash(n)).collect();
        assert_eq!(all.len(), names.len());
        for bits in [0, 57] {
            let places: BTreeSet<u64> = all.iter().map(|h| h >> bits & 0x7f).collect();
            assert_eq!(places.len(), 128, "{bits}");
            let most = places
                .iter()
                .map(|p| all.iter().filter(|h| *h >> bits & 0x7f == *p).count());
            assert!(most.max().unwrap() < 60, "{bits}");
        }
    }
}
