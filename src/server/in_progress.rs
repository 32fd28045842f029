//! Requests in progress on a connection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keystile_system as system;

/// Those of one connection.
pub struct Flights(Mutex<Work>);

pub(super) struct Work {
    next: u64,
    /// For each request, since when it waits for its peer, in nanoseconds; 0 if it does not.
    pub(super) flights: BTreeMap<u64, Arc<AtomicU64>>,
    pub(super) idle_since: u64,
}

/// A request in progress, until its answer was taken.
pub struct InFlight {
    of: Arc<Flights>,
    id: u64,
    waiting: Arc<AtomicU64>,
}

impl Flights {
    /// Of a connection that has just begun.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Work {
            next: 0,
            flights: BTreeMap::new(),
            idle_since: system::nanoseconds(),
        })))
    }

    /// Every change under the lock is complete in itself.
    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        let mut work = self.work();
        let id = work.next;
        work.next += 1;
        let waiting = Arc::new(AtomicU64::new(0));
        work.flights.insert(id, Arc::clone(&waiting));
        drop(work);
        InFlight {
            of: Arc::clone(self),
            id,
            waiting,
        }
    }
}

impl InFlight {
    /// Whether it is waiting for the peer.
    pub fn waits_for_peer(&self, waits: bool) {
        let since = if waits {
            system::nanoseconds().max(1)
        } else {
            0
        };
        self.waiting.store(since, Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut work = self.of.work();
        work.flights.remove(&self.id);
        work.idle_since = system::nanoseconds();
    }
}
