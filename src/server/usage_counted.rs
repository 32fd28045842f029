//! What was accepted of usage since the server started.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keystile_core::report::usage::{Batch, GRAIN};
use keystile_registry::usage::count::CountedBatch;

/// The most outcomes that are distinguished; there are some twenty.
const OUTCOMES: usize = 64;

/// The name for further outcomes.
const OTHERS: &str = "other";

/// What was accepted since the server started.
#[derive(Default)]
pub struct Count {
    pub(super) batches: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) put_off: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) late: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) commit_micros: AtomicU64,
    pub(super) lag: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) outcomes: Mutex<BTreeMap<String, u64>>,
}

impl Count {
    /// A batch was answered with a receipt, at a time in seconds.
    pub fn counted(&self, batch: &Batch, counted: &CountedBatch, now: u64) {
        if !counted.fresh {
            add(&self.repeated, 1);
            return;
        }
        add(&self.batches, 1);
        add(&self.dropped, counted.dropped);
        add(&self.late, counted.late);
        let lag = now.saturating_sub(batch.at.saturating_add(GRAIN));
        self.lag.store(lag, Ordering::Relaxed);
        let mut all = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        for (outcome, n) in &counted.outcomes {
            let room = all.len() < OUTCOMES || all.contains_key(outcome);
            let name = if room { outcome.as_str() } else { OTHERS };
            *all.entry(name.to_owned()).or_default() += n;
        }
    }

    /// A transaction took this long.
    pub fn committed(&self, took: Duration) {
        add(&self.commits, 1);
        add(
            &self.commit_micros,
            u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        );
    }

    /// A batch was not authentic.
    pub fn refused(&self) {
        add(&self.refused, 1);
    }

    /// A batch has to be sent again.
    pub fn put_off(&self) {
        add(&self.put_off, 1);
    }

    /// The database has so many bytes.
    pub fn bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
