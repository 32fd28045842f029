//! Versions that every Envoy has, and how long that took.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many versions are remembered.
const REMEMBERED: usize = 256;

/// A version that every Envoy has.
#[derive(Clone, Copy)]
pub struct Proven {
    /// How many there are.
    pub envoys: usize,
    /// How long it took.
    pub milliseconds: u64,
}

/// The versions that changes made here have led to, and how long every Envoy took: `None` while they
/// are watched, or if that has ended without a proof.
#[derive(Default)]
pub struct Proofs(Mutex<BTreeMap<u64, Option<Proven>>>);

impl Proofs {
    /// What is known about a version.
    pub fn find(&self, version: u64) -> Option<Proven> {
        self.locked().get(&version).copied().flatten()
    }

    /// Whether to watch a version: each is watched once, from the change that made it.
    pub fn begin(&self, version: u64) -> bool {
        let mut proven = self.locked();
        let oldest = proven.first_key_value().map(|(version, _)| *version);
        let is_known = proven.contains_key(&version);
        if is_known || proven.len() >= REMEMBERED && oldest.is_some_and(|oldest| version < oldest) {
            return false;
        }
        proven.insert(version, None);
        while proven.len() > REMEMBERED {
            proven.pop_first();
        }
        true
    }

    /// Remembers it.
    pub fn note(&self, version: u64, proof: Proven) {
        if let Some(known) = self.locked().get_mut(&version) {
            *known = Some(proof);
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<u64, Option<Proven>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_watched_once_and_the_newest_are_remembered() {
        let proofs = Proofs::default();
        assert!(proofs.begin(7) && !proofs.begin(7));
        assert!(proofs.find(7).is_none());
        let proof = Proven {
            envoys: 2,
            milliseconds: 31,
        };
        proofs.note(7, proof);
        assert_eq!(proofs.find(7).map(|p| p.milliseconds), Some(31));
        assert!(!proofs.begin(7), "a change that changed nothing");
        for version in 8..8 + REMEMBERED as u64 {
            assert!(proofs.begin(version));
        }
        assert!(proofs.find(7).is_none() && !proofs.begin(7));
        proofs.note(7, proof);
        assert!(proofs.find(7).is_none());
    }
}
