//! Versions that every Envoy has, and how long that took.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

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

/// The versions that changes made here have led to, and how long every Envoy took.
#[derive(Default)]
pub struct Proofs(Mutex<BTreeMap<u64, Proven>>);

impl Proofs {
    /// What is known about a version.
    pub fn find(&self, version: u64) -> Option<Proven> {
        let proven = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proven.get(&version).copied()
    }

    /// Remembers it.
    pub fn note(&self, version: u64, proof: Proven) {
        let mut proven = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proven.insert(version, proof);
        while proven.len() > REMEMBERED {
            proven.pop_first();
        }
    }
}
