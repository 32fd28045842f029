//! Root contexts: each is what one listener's filter was given, in this VM.

use std::cell::RefCell;
use std::time::Duration;

use super::host::{self, Level};
use super::names::{STATE_CLIENT, STATE_KEY, STATE_LIMIT, STATE_PASS, STATE_REASON, STATE_ROUTE};
use super::{buckets, clock, marks, metrics, report, slots, tunnels, usage, vm};
use keystile_core::keyset::{Artefact, KeysetRefusal, Secrets, StoreId};

/// Soon after the start, so that the gauges exist early; then once a second.
const FIRST_TICK: Duration = Duration::from_millis(100);
/// After a push, because the control plane waits for the report.
const REPORT_TICK: Duration = Duration::from_millis(5);
const TICK: Duration = Duration::from_secs(1);

struct Root {
    id: u32,
    /// The store from which its configuration came.
    store: Option<StoreId>,
    ticked: bool,
}

thread_local! {
    /// Those that live.
    static ROOTS: RefCell<Vec<Root>> = const { RefCell::new(Vec::new()) };
}

fn with<R>(id: u32, f: impl FnOnce(&mut Root) -> R) -> Option<R> {
    ROOTS.with_borrow_mut(|roots| roots.iter_mut().find(|r| r.id == id).map(f))
}

/// The store that a root was configured from.
#[inline]
pub fn store_of(id: u32) -> Option<StoreId> {
    ROOTS.with_borrow(|roots| roots.iter().find(|r| r.id == id)?.store)
}

/// A root begins.
pub fn begin(id: u32) {
    let root = Root {
        id,
        store: None,
        ticked: false,
    };
    ROOTS.with_borrow_mut(|roots| roots.push(root));
}

/// A root ends, and everything that it alone held. `false` if there is none with this number.
#[inline]
pub fn end(id: u32) -> bool {
    let at = ROOTS.with_borrow(|roots| roots.iter().position(|r| r.id == id));
    let Some(at) = at else {
        return false;
    };
    ROOTS.with_borrow_mut(|roots| roots.swap_remove(at));
    metrics::tell();
    // The host leaves the timers of old roots running.
    host::set_tick_period(Duration::ZERO);
    vm::end(id);
    marks::end(id);
    true
}

/// Takes a configuration of `size` bytes; `false` refuses it.
///
/// The verdict depends only on the bytes and the environment. A `false` here that Envoy's
/// canary did not see would silently leave the filter out of a worker, so that everything
/// passes: for whatever may differ between VMs (older version, past not-after) the result is
/// `true`, and it is judged afterwards.
#[inline(never)]
pub fn configure(id: u32, size: usize) -> bool {
    for name in [STATE_CLIENT, STATE_KEY, STATE_PASS] {
        host::declare_property(name, true);
    }
    // A later pass may be refused elsewhere, for another reason.
    for name in [STATE_REASON, STATE_ROUTE, STATE_LIMIT] {
        host::declare_property(name, false);
    }
    marks::named(id);
    host::set_tick_period(FIRST_TICK);
    let _ = with(id, |root| root.ticked = false);
    clock::tick();
    let started = host::monotonic_ns();
    match load(size) {
        Ok(artefact) => {
            let loaded_us = host::monotonic_ns().saturating_sub(started) / 1000;
            let store = artefact.store();
            let _ = with(id, |root| root.store = Some(store));
            marks::declare(store);
            vm::take(id, artefact, loaded_us);
            slots::taken();
            usage::configured(store);
            if report::is_wanted(store) {
                host::set_tick_period(REPORT_TICK);
            }
            tunnels::pushed(id);
            true
        }
        Err(refusal) => {
            metrics::push_refused(refusal.reason());
            host::log(
                Level::Warn,
                &format!("keystile: configuration rejected: {refusal}"),
            );
            false
        }
    }
}

/// Once a second, and soon after a configuration.
#[inline(never)]
pub fn tick(id: u32) {
    if with(id, |root| !core::mem::replace(&mut root.ticked, true)) == Some(true) {
        host::set_tick_period(TICK);
    }
    clock::tick();
    metrics::tell();
    vm::tick();
    let living = slots::tick();
    report::tick(living);
    usage::tick();
    buckets::tick();
    tunnels::tick(id);
}

#[expect(
    clippy::disallowed_methods,
    reason = "Envoy hands secrets over by environment alone; they are read once for each push"
)]
#[inline(never)]
fn load(size: usize) -> Result<Artefact, KeysetRefusal> {
    let [shared, public, node_key] =
        Secrets::VARIABLES.map(|v| zeroize::Zeroizing::new(std::env::var(v).unwrap_or_default()));
    let Secrets { keys, node_key } = Secrets::parse(&shared, &public, &node_key)?;
    let mut source = host::PluginConfiguration { size };
    let artefact = Artefact::load(&mut source, &keys, |signed| {
        if let Ok(store) = signed.store().parse() {
            vm::make_room(store, signed);
        }
    })?;
    vm::remember_keys(keys, node_key);
    Ok(artefact)
}
