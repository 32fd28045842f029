//! What belongs to the VM and outlives configuration pushes: the keysets and overlays that
//! it holds, and the secrets that it signs reports with.
//!
//! Keyed by store, because filters with the same `vm_config` share one VM: listeners
//! with policies of their own come from stores of their own, and a base and its overlay
//! come to one VM in two resources.

use std::cell::RefCell;

use super::host::{self, Level};
use super::{metrics, slots};
use crate::decide::Unavailable;
use crate::keyset::{Artefact, Holding, InForce, Signed, SigningKeys, StoreId, Taken};

struct Place {
    store: StoreId,
    /// Root contexts configured from this store that are still alive.
    roots: usize,
    holding: Holding,
    /// The version of the waiting overlay that the log tells of already.
    told_of: u64,
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

/// A root context now uses this store.
pub fn join(store: StoreId) {
    PLACES.with_borrow_mut(
        |places| match places.iter_mut().find(|p| p.store == store) {
            Some(place) => place.roots += 1,
            None => places.push(Place {
                store,
                roots: 1,
                holding: Holding::default(),
                told_of: 0,
            }),
        },
    );
}

/// A root context is gone; with the last one goes all that came from its store.
pub fn leave(store: StoreId) {
    PLACES.with_borrow_mut(|places| {
        for p in places.iter_mut().filter(|p| p.store == store) {
            p.roots = p.roots.saturating_sub(1);
        }
        places.retain(|p| p.roots > 0);
    });
}

/// Keeps the signing keys, for reports.
pub fn remember_keys(keys: SigningKeys) {
    KEYS.with_borrow_mut(|k| *k = Some(keys));
}

/// Calls `f` with the signing keys.
pub fn with_keys<R>(f: impl FnOnce(&SigningKeys) -> R) -> Option<R> {
    KEYS.with_borrow(|keys| keys.as_ref().map(f))
}

/// What is in force for a store, or why nothing is.
pub fn in_force(store: StoreId) -> Result<InForce, Unavailable> {
    let found = with(store, |held| match (held.in_force(), held.waiting()) {
        (Some(in_force), _) => Ok(in_force.clone()),
        (None, Some(_)) => Err(Unavailable::OverlayWithoutBase),
        (None, None) => Err(Unavailable::None),
    });
    found.unwrap_or(Err(Unavailable::None))
}

/// Lets go of the base that a verified one is about to replace. Nothing is served
/// meanwhile, and should the pages behind the good signature not hold, Envoy's canary has
/// found that out before any worker.
pub fn make_room(store: StoreId, signed: &Signed) {
    let floor = slots::floor(store);
    let _ = with(store, |held| held.make_room(signed, floor));
}

/// Puts what was loaded in force, unless something newer is: an older version would undo a
/// revocation. `loaded_us` is how long this thread stood still to load it.
pub fn take(artefact: Artefact, loaded_us: u64) {
    let store = artefact.store();
    let (version, name, size) = match &artefact {
        Artefact::Keyset(k) => (k.version, "keyset", format!("{} keys", k.len())),
        Artefact::Overlay(o) => {
            let size = format!("{} keys over version {}", o.len(), o.base.version);
            (o.version, "overlay", size)
        }
    };
    let floor = slots::floor(store);
    let taken = with(store, |held| (held.take(artefact, floor), held.version()));
    match taken {
        Some((Taken::Older(newest), _)) => {
            metrics::push_refused("older_version");
            host::log(
                Level::Warn,
                &format!(
                    "keystile: {name} version {version} is older than {newest}, which was in force before; not taken. Issue it anew with `keystilectl keyset renew`"
                ),
            );
        }
        // Told at the next tick: a canary, which never ticks, has no base and needs none.
        Some((Taken::WithoutBase, _)) => {}
        Some((Taken::InForce, now)) => host::log(
            Level::Info,
            &format!(
                "keystile: {name} version {version} with {size} is in force, loaded in {loaded_us} us, linear memory {} KiB{}",
                host::memory_bytes() / 1024,
                if now == version {
                    String::new()
                } else {
                    format!("; all in all version {now}")
                },
            ),
        ),
        None => {}
    }
    slots::publish();
}

/// Once a second: says in the log which overlays wait for their base.
pub fn tick() {
    PLACES.with_borrow_mut(|places| {
        for place in places {
            let Some(waiting) = place.holding.waiting() else {
                place.told_of = 0;
                continue;
            };
            if place.told_of == waiting.version {
                continue;
            }
            let meanwhile = match place.holding.version() {
                0 => "every request is refused until it is".to_owned(),
                version => format!("version {version} stays in force"),
            };
            host::log(
                Level::Warn,
                &format!(
                    "keystile: overlay version {} is here and its base, version {}, is not; {meanwhile}. Push the base again: the overlay comes in force with it",
                    waiting.version, waiting.base.version
                ),
            );
            place.told_of = waiting.version;
        }
    });
}

/// Calls `f` with what is held of every store. `f` may call the host, but not this module.
pub fn each(mut f: impl FnMut(StoreId, &Holding)) {
    PLACES.with_borrow(|places| places.iter().for_each(|p| f(p.store, &p.holding)));
}
