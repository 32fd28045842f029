//! The keys that a client's bucket has seen.

/// The most keys of a client that its bucket tracks individually.
pub(in super::super) const MAX_MEMBERS: usize = 256;

/// The keys that a client's bucket has seen. Once it has seen as many as it can track, it treats
/// every key as one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(pub(super) Vec<u64>);

impl Members {
    pub(in super::super) fn from_numbers(numbers: &[[u8; 8]]) -> Self {
        Self(numbers.iter().map(|n| u64::from_be_bytes(*n)).collect())
    }

    /// Whether this key is one of them.
    pub fn has(&self, lineage: u64) -> bool {
        self.0.contains(&lineage) || self.0.len() >= MAX_MEMBERS
    }

    pub(super) fn add(&mut self, lineage: u64) {
        if !self.has(lineage) {
            self.0.push(lineage);
        }
    }
}
