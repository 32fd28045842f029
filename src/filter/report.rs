//! Tells the control plane what this VM has in force: at every change, and every so often
//! so that silence means something.
//!
//! From ticks alone, so that no request waits for it. The answer is ignored: a report that
//! got lost is made up for by the next one.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::host::{self, Level};
use super::slots::{self, Slot};
use super::{metrics, vm};
use crate::keyset::{Holding, StoreId};
use crate::message::{KID_HEADER, SIGNATURE_HEADER};
use crate::policy::ReportTarget;
use crate::report::{MAX_NODE, PATH, Report, StoreState, seal};

const TIMEOUT: Duration = Duration::from_secs(5);

/// What was told of a store last, and when to tell it again.
struct Told {
    store: StoreId,
    by: Slot,
    state: StoreState,
    due: u64,
}

thread_local! {
    static TOLD: RefCell<Vec<Told>> = const { RefCell::new(Vec::new()) };
    /// A report could not be sent, and the log says so already.
    static COMPLAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a push is to be reported soon: somebody wants to know, and this VM, unlike a
/// canary, has a number to report under.
pub fn is_wanted(store: StoreId) -> bool {
    let mut wanted = false;
    vm::each(|s, held| wanted |= s == store && held.report().is_some());
    wanted && slots::mine().is_some()
}

/// Sends what is due. `living` is the number of VMs of this Envoy.
pub fn tick(living: u32) {
    let Some(slot) = slots::mine() else {
        return;
    };
    let now = host::monotonic_ns();
    let mut due = Vec::new();
    TOLD.with_borrow_mut(|told| {
        let mut stores = Vec::new();
        vm::each(|store, held| {
            stores.push(store);
            let state = state(store, held);
            let same = |t: &Told| t.store == store && t.by == slot && t.state == state;
            if let Some(target) = held.report()
                && !told.iter().any(|t| same(t) && now < t.due)
            {
                due.push((store, target.clone(), state));
            }
        });
        told.retain(|t| stores.contains(&t.store));
    });
    for (store, target, state) in due {
        match send(slot, living, &target, &state) {
            Ok(()) => {
                let next = Told {
                    store,
                    by: slot,
                    state,
                    due: now.saturating_add(pause(&target, slot, now)),
                };
                TOLD.with_borrow_mut(|told| {
                    told.retain(|t| t.store != store);
                    told.push(next);
                });
                COMPLAINED.set(false);
            }
            Err(status) => {
                metrics::report_unsent();
                if !COMPLAINED.replace(true) {
                    host::log(
                        Level::Warn,
                        &format!(
                            "keystile: a report to cluster `{}` could not be sent: status {}. Envoy's configuration needs a cluster of this name, or the policy's `report` another one",
                            target.cluster, status.0
                        ),
                    );
                }
            }
        }
    }
}

fn state(store: StoreId, held: &Holding) -> StoreState {
    StoreState {
        store: store.to_string(),
        version: held.version(),
        base: held.base_version(),
        missing_base: held.waiting().is_some(),
    }
}

fn send(
    slot: Slot,
    living: u32,
    target: &ReportTarget,
    state: &StoreState,
) -> Result<(), host::Status> {
    let report = Report {
        node: node(),
        vm: slot.n,
        vms: living,
        sent: host::wall_seconds(),
        claimed: slot.claimed,
        stores: vec![state.clone()],
    };
    let sealed = vm::with_keys(|keys| seal(&report, keys)).flatten();
    let sealed = sealed.ok_or(host::Status::NOT_FOUND)?;
    let headers = [
        (KID_HEADER, sealed.kid.as_str()),
        (SIGNATURE_HEADER, sealed.tag.as_str()),
    ];
    host::post(target, PATH, &headers, &sealed.body, TIMEOUT).map(drop)
}

/// Envoy's node id, cut to what a report may hold.
pub fn node() -> String {
    let id = host::property("xds\0node\0id").unwrap_or_default();
    let mut id = String::from_utf8_lossy(&id).into_owned();
    id.truncate(id.floor_char_boundary(MAX_NODE));
    id
}

/// Nanoseconds until the next report: as the policy says, a tenth more or less, so that
/// the VMs of a fleet that was pushed to at once do not report at once for ever.
fn pause(target: &ReportTarget, slot: Slot, now: u64) -> u64 {
    let every = target.every.saturating_mul(1_000_000_000);
    let spread = jitter(slot, now) % (every / 5).max(1);
    every.saturating_sub(every / 10).saturating_add(spread)
}

/// A number that no two VMs share, nor two ticks of one (SplitMix64).
pub fn jitter(slot: Slot, now: u64) -> u64 {
    let mut mix = slot.claimed ^ now.rotate_left(32) ^ u64::from(slot.n);
    mix = (mix ^ (mix >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mix = (mix ^ (mix >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mix ^ (mix >> 31)
}
