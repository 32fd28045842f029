//! The keys of a run, and what the recorder knows about each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

/// How many keys that have come and gone are still asked with.
const REMEMBERED: usize = 64;

/// A key.
pub struct Held {
    pub key: String,
    pub id: String,
    /// Since then every Envoy has proved that it has it.
    pub open: OnceLock<Instant>,
    /// Since then it may be refused: its end has been asked for.
    pub doubtful: OnceLock<Instant>,
    /// Since then no Envoy may let it in: each has proved that it is gone.
    pub shut: OnceLock<Instant>,
    /// Requests with it that were answered by a filter that knew it.
    pub answered: AtomicU64,
    /// The name that the last acknowledged update gave it, and those whose fate is unknown.
    pub names: Mutex<(String, Vec<String>)>,
}

impl Held {
    pub fn new(key: &str, id: &str) -> Arc<Self> {
        Arc::new(Self {
            key: key.to_owned(),
            id: id.to_owned(),
            open: OnceLock::new(),
            doubtful: OnceLock::new(),
            shut: OnceLock::new(),
            answered: AtomicU64::new(0),
            names: Mutex::default(),
        })
    }

    /// How many requests a filter answered that knew it.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

/// All of them.
pub struct Ledger {
    /// Those that are good from beginning to end.
    pub steady: Vec<Arc<Held>>,
    /// The one with a limit of its own.
    pub limited: Arc<Held>,
    /// One of another store.
    pub stranger: String,
    /// Those that come and go, in the order in which they came.
    churned: Mutex<Vec<Arc<Held>>>,
    /// Those that were acknowledged as revoked.
    pub revoked: Mutex<Vec<Arc<Held>>>,
}

impl Ledger {
    pub fn new(steady: Vec<Arc<Held>>, limited: Arc<Held>, stranger: String) -> Self {
        Self {
            steady,
            limited,
            stranger,
            churned: Mutex::default(),
            revoked: Mutex::default(),
        }
    }

    /// One more that comes.
    pub fn add(&self, held: &Arc<Held>) {
        self.churned.lock().unwrap().push(Arc::clone(held));
    }

    /// The newest of those that come and go.
    pub fn recent(&self) -> Vec<Arc<Held>> {
        let all = self.churned.lock().unwrap();
        all[all.len().saturating_sub(REMEMBERED)..].to_vec()
    }

    /// Every key that there ever was.
    pub fn all(&self) -> Vec<Arc<Held>> {
        let churned = self.churned.lock().unwrap();
        let fixed = self.steady.iter().chain([&self.limited]);
        fixed.chain(churned.iter()).cloned().collect()
    }
}
