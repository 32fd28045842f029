//! How much of the log is sent at once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use keystile_model::room::Room;

/// Records sent at once.
const RECORDS: u32 = 500;
/// Bytes sent at once: half of what receivers usually take.
const BYTES: usize = 512 << 10;

/// The size of the next batch: what the receiver accepts, as far as its answers show.
pub struct BatchSize {
    next: AtomicUsize,
    /// The receiver refused more than this because of its size.
    most: AtomicUsize,
    /// The size of the record that it does not accept even alone.
    stuck: AtomicU64,
}

impl Default for BatchSize {
    fn default() -> Self {
        Self {
            next: AtomicUsize::new(BYTES),
            most: AtomicUsize::new(BYTES),
            stuck: AtomicU64::new(0),
        }
    }
}

impl BatchSize {
    /// The room of the next batch.
    pub fn room(&self) -> Room {
        Room::new(RECORDS, self.next.load(Ordering::Relaxed))
    }

    /// The size of the record that the receiver refuses because of its size; 0 for none.
    pub fn stuck(&self) -> u64 {
        self.stuck.load(Ordering::Relaxed)
    }

    /// It arrived.
    pub fn arrived(&self) {
        self.stuck.store(0, Ordering::Relaxed);
        let next = self.next.load(Ordering::Relaxed).saturating_mul(2);
        let most = self.most.load(Ordering::Relaxed);
        self.next.store(next.min(most), Ordering::Relaxed);
    }

    /// A batch of this many bytes did not arrive, for whatever reason: a smaller one takes less
    /// time.
    pub fn failed(&self, bytes: usize) {
        self.next.store((bytes / 2).max(1), Ordering::Relaxed);
    }

    /// The receiver refused several records of this many bytes because of their size, and will do
    /// so again.
    pub fn too_large(&self, bytes: usize) {
        self.failed(bytes);
        let next = self.next.load(Ordering::Relaxed);
        self.most.fetch_min(next, Ordering::Relaxed);
    }

    /// It refused one record of this many bytes because of its size.
    pub fn too_large_alone(&self, bytes: usize) {
        self.stuck.store(bytes as u64, Ordering::Relaxed);
    }
}
