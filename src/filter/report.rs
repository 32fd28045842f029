//! Reports to the control plane what this VM has in force: at every change, and at regular
//! intervals so that silence is significant.
//!
//! Only from ticks, so that no request waits for it. A report that is not confirmed is repeated
//! after a growing pause, and at the latest when the next one is due.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::host::{self, Level};
use super::slots::{self, Slot};
use super::{metrics, vm};
use keystile_core::keyset::StoreId;
use keystile_core::policy::ReportTarget;
use keystile_core::report::message::{KID_HEADER, SIGNATURE_HEADER};
use keystile_core::report::{MAX_NODE, PATH, Report, StoreState, UNSIGNED, seal};

const SECOND: u64 = 1_000_000_000;
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer, in nanoseconds: the host's own timeout is shorter, unless the
/// calling root is gone.
const GIVEN_UP: u64 = 6 * SECOND;
/// The longest pause before a report is repeated, in nanoseconds.
const PAUSE_MAX: u64 = 15 * SECOND;

/// What was last reported about a store, and when to report again.
struct Told {
    store: StoreId,
    by: Slot,
    state: StoreState,
    due: u64,
    /// The call that carries it, and when its answer is given up.
    call: Option<(u32, u64)>,
    /// Failed attempts since the last success.
    failures: u32,
}

impl Told {
    /// Pauses, each time twice as long, a tenth more or less.
    fn failed(&mut self, now: u64) {
        let pause = (SECOND << self.failures.min(4)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.call = None;
        self.due = self.due.min(now.saturating_add(about(pause, self.by, now)));
    }
}

thread_local! {
    static TOLD: RefCell<Vec<Told>> = const { RefCell::new(Vec::new()) };
    /// A report could not be sent, and that has been logged.
    static COMPLAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a push is to be reported soon: reports are wanted, and this VM, unlike a canary, has a
/// number to report under.
#[inline(never)]
pub fn is_wanted(store: StoreId) -> bool {
    let mut wanted = false;
    vm::each(|s, held| wanted |= s == store && held.report().is_some());
    wanted && slots::mine().is_some()
}

/// Sends what is due. `living` is the number of VMs of this Envoy.
#[inline(never)]
pub fn tick(living: u32) {
    let Some(slot) = slots::mine() else {
        return;
    };
    let now = host::monotonic_ns();
    let mut due = Vec::new();
    TOLD.with_borrow_mut(|told| {
        for t in told.iter_mut() {
            if t.call.is_some_and(|(_, until)| until <= now) {
                t.failed(now);
            }
        }
        let mut stores = Vec::new();
        vm::each(|store, held| {
            stores.push(store);
            let state = StoreState::from_holding(store, held);
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
            Ok(token) => {
                let every = target.every.saturating_mul(SECOND);
                TOLD.with_borrow_mut(|told| {
                    let before = told.iter().position(|t| t.store == store);
                    let before = before.map(|i| told.swap_remove(i));
                    told.push(Told {
                        store,
                        by: slot,
                        state,
                        due: now.saturating_add(about(every, slot, now)),
                        call: Some((token, now.saturating_add(GIVEN_UP))),
                        failures: before.map_or(0, |t| t.failures),
                    });
                });
                COMPLAINED.set(false);
            }
            Err(status) => {
                metrics::report_unsent();
                let unsigned = vm::with_keys(|keys| !keys.can_sign_messages()) == Some(true);
                let is_told = COMPLAINED.replace(true);
                if !is_told && unsigned {
                    host::log(Level::Warn, UNSIGNED);
                } else if !is_told {
                    host::log(
                        Level::Warn,
                        &format!(
                            "keystile: a report to cluster `{}` could not be sent: status {}. Envoy's configuration needs a cluster of this name, or the policy's `report` has to name another one",
                            target.cluster, status.0
                        ),
                    );
                }
            }
        }
    }
}

/// An answer arrived, or Envoy says that none will. Gives whether it was for a report.
pub fn answered(token: u32, body_size: usize) -> bool {
    let now = host::monotonic_ns();
    TOLD.with_borrow_mut(|told| {
        let is_it = |t: &&mut Told| t.call.is_some_and(|(call, _)| call == token);
        let Some(told) = told.iter_mut().find(is_it) else {
            return false;
        };
        let status = host::call_response(body_size).map_or(0, |r| r.status);
        if (200..300).contains(&status) {
            (told.call, told.failures) = (None, 0);
        } else {
            told.failed(now);
        }
        true
    })
}

#[inline(never)]
fn send(
    slot: Slot,
    living: u32,
    target: &ReportTarget,
    state: &StoreState,
) -> Result<u32, host::Status> {
    let report = Report {
        node: node(),
        process: slots::process(),
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
    host::post(target, PATH, &headers, &sealed.body, TIMEOUT)
}

/// Envoy's node id, cut to what a report may hold.
#[inline(never)]
pub fn node() -> String {
    let id = host::property("xds\0node\0id").unwrap_or_default();
    let mut id = String::from_utf8_lossy(&id).into_owned();
    id.truncate(id.floor_char_boundary(MAX_NODE));
    id
}

/// This long, a tenth more or less: the VMs of a fleet that got a push at the same time should not
/// report at the same time indefinitely.
fn about(ns: u64, slot: Slot, now: u64) -> u64 {
    let spread = jitter(slot, now) % (ns / 5).max(1);
    ns.saturating_sub(ns / 10).saturating_add(spread)
}

/// A number that no two VMs share, nor two ticks of one.
pub fn jitter(slot: Slot, now: u64) -> u64 {
    slots::scatter(slot.claimed ^ now.rotate_left(32) ^ u64::from(slot.n))
}
