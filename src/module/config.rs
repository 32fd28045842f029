//! One configuration of the filter: its number, what it decides by, and how to wake it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use keystile_core::decide::Unavailable;
use keystile_core::keyset::{InForce, StoreId};
use keystile_core::policy::ReportTarget;

use crate::abi::{Configuration, Scheduler};
use crate::marks::MarkNames;
use crate::metrics::FilterMetrics;
use crate::secrets::SecretSource;

/// What a listener decides by.
pub struct View {
    /// Or why it cannot decide.
    pub in_force: Result<Arc<InForce>, Unavailable>,
    /// Where usage is reported, if anywhere.
    pub usage: Option<Arc<ReportTarget>>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            in_force: Err(Unavailable::None),
            usage: None,
        }
    }
}

impl View {
    /// Whether it is the same.
    pub fn is(&self, other: &Self) -> bool {
        let is_same = match (&self.in_force, &other.in_force) {
            (Ok(this), Ok(other)) => Arc::ptr_eq(this, other),
            (Err(this), Err(other)) => this == other,
            _ => false,
        };
        is_same && self.usage == other.usage
    }
}

/// Where a verified configuration came from.
pub struct ConfigOrigin {
    /// The store.
    pub store: StoreId,
    /// Its filter state.
    pub names: MarkNames,
}

/// The precision with which the time of a listener's last request is kept.
const GRAIN_NS: u64 = 100_000_000;

/// A configuration that Envoy has, and from which filters are made.
pub struct Config {
    /// Its number among those of this process.
    pub id: u32,
    /// Its filter's name.
    name: String,
    /// Known once it is verified.
    origin: OnceLock<ConfigOrigin>,
    /// Where secrets come from.
    pub secrets: SecretSource,
    /// Its bytes, until the secret arrives that verifies them.
    unverified: Mutex<Option<Vec<u8>>>,
    /// Its metrics.
    pub metrics: FilterMetrics,
    /// Wakes the main thread; none if Envoy only validates its configuration, or has dropped this
    /// one.
    scheduler: Mutex<Option<Scheduler>>,
    view: RwLock<View>,
    served_at: AtomicU64,
}

impl Config {
    /// A configuration that Envoy has, or only validates.
    pub fn new(
        host: &Configuration<'_>,
        name: &str,
        metrics: FilterMetrics,
        secrets: SecretSource,
    ) -> Arc<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let is_checked_only = crate::abi::is_validation();
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: name.to_owned(),
            origin: OnceLock::new(),
            secrets,
            unverified: Mutex::default(),
            metrics,
            scheduler: Mutex::new((!is_checked_only).then(|| host.scheduler()).flatten()),
            view: RwLock::default(),
            served_at: AtomicU64::new(0),
        })
    }

    /// It was verified, and comes from this store.
    pub fn came_from(&self, store: StoreId) {
        self.origin.get_or_init(|| ConfigOrigin {
            store,
            names: MarkNames::new(&self.name, store),
        });
    }

    /// The store that it came from, and its filter state; none before it is verified, when every
    /// request is refused.
    pub fn origin(&self) -> Option<&ConfigOrigin> {
        self.origin.get()
    }

    /// The store that it came from, likewise.
    pub fn store(&self) -> Option<StoreId> {
        self.origin().map(|o| o.store)
    }

    /// Keeps its bytes until they can be verified.
    pub fn wait(&self, bytes: Vec<u8>) {
        *self.unverified() = Some(bytes);
    }

    /// Whether it waits for the secret that verifies it.
    pub fn is_waiting(&self) -> bool {
        self.unverified().is_some()
    }

    /// Its bytes, if it waits: it waits no longer.
    pub fn take_unverified(&self) -> Option<Vec<u8>> {
        self.unverified().take()
    }

    fn unverified(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.unverified
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Envoy has dropped it, and must not be asked to call us about it.
    pub fn give_up(&self) {
        // Waits for whoever is waking it: what that needs may be gone a moment later.
        let scheduler = self.scheduler.lock().map(|mut s| s.take());
        drop(scheduler);
    }

    /// What it decides by. It stays the same as long as the guard lives; a request waits for it no
    /// longer than a push takes to swap two pointers.
    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes it decide by something else; returns what it decided by before.
    pub fn decide_by(&self, view: View) -> View {
        let mut place = self.view.write().unwrap_or_else(PoisonError::into_inner);
        core::mem::replace(&mut place, view)
    }

    /// Makes Envoy call us about it on its main thread. Returns whether that is still possible.
    pub fn wake(&self) -> bool {
        let scheduler = self
            .scheduler
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        scheduler.as_ref().map(Scheduler::wake).is_some()
    }

    /// A request has reached it.
    pub fn serves(&self, monotonic: u64) {
        // Rarely written, because all workers read it.
        let last = self.served_at.load(Ordering::Relaxed);
        if monotonic.saturating_sub(last) >= GRAIN_NS {
            self.served_at.store(monotonic, Ordering::Relaxed);
        }
    }

    /// The instant of its last request, or a little before.
    pub fn served_at(&self) -> u64 {
        self.served_at.load(Ordering::Relaxed)
    }
}
