//! What belongs to the VM and outlives configuration pushes: the keysets in force.
//!
//! Keyed by store, because filters with the same `vm_config` share one VM: listeners
//! with policies of their own come from stores of their own.

use std::cell::RefCell;
use std::rc::Rc;

use super::host::{self, Level};
use super::{metrics, slots};
use crate::keyset::{Keyset, StoreId};

struct Place {
    store: StoreId,
    /// Root contexts configured from this store that are still alive.
    roots: usize,
    keyset: Option<Rc<Keyset>>,
}

thread_local! {
    static PLACES: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

fn with<R>(store: StoreId, f: impl FnOnce(&mut Place) -> R) -> Option<R> {
    PLACES.with_borrow_mut(|places| places.iter_mut().find(|p| p.store == store).map(f))
}

/// A root context now uses this store.
pub fn join(store: StoreId) {
    if with(store, |p| p.roots += 1).is_none() {
        PLACES.with_borrow_mut(|places| {
            places.push(Place {
                store,
                roots: 1,
                keyset: None,
            });
        });
    }
}

/// A root context is gone; with the last one goes the keyset.
pub fn leave(store: StoreId) {
    PLACES.with_borrow_mut(|places| {
        for p in places.iter_mut().filter(|p| p.store == store) {
            p.roots = p.roots.saturating_sub(1);
        }
        places.retain(|p| p.roots > 0);
    });
}

/// The keyset in force for a store.
pub fn in_force(store: StoreId) -> Option<Rc<Keyset>> {
    with(store, |p| p.keyset.clone()).flatten()
}

/// Lets go of the keyset that a verified, newer one is about to replace, before memory
/// for that is taken: linear memory never shrinks, and two large keysets side by side
/// would double it for good. Nothing is served meanwhile, and should the pages behind
/// the good signature not hold, Envoy's canary has found that out before any worker.
pub fn make_room(store: StoreId, version: u64) {
    if version < slots::floor(store) {
        return;
    }
    let _ = with(store, |p| {
        if p.keyset.as_ref().is_some_and(|k| k.version <= version) {
            p.keyset = None;
        }
    });
}

/// Puts a keyset in force, unless a newer one is: an older version would undo a
/// revocation. `loaded_us` is how long this thread stood still to load it.
pub fn put_in_force(keyset: Keyset, loaded_us: u64) {
    let (store, version, keys) = (keyset.store, keyset.version, keyset.len());
    let newest = slots::floor(store).max(in_force(store).map_or(0, |k| k.version));
    if version < newest {
        metrics::push_refused("older_version");
        host::log(
            Level::Warn,
            &format!(
                "keystile: keyset version {version} is older than {newest}, which was in force before; not taken. Issue it anew with `keystilectl keyset renew`"
            ),
        );
    } else {
        let _ = with(store, |p| p.keyset = Some(Rc::new(keyset)));
        host::log(
            Level::Info,
            &format!(
                "keystile: keyset version {version} with {keys} keys is in force, loaded in {loaded_us} us, linear memory {} KiB",
                host::memory_bytes() / 1024
            ),
        );
    }
    slots::publish();
}

/// Calls `f` with every keyset in force.
pub fn each(mut f: impl FnMut(&Keyset)) {
    // Cloned, so that nothing is borrowed while `f` calls the host.
    let all: Vec<Rc<Keyset>> =
        PLACES.with_borrow(|places| places.iter().filter_map(|p| p.keyset.clone()).collect());
    for keyset in all {
        f(&keyset);
    }
}

/// Once a second.
pub fn tick() {
    slots::tick();
}
