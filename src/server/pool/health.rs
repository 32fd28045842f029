//! The health of the store: its own failures are counted and logged, and the server is not ready
//! until it works again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use keystile_model::error::{Error, Kind, Trouble};
use keystile_system as system;

/// How long there must be no failure before the store counts as healthy.
const RECOVERS: Duration = Duration::from_secs(5);
/// How often a damaged store is read completely, to check whether it works again.
const LOOKS: Duration = Duration::from_secs(60);
/// Problems are logged no more often than this.
const LOGS: Duration = Duration::from_secs(1);

/// The state of the store.
#[derive(Default)]
pub struct Health {
    counts: [AtomicU64; Trouble::ALL.len()],
    /// How many files beside the store could not be written: nothing fails because of it, but
    /// somebody has to look into it.
    beside: AtomicU64,
    ill: Mutex<Option<Ill>>,
}

struct Ill {
    trouble: Trouble,
    last: Instant,
    logged: Instant,
    looked: Instant,
}

/// What to do to find out whether the store is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreProbe {
    /// Nothing: it is healthy.
    Well,
    /// Nothing yet: it is failing.
    Wait(Trouble),
    /// Write something.
    Write(Trouble),
    /// Read all of it.
    Check(Trouble),
}

impl Health {
    /// Records an error, if it was the store's own.
    pub fn heed(&self, e: &Error) {
        let Kind::Store(trouble) = e.kind() else {
            return;
        };
        if let Some(count) = self.counts.get(trouble as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let now = system::instant();
        let mut ill = self.locked();
        let known = ill.as_ref();
        let quiet = known.is_some_and(|i| {
            i.trouble == trouble && now.saturating_duration_since(i.logged) < LOGS
        });
        *ill = Some(Ill {
            // A damaged page is not made less serious by other failures.
            trouble: known.map_or(trouble, |i| i.trouble.max(trouble)),
            last: now,
            logged: known.filter(|_| quiet).map_or(now, |i| i.logged),
            looked: known.map_or(now, |i| i.looked),
        });
        drop(ill);
        if !quiet {
            tracing::error!(kind = trouble.as_str(), error = %e, cause = e.cause(), "the store is failing; the server is not ready until it works again");
        }
    }

    /// Whether something went wrong that may not be over.
    pub fn is_ill(&self) -> bool {
        self.locked().is_some()
    }

    /// What to do next. A caller that is asked to do something reports the result.
    pub fn next(&self) -> StoreProbe {
        let now = system::instant();
        let mut ill = self.locked();
        let Some(ill) = ill.as_mut() else {
            return StoreProbe::Well;
        };
        let since = |then| now.saturating_duration_since(then);
        let trouble = ill.trouble;
        if since(ill.last) < RECOVERS || since(ill.looked) < RECOVERS {
            return StoreProbe::Wait(trouble);
        }
        if trouble == Trouble::Damaged {
            if since(ill.looked) < LOOKS {
                return StoreProbe::Wait(trouble);
            }
            ill.looked = now;
            return StoreProbe::Check(trouble);
        }
        ill.looked = now;
        StoreProbe::Write(trouble)
    }

    /// It works again.
    pub fn is_well(&self) {
        if self.locked().take().is_some() {
            tracing::info!("the store works again");
        }
    }

    /// This many files beside the store could not be written, although the change itself was made.
    pub fn heed_beside(&self, times: u64) {
        self.beside.fetch_add(times, Ordering::Relaxed);
    }

    /// How often each sort of trouble was met.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter().chain([&self.beside]);
        let kinds = Trouble::ALL.map(Trouble::as_str).into_iter();
        kinds
            .chain(["beside"])
            .zip(counts.map(|n| n.load(Ordering::Relaxed)))
    }

    fn locked(&self) -> MutexGuard<'_, Option<Ill>> {
        self.ill.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
