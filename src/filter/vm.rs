//! What belongs to the VM and outlives configuration pushes: the keysets and overlays that
//! it holds, and the secrets that it signs reports with.
//!
//! Keyed by store, because filters with the same `vm_config` share one VM: keys and revocations of
//! a store apply on all its listeners at once, and a base and its overlay reach one VM in two
//! resources. Each listener has its own policy: [`Holding`] knows which.

use std::cell::RefCell;
use std::sync::Arc;

use super::host::{self, Level};
use super::{floors, metrics, standing};
use keystile_core::decide::Unavailable;
use keystile_core::keyset::{
    Arrival, Artefact, Holding, InForce, NodeKey, Signed, SigningKeys, StoreId,
};

/// Envoy replaces the old root with the new one within milliseconds.
const SETTLING_NS: u64 = 500_000_000;

struct Place {
    store: StoreId,
    holding: Holding,
    /// The version of the waiting overlay that has been logged.
    told_of: u64,
    /// What to log about a base that is too old by itself, unless its overlay arrives: a starting
    /// Envoy gets first the one and then the other.
    unless_overlay: Option<String>,
    /// When listeners settle after a push, by the monotonic clock.
    settles_at: u64,
}

thread_local! {
    static PLACES: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
    static KEYS: RefCell<Option<SigningKeys>> = const { RefCell::new(None) };
}

fn with<R>(store: StoreId, f: impl FnOnce(&mut Holding) -> R) -> Option<R> {
    PLACES.with_borrow_mut(|places| {
        let place = places.iter_mut().find(|p| p.store == store);
        place.map(|p| f(&mut p.holding))
    })
}

/// A root context is gone; with the last one of a store, everything from that store is dropped.
#[inline(never)]
fn leave(root: u32, but: Option<StoreId>) {
    let mut replaced = Vec::new();
    PLACES.with_borrow_mut(|places| {
        places.retain_mut(|p| {
            if Some(p.store) == but {
                return true;
            }
            let had = p.holding.own(root).cloned();
            let is_left = p.holding.end(root);
            replaced.extend(had.filter(|n| !p.holding.has(n)).map(|n| (p.store, n)));
            is_left
        });
    });
    for (store, name) in replaced {
        standing::forget(store, &name);
    }
}

/// A root context has ended.
pub fn end(root: u32) {
    leave(root, None);
}

/// Stores what reports are signed with: this Envoy's own secret if it has one, otherwise the
/// signing keys.
#[inline(never)]
pub fn remember_keys(keys: SigningKeys, own: Option<NodeKey>) {
    let keys = own.map_or(keys, |own| SigningKeys::new(vec![own.signing_key()]));
    KEYS.with_borrow_mut(|k| *k = Some(keys));
}

/// Calls `f` with what reports are signed with, and their receipts.
pub fn with_keys<R>(f: impl FnOnce(&SigningKeys) -> R) -> Option<R> {
    KEYS.with_borrow(|keys| keys.as_ref().map(f))
}

/// The newest keys of a store with the policy that came with them, which still apply to a stream
/// whose root may be gone.
pub fn newest(store: StoreId) -> Result<InForce, Unavailable> {
    let found = with(store, |held| held.in_force().cloned());
    found.flatten().ok_or(Unavailable::None)
}

/// What a root context decides by, or why it cannot decide.
///
/// Envoy keeps a replaced root as long as it has streams, and silently reuses it if its
/// configuration is pushed again in the meantime. So a root whose keyset is not the newest checks
/// with each request whether a listener still has that keyset.
pub fn in_force(root: u32, store: StoreId) -> Result<Arc<InForce>, Unavailable> {
    let alone = with(store, |held| held.alone(root).cloned()).flatten();
    if let Some(name) = alone.filter(|name| !standing::is_noted(store, name)) {
        let _ = with(store, |held| held.step_back(root));
        host::log(
            Level::Warn,
            &format!(
                "keystile: keyset version {} was replaced by a newer one and is in use again; its policy lets in only what the newest one also allows. Reissue it with `keystilectl keyset renew`",
                name.version
            ),
        );
    }
    let found = with(store, |held| held.decides(root).cloned());
    found.unwrap_or(Err(Unavailable::None))
}

/// Releases the base that a verified one is about to replace. Nothing is served meanwhile; if the
/// pages do not match despite the good signature, Envoy's canary has found that out before any
/// worker.
#[inline(never)]
pub fn make_room(store: StoreId, signed: &Signed) {
    let floor = floors::floor(store);
    let _ = with(store, |held| held.make_room(signed, floor));
}

/// Puts what a root context was given in force, unless something newer is: an older version would
/// undo a revocation. `loaded_us` is how long loading it blocked this thread.
#[inline(never)]
pub fn take(root: u32, artefact: Artefact, loaded_us: u64) {
    let store = artefact.store();
    standing::configures();
    PLACES.with_borrow_mut(|places| {
        if !places.iter().any(|p| p.store == store) {
            places.push(Place {
                store,
                holding: Holding::default(),
                told_of: 0,
                unless_overlay: None,
                settles_at: 0,
            });
        }
    });
    let of = match &artefact {
        Artefact::Keyset(k) => &k.name,
        Artefact::Overlay(o) => &o.base,
    };
    let is_its_own = standing::is_its_own(store, of);
    let pushed = Pushed::from_artefact(&artefact);
    let floor = floors::floor(store);
    let now = host::monotonic_ns();
    PLACES.with_borrow_mut(|places| {
        for place in places.iter_mut().filter(|p| p.store == store) {
            place.settles_at = now.saturating_add(SETTLING_NS);
        }
    });
    let taken = with(store, |held| {
        let taken = held.configure(root, artefact, floor, is_its_own);
        (taken, held.version(), held.own(root).cloned())
    });
    let taken = taken.map(|(taken, now, own)| {
        if let Some(name) = own {
            standing::note(store, &name);
        }
        (taken, now)
    });
    // The last root of a store drops everything held for it, so this root leaves its former store
    // only now.
    leave(root, Some(store));
    if let Some((taken, now)) = taken {
        pushed.tell(store, taken, is_its_own, (now, loaded_us));
    }
}

/// What the log calls a push.
struct Pushed {
    kind: &'static str,
    version: u64,
    size: String,
}

impl Pushed {
    fn from_artefact(artefact: &Artefact) -> Self {
        match artefact {
            Artefact::Keyset(k) => Self {
                kind: "keyset",
                version: k.version,
                size: format!("{} keys", k.len()),
            },
            Artefact::Overlay(o) => Self {
                kind: "overlay",
                version: o.version,
                size: format!("{} keys over version {}", o.len(), o.base.version),
            },
        }
    }

    /// Logs what became of it; `now` is the version of the store that is in force.
    #[inline(never)]
    fn tell(&self, store: StoreId, taken: Arrival, is_its_own: bool, (now, loaded_us): (u64, u64)) {
        let Self {
            kind,
            version,
            size,
        } = self;
        match taken {
            Arrival::Older(newest) => {
                metrics::push_refused("older_version");
                let policy = match is_its_own {
                    true => "its policy applies to its own listeners only",
                    false => "its policy lets in only what the newest one also allows",
                };
                let line = format!(
                    "keystile: {kind} version {version} is older than {newest}, which was in force before or waits for its base; its keys are not used, and {policy}. Reissue it with `keystilectl keyset renew`"
                );
                if !tell_later(store, &line) {
                    host::log(Level::Warn, &line);
                }
            }
            // Logged at the next tick: a canary, which never ticks, has no base and needs none.
            Arrival::WithoutBase => {}
            Arrival::InForce => {
                let overall = match now == *version {
                    true => String::new(),
                    false => format!("; overall version {now}"),
                };
                let memory = host::memory_bytes() / 1024;
                host::log(
                    Level::Info,
                    &format!(
                        "keystile: {kind} version {version} with {size} is in force, loaded in {loaded_us} us, linear memory {memory} KiB{overall}"
                    ),
                );
            }
        }
    }
}

/// Keeps a line for the log until it is known whether the base that it is about gets its overlay.
#[inline(never)]
fn tell_later(store: StoreId, line: &str) -> bool {
    PLACES.with_borrow_mut(|places| {
        let waits = |p: &&mut Place| p.store == store && p.holding.lies_ready();
        let place = places.iter_mut().find(waits);
        place.is_some_and(|p| {
            p.unless_overlay = Some(line.to_owned());
            true
        })
    })
}

/// Once a second: logs which overlays are waiting for their base.
#[inline(never)]
pub fn tick() {
    standing::stays();
    let now = host::monotonic_ns();
    PLACES.with_borrow_mut(|places| {
        for place in places {
            if now >= place.settles_at {
                place.holding.settle();
                if let Some(line) = place.unless_overlay.take()
                    && place.holding.lies_ready()
                {
                    host::log(Level::Warn, &line);
                }
            }
            let Some(waiting) = place.holding.waiting() else {
                place.told_of = 0;
                continue;
            };
            if place.told_of == waiting.version {
                continue;
            }
            let meanwhile = match place.holding.version() {
                0 => "every request is refused until it does".to_owned(),
                version => format!("version {version} stays in force"),
            };
            host::log(
                Level::Warn,
                &format!(
                    "keystile: overlay version {} has arrived, but its base, version {}, has not; {meanwhile}. Push the base again: the overlay takes effect with it",
                    waiting.version, waiting.base.version
                ),
            );
            place.told_of = waiting.version;
        }
    });
}

/// Calls `f` with what is held for every store. `f` may call the host, but not this module.
pub fn each(mut f: impl FnMut(StoreId, &Holding)) {
    PLACES.with_borrow(|places| places.iter().for_each(|p| f(p.store, &p.holding)));
}
