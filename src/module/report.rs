//! Tells the control plane what this Envoy has in force: at every change, and at regular intervals,
//! so that silence is significant.
//!
//! All workers share one memory, so there is one report for all of them. A report that is not
//! confirmed is repeated after a growing pause, and at the latest when the next one is due.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use keystile_core::keyset::StoreId;
use keystile_core::policy::ReportTarget;
use keystile_core::report::message::{KID_HEADER, SIGNATURE_HEADER, Sealed};
use keystile_core::report::{PATH, Report, StoreState, UNSIGNED, seal};

use crate::abi::{Configuration, Level, Refused, log};
use crate::config::Config;
use crate::{clock, state};

const SECOND: u64 = 1_000_000_000;
const TIMEOUT_MS: u64 = 5000;
/// How long to wait for an answer, in nanoseconds: Envoy's own timeout is shorter, unless the
/// calling configuration is gone.
const GIVEN_UP: u64 = 6 * SECOND;
/// The longest pause before a report is repeated, in nanoseconds.
const PAUSE_MAX: u64 = 15 * SECOND;

/// One call to the control plane: the configuration that it came from, and its number there.
pub type Call = (u32, u64);

/// What was last reported about a store, and when to report again.
struct Told {
    store: StoreId,
    state: StoreState,
    due: u64,
    /// The call that carries it, and when its answer is given up.
    call: Option<(Call, u64)>,
    /// Failed attempts since the last success.
    failures: u32,
}

impl Told {
    /// Pauses, each time twice as long, a tenth more or less.
    fn failed(&mut self, now: u64) {
        let pause = (SECOND << self.failures.min(4)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.call = None;
        self.due = self.due.min(now.saturating_add(about(pause, now)));
    }
}

#[derive(Default)]
struct Reports {
    told: Vec<Told>,
    /// A report could not be sent, and that has been logged.
    complained: bool,
}

static REPORTS: Mutex<Reports> = Mutex::new(Reports {
    told: Vec::new(),
    complained: false,
});

fn reports() -> MutexGuard<'static, Reports> {
    REPORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends what is due.
pub fn tick(host: &Configuration<'_>, config: &Config) {
    let now = clock::monotonic();
    let mut reports = reports();
    for told in &mut reports.told {
        if told.call.is_some_and(|(_, until)| until <= now) {
            told.failed(now);
        }
    }
    let (mut stores, mut due) = (Vec::new(), Vec::new());
    state::each(|store, held| {
        stores.push(store);
        let state = StoreState::from_holding(store, held);
        let same = |t: &Told| t.store == store && t.state == state;
        if let Some(target) = held.report()
            && !reports.told.iter().any(|t| same(t) && now < t.due)
        {
            due.push((store, target.clone(), state));
        }
    });
    reports.told.retain(|t| stores.contains(&t.store));
    for (store, target, state) in due {
        match send(host, &target, &state) {
            Ok(call) => {
                let before = reports.told.iter().position(|t| t.store == store);
                let before = before.map(|i| reports.told.swap_remove(i));
                let every = target.every.saturating_mul(SECOND);
                reports.told.push(Told {
                    store,
                    state,
                    due: now.saturating_add(about(every, now)),
                    call: Some(((config.id, call), now.saturating_add(GIVEN_UP))),
                    failures: before.map_or(0, |t| t.failures),
                });
                reports.complained = false;
            }
            Err(Refused) => {
                config.metrics.report_unsent(host);
                let unsigned = state::with_keys(|keys| !keys.can_sign_messages()) == Some(true);
                let is_told = core::mem::replace(&mut reports.complained, true);
                if !is_told && unsigned {
                    log(Level::Warn, UNSIGNED);
                } else if !is_told {
                    let line = format!(
                        "keystile: a report to cluster `{}` could not be sent. Envoy's configuration needs a cluster of this name, or the policy's `report` has to name another one",
                        target.cluster
                    );
                    log(Level::Warn, &line);
                }
            }
        }
    }
}

/// An answer arrived, or Envoy says that none will: zero. Returns whether it was for a report.
pub fn answered(call: Call, status: u16) -> bool {
    let now = clock::monotonic();
    let mut reports = reports();
    let is_it = |t: &&mut Told| t.call.is_some_and(|(of, _)| of == call);
    let Some(told) = reports.told.iter_mut().find(is_it) else {
        return false;
    };
    if (200..300).contains(&status) {
        (told.call, told.failures) = (None, 0);
    } else {
        told.failed(now);
    }
    true
}

fn send(
    host: &Configuration<'_>,
    target: &ReportTarget,
    state: &StoreState,
) -> Result<u64, Refused> {
    let report = Report {
        node: state::node(),
        process: Some(process()),
        vm: 0,
        vms: 1,
        sent: clock::wall(),
        claimed: clock::started(),
        stores: vec![state.clone()],
    };
    let sealed = state::with_keys(|keys| seal(&report, keys)).flatten();
    post(host, target, PATH, &sealed.ok_or(Refused)?, TIMEOUT_MS)
}

/// Posts a signed message. The answer is delivered to the configuration that called.
///
/// # Errors
/// [`Refused`] if it was not sent, as to a cluster that Envoy does not know.
pub fn post(
    host: &Configuration<'_>,
    target: &ReportTarget,
    path: &str,
    message: &Sealed,
    timeout_ms: u64,
) -> Result<u64, Refused> {
    let headers = [
        (":method", "POST"),
        (":path", path),
        (":authority", target.authority()),
        ("content-type", "application/json"),
        (KID_HEADER, message.kid.as_str()),
        (SIGNATURE_HEADER, message.tag.as_str()),
    ];
    host.call(&target.cluster, &headers, &message.body, timeout_ms)
}

/// Distinguishes this Envoy process from all others: made from the clocks at its first report.
pub fn process() -> u64 {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| {
        let id = u64::from(std::process::id());
        scatter(clock::started() ^ scatter(clock::wall().rotate_left(32) ^ id))
    });
    *PROCESS
}

/// This long, a tenth more or less: Envoys of a fleet that got a push at the same time should not
/// report at the same time indefinitely.
fn about(ns: u64, now: u64) -> u64 {
    let spread = jitter(now) % (ns / 5).max(1);
    ns.saturating_sub(ns / 10).saturating_add(spread)
}

/// A number that no two Envoys share, nor two ticks of one.
pub fn jitter(now: u64) -> u64 {
    scatter(process() ^ now.rotate_left(32))
}

/// Scatters numbers that are close to each other (SplitMix64).
fn scatter(mut n: u64) -> u64 {
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
