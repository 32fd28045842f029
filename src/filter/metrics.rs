//! Metrics, each defined once per VM.
//!
//! Names follow Istio's convention, which puts tags before the name
//! (`outcome=.=ok;.;keystile_requests_total`); two regular expressions in
//! `stats_config` turn them into Prometheus labels.

use std::cell::{Cell, RefCell};

use super::host::{self, Metric};

thread_local! {
    /// Few enough that a linear search is faster than hashing.
    static IDS: RefCell<Vec<(Name, u32)>> = const { RefCell::new(Vec::new()) };
    /// The outcome of the latest requests, and how many of them Envoy has not been told of: usually
    /// the next one has the same.
    static UNTOLD: Cell<(&'static str, usize)> = const { Cell::new(("", 0)) };
}

/// So many requests are told of together: what a trap, the only end of a VM that comes unannounced,
/// may leave uncounted.
const TOGETHER: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Requests(&'static str),
    Shadow(&'static str),
    TunnelsEnded(&'static str),
    PushesRefused(&'static str),
    CorruptPages,
    Contended,
    Version(u32),
    WithoutBase(u32),
    Keys,
    OverlayKeys,
    Age,
    ReportsFailed,
    UsageDropped,
    UsageWaiting(u32),
}

impl Name {
    fn text(self) -> (Metric, String) {
        match self {
            Self::Requests(code) => (
                Metric::Counter,
                format!("outcome=.={code};.;keystile_requests_total"),
            ),
            Self::Shadow(code) => (
                Metric::Counter,
                format!("outcome=.={code};.;keystile_shadow_refusals_total"),
            ),
            Self::TunnelsEnded(code) => (
                Metric::Counter,
                format!("outcome=.={code};.;keystile_tunnels_ended_total"),
            ),
            Self::PushesRefused(reason) => (
                Metric::Counter,
                format!("reason=.={reason};.;keystile_pushes_refused_total"),
            ),
            Self::CorruptPages => (Metric::Counter, "keystile_corrupt_pages_total".to_owned()),
            Self::Contended => (
                Metric::Counter,
                "keystile_contended_buckets_total".to_owned(),
            ),
            Self::Version(vm) => (
                Metric::Gauge,
                format!("vm=.={vm};.;keystile_keyset_version"),
            ),
            Self::WithoutBase(vm) => (
                Metric::Gauge,
                format!("vm=.={vm};.;keystile_overlay_without_base"),
            ),
            Self::Keys => (Metric::Gauge, "keystile_keyset_keys".to_owned()),
            Self::OverlayKeys => (Metric::Gauge, "keystile_overlay_keys".to_owned()),
            Self::ReportsFailed => (Metric::Counter, "keystile_reports_unsent_total".to_owned()),
            Self::UsageDropped => (Metric::Counter, "keystile_usage_dropped_total".to_owned()),
            Self::UsageWaiting(vm) => (
                Metric::Gauge,
                format!("vm=.={vm};.;keystile_usage_waiting_batches"),
            ),
            Self::Age => (Metric::Gauge, "keystile_keyset_age_seconds".to_owned()),
        }
    }
}

fn id(name: Name) -> Option<u32> {
    IDS.with_borrow_mut(|ids| {
        if let Some((_, id)) = ids.iter().find(|(n, _)| *n == name) {
            return Some(*id);
        }
        let (kind, text) = name.text();
        let id = host::define_metric(kind, &text)?;
        ids.push((name, id));
        Some(id)
    })
}

fn add(name: Name, n: usize) {
    if let (Some(id), Ok(n @ 1..)) = (id(name), i64::try_from(n)) {
        host::increment_metric(id, n);
    }
}

fn set(name: Name, value: u64) {
    if let Some(id) = id(name) {
        host::record_metric(id, value);
    }
}

/// A request was decided: `ok`, or the code of the denial. Envoy learns of it with the next
/// [`tell`], or earlier.
pub fn request(code: &'static str) {
    let (last, untold) = UNTOLD.get();
    if core::ptr::eq(last, code) && untold < TOGETHER {
        return UNTOLD.set((code, untold + 1));
    }
    tell();
    UNTOLD.set((code, 1));
}

/// Once a second, and whenever a root ends: tells Envoy of the requests that were decided since.
pub fn tell() {
    let (code, untold) = UNTOLD.replace(("", 0));
    if untold > 0 {
        add(Name::Requests(code), untold);
    }
}

/// A request that would have been refused was admitted in shadow mode.
pub fn shadow_refusal(code: &'static str) {
    add(Name::Shadow(code), 1);
}

/// A tunnel was closed because its key is no longer valid.
pub fn tunnel_ended(code: &'static str) {
    add(Name::TunnelsEnded(code), 1);
}

/// A configuration was not accepted.
pub fn push_refused(reason: &'static str) {
    add(Name::PushesRefused(reason), 1);
}

/// Pages did not match the signed hashes.
pub fn corrupt_pages(n: usize) {
    add(Name::CorruptPages, n);
}

/// A bucket was too contended to take from.
pub fn contended() {
    add(Name::Contended, 1);
}

/// The version that a VM has in force; zero if none.
pub fn version_in_force(vm: u32, version: u64) {
    set(Name::Version(vm), version);
}

/// Whether a VM has an overlay whose base it lacks.
pub fn overlay_without_base(vm: u32, lacks: bool) {
    set(Name::WithoutBase(vm), u64::from(lacks));
}

/// Keys in the bases in force, and keys in the overlays over them.
pub fn keys(base: u64, overlay: u64) {
    set(Name::Keys, base);
    set(Name::OverlayKeys, overlay);
}

/// A report could not be sent.
pub fn report_unsent() {
    add(Name::ReportsFailed, 1);
}

/// Counted requests were dropped: no batch will have them.
pub fn usage_dropped(n: u64) {
    add(Name::UsageDropped, usize::try_from(n).unwrap_or(usize::MAX));
}

/// Batches of a VM that no receipt has confirmed yet.
pub fn usage_waiting(vm: u32, batches: u64) {
    set(Name::UsageWaiting(vm), batches);
}

/// Seconds since the keyset in force was issued.
pub fn age(seconds: u64) {
    set(Name::Age, seconds);
}
