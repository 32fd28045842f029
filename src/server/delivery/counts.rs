//! What delivery counts.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) pushes: Counter,
    pub(super) acknowledged: Counter,
    pub(super) refused: Counter,
    pub(super) turned_away: Counter,
    pub(super) dropped: Counter,
    pub(super) bases: Counter,
    pub(super) overlays: Counter,
    pub(super) failures: Counter,
    pub(super) reports: Counter,
    pub(super) reports_refused: Counter,
    pub(super) repairs: Counter,
}
