//! One configuration of the filter: what Envoy hands over at its start and with every push.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use keystile_core::decide::Unavailable;
use keystile_core::keyset::{Artefact, InForce, Refusal, Secrets, SigningKeys, StoreId};
use keystile_core::policy::{ClientCertificates, ReportTarget};
use keystile_core::report::MAX_NODE;

use crate::abi::{Configuration, Level, Scheduler, log};
use crate::marks::Names;
use crate::metrics::Metrics;
use crate::{clock, state, tick, tunnels};

/// What a listener decides by.
pub struct View {
    /// Or why it has nothing to.
    pub in_force: Result<Arc<InForce>, Unavailable>,
    /// Where usage is told of, if anywhere.
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

/// How exact the time of a listener's last request is kept.
const GRAIN_NS: u64 = 100_000_000;

/// One that Envoy has, and filters are made from.
pub struct Config {
    /// Its number among those of this process.
    pub id: u32,
    /// The store that it came from.
    pub store: StoreId,
    /// Its filter state.
    pub names: Names,
    /// Its metrics.
    pub metrics: Metrics,
    /// Wakes the main thread; none where Envoy only checks its configuration, or has given this
    /// one up.
    scheduler: Mutex<Option<Scheduler>>,
    view: RwLock<View>,
    served_at: AtomicU64,
}

impl Config {
    /// What it decides by. It stays the same for as long as the guard lives, which no request
    /// waits for longer than a push takes to swap two pointers.
    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it decide by something else; gives back what it decided by.
    pub fn decide_by(&self, view: View) -> View {
        let mut place = self.view.write().unwrap_or_else(PoisonError::into_inner);
        core::mem::replace(&mut place, view)
    }

    /// Has Envoy call us about it on its main thread. Whether that is still possible.
    pub fn wake(&self) -> bool {
        let scheduler = self
            .scheduler
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        scheduler.as_ref().map(Scheduler::wake).is_some()
    }

    /// A request has come to it.
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

/// Why a configuration is not taken.
enum Refused {
    /// What every filter refuses.
    Refusal(Refusal),
    /// What this one cannot enforce.
    Unsupported(&'static str),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

/// Envoy has a configuration for a filter of this name. `None` refuses it: Envoy keeps the one
/// before, or does not start.
///
/// The verdict depends on the bytes and the environment alone. What is too old is taken and judged
/// afterwards, as the other filter does.
pub fn new(host: &Configuration<'_>, name: &[u8], bytes: &[u8]) -> Option<Arc<Config>> {
    let started = clock::monotonic();
    clock::tick();
    let metrics = Metrics::new(host);
    match load(bytes) {
        Ok(Loaded {
            artefact,
            keys,
            node,
        }) => {
            let name = String::from_utf8_lossy(name);
            let config = made(host, &name, metrics, artefact.store());
            let loaded_us = clock::monotonic().saturating_sub(started) / 1000;
            state::remember(keys, node);
            state::take(host, &config, artefact, loaded_us);
            tunnels::pushed();
            tick::begin();
            // The control plane is told as soon as Envoy has it.
            config.wake();
            Some(config)
        }
        Err(refused) => {
            let (reason, why) = match refused {
                Refused::Refusal(refusal) => (refusal.reason(), refusal.to_string()),
                Refused::Unsupported(why) => ("unsupported", why.to_owned()),
            };
            metrics.push_refused(host, reason);
            let line = format!("keystile: configuration refused: {why}");
            log(Level::Warn, &line);
            None
        }
    }
}

fn made(host: &Configuration<'_>, name: &str, metrics: Metrics, store: StoreId) -> Arc<Config> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let is_checked_only = crate::abi::is_validation();
    Arc::new(Config {
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        store,
        names: Names::new(name, store),
        metrics,
        scheduler: Mutex::new((!is_checked_only).then(|| host.scheduler()).flatten()),
        view: RwLock::default(),
        served_at: AtomicU64::new(0),
    })
}

/// Envoy has given a configuration up, and all filters that were made from it are gone.
pub fn end(config: Arc<Config>) {
    // Waits for whoever is waking it: what that needs may be gone a moment later.
    let scheduler = config.scheduler.lock().map(|mut s| s.take());
    drop(scheduler);
    state::end(&config);
    drop(config);
}

/// What a push brings.
struct Loaded {
    artefact: Artefact,
    /// What reports are signed with: this Envoy's own secret if it has one.
    keys: SigningKeys,
    /// Envoy's `node.id`.
    node: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "Envoy hands secrets over by environment; they are read once for each push"
)]
fn load(bytes: &[u8]) -> Result<Loaded, Refused> {
    let keys = zeroize::Zeroizing::new(std::env::var("KEYSTILE_SIGNING_KEYS").unwrap_or_default());
    let node_key = zeroize::Zeroizing::new(std::env::var("KEYSTILE_NODE_KEY").unwrap_or_default());
    let Secrets {
        keys,
        node_key: own,
    } = Secrets::parse(&keys, &node_key)?;
    let artefact = Artefact::load(&mut &*bytes, &keys, |_| {})?;
    let mut node = match &own {
        Some(own) => own.node().to_owned(),
        None => std::env::var("KEYSTILE_NODE").unwrap_or_default(),
    };
    node.truncate(node.floor_char_boundary(MAX_NODE));
    check(&artefact, &node)?;
    Ok(Loaded {
        artefact,
        keys: own.map_or(keys, |own| SigningKeys::new(vec![own.signing_key()])),
        node,
    })
}

/// Refuses what modules cannot enforce, rather than pass over it.
fn check(artefact: &Artefact, node: &str) -> Result<(), Refused> {
    let report = match artefact {
        Artefact::Keyset(keyset) => &keyset.policy.report,
        Artefact::Overlay(overlay) => &overlay.report,
    };
    if report.is_some() && node.is_empty() {
        return Err(Refused::Unsupported(
            "the policy asks for reports (`report`), and Envoy does not tell modules who it is. Set the environment variable `KEYSTILE_NODE` to Envoy's `node.id`, or enrol it with `keystilectl node enroll`",
        ));
    }
    let certificates = match artefact {
        Artefact::Keyset(keyset) => {
            if keyset.policy.router.names_virtual_hosts() {
                return Err(Refused::Unsupported(
                    "the policy names `virtual_hosts`, and Envoy does not tell modules which one it chose. Name `hosts` in their place, or use keystile.wasm",
                ));
            }
            let asked = keyset.policy.client_certificates;
            keyset.certificates && asked == ClientCertificates::Validated
        }
        Artefact::Overlay(_) => false,
    };
    // Those keys alone are refused. To refuse all keys would hold back revocations as well.
    if certificates {
        log(
            Level::Warn,
            "keystile: some keys are bound to client certificates, and Envoy does not tell modules whether it has checked one: these keys are refused. If every listener refuses certificates that do not hold, write `client_certificates: presented` into the policy; otherwise use keystile.wasm",
        );
    }
    Ok(())
}
