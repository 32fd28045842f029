//! Open tunnels (WebSockets and other upgrades, `CONNECT`): they outlive every push, so the
//! decision made when they were opened is checked again.
//!
//! A tunnel continues as long as a new request would find its key valid. That includes the keyset:
//! once it is past its not-after, nothing is known about the key.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keystile_core::decide::{Denial, still_good};
use keystile_core::key::Prefix;
use keystile_core::keyset::StoreId;

use crate::abi::{Refused, Scheduler, Stream};
use crate::{clock, state};

struct Open {
    store: StoreId,
    key: Prefix,
    /// Wall-clock second at which to check again even if nothing was pushed.
    ask_at: Option<u64>,
    /// Wakes the tunnel on its worker.
    scheduler: Scheduler,
}

static OPEN: Mutex<BTreeMap<u64, Open>> = Mutex::new(BTreeMap::new());

fn open() -> MutexGuard<'static, BTreeMap<u64, Open>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream that was let in as a tunnel.
pub struct Tunnel {
    id: u64,
    store: StoreId,
    key: Prefix,
}

impl Tunnel {
    /// It was let in with this key.
    ///
    /// # Errors
    /// [`Refused`] if it could not be ended later.
    pub fn open(stream: &Stream<'_>, store: StoreId, key: Prefix) -> Result<Self, Refused> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let scheduler = stream.scheduler().ok_or(Refused)?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let of = Open {
            store,
            key,
            ask_at: Some(0),
            scheduler,
        };
        open().insert(id, of);
        Ok(Self { id, store, key })
    }

    /// Why it may not go on, if so.
    pub fn denied(&self) -> Option<Denial> {
        let keyset = state::newest(self.store);
        let keyset = keyset.as_ref().map_err(|why| *why);
        still_good(keyset, &self.key, clock::now()).err()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        open().remove(&self.id);
    }
}

/// Something was pushed: checks every tunnel.
pub fn pushed() {
    check(|_, _| true);
}

/// Once a second: checks those that are due.
pub fn tick() {
    check(|tunnel, now| tunnel.ask_at.is_some_and(|at| now >= at));
}

fn check(is_due: impl Fn(&Open, u64) -> bool) {
    let clocks = clock::now();
    for tunnel in open().values_mut().filter(|t| is_due(t, clocks.wall)) {
        let keyset = state::newest(tunnel.store);
        match still_good(keyset.as_ref().map_err(|why| *why), &tunnel.key, clocks) {
            Ok(ask_at) => tunnel.ask_at = ask_at,
            Err(_) => {
                // Until it is gone.
                tunnel.ask_at = Some(0);
                tunnel.scheduler.wake();
            }
        }
    }
}
