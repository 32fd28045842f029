//! Metrics, each defined once for each configuration: Envoy gives all of one name the same value.
//!
//! Names follow Istio's convention, which puts tags before the name
//! (`outcome=.=ok;.;keystile_requests_total`), as those of the WebAssembly filter do.

use keystile_core::decide::Denial;

use crate::abi::{Configuration, Metric, Stream};

/// Reasons why a configuration is refused.
const REASONS: [&str; 10] = [
    "missing",
    "signing_keys",
    "syntax",
    "format",
    "unknown_kid",
    "signature",
    "manifest",
    "pages",
    "older_version",
    "unsupported",
];

/// Counters by outcome.
type ByCode = Vec<(&'static str, Metric)>;

/// The metrics of one configuration.
pub struct FilterMetrics {
    requests: ByCode,
    shadow: ByCode,
    tunnels: ByCode,
    refused: ByCode,
    corrupt: Option<Metric>,
    reports_unsent: Option<Metric>,
    usage_dropped: Option<Metric>,
    usage_waiting: Option<Metric>,
    version: Option<Metric>,
    without_base: Option<Metric>,
    keys: Option<Metric>,
    overlay_keys: Option<Metric>,
    age: Option<Metric>,
}

impl FilterMetrics {
    /// Defines them.
    pub fn new(host: &Configuration<'_>) -> Self {
        let codes = || core::iter::once("ok").chain(Denial::CODES.iter().map(Denial::code));
        let by = |tag: &str, name: &str, code: &'static str| {
            let name = format!("{tag}=.={code};.;{name}");
            host.counter(&name).map(|counter| (code, counter))
        };
        let outcomes = |name: &str| codes().filter_map(|c| by("outcome", name, c)).collect();
        let reasons = REASONS.iter();
        let reasons = reasons.filter_map(|r| by("reason", "keystile_pushes_refused_total", r));
        Self {
            requests: outcomes("keystile_requests_total"),
            shadow: outcomes("keystile_shadow_refusals_total"),
            tunnels: outcomes("keystile_tunnels_ended_total"),
            refused: reasons.collect(),
            corrupt: host.counter("keystile_corrupt_pages_total"),
            reports_unsent: host.counter("keystile_reports_unsent_total"),
            usage_dropped: host.counter("keystile_usage_dropped_total"),
            usage_waiting: host.new_gauge("vm=.=0;.;keystile_usage_waiting_batches"),
            version: host.new_gauge("vm=.=0;.;keystile_keyset_version"),
            without_base: host.new_gauge("vm=.=0;.;keystile_overlay_without_base"),
            keys: host.new_gauge("keystile_keyset_keys"),
            overlay_keys: host.new_gauge("keystile_overlay_keys"),
            age: host.new_gauge("keystile_keyset_age_seconds"),
        }
    }

    /// A request was decided: `ok`, or the code of the denial.
    pub fn request(&self, stream: &Stream<'_>, code: &'static str) {
        add(stream, &self.requests, code);
    }

    /// A request that would have been refused was let through in shadow mode.
    pub fn shadow_refusal(&self, stream: &Stream<'_>, code: &'static str) {
        add(stream, &self.shadow, code);
    }

    /// A tunnel was ended, because its key is no longer valid.
    pub fn tunnel_ended(&self, stream: &Stream<'_>, code: &'static str) {
        add(stream, &self.tunnels, code);
    }

    /// A configuration was refused.
    pub fn push_refused(&self, host: &Configuration<'_>, reason: &'static str) {
        if let Some(counter) = find(&self.refused, reason) {
            host.count(counter, 1);
        }
    }

    /// Pages did not match the signed hashes.
    pub fn corrupt_pages(&self, stream: &Stream<'_>, n: usize) {
        if let (Some(counter), 1..) = (self.corrupt, n) {
            stream.count(counter, n as u64);
        }
    }

    /// A report could not be sent.
    pub fn report_unsent(&self, host: &Configuration<'_>) {
        if let Some(counter) = self.reports_unsent {
            host.count(counter, 1);
        }
    }

    /// Requests were dropped, so that no batch will report them; and how many batches wait for a
    /// receipt.
    pub fn usage(&self, host: &Configuration<'_>, dropped: u64, waiting: u64) {
        if let (Some(counter), 1..) = (self.usage_dropped, dropped) {
            host.count(counter, dropped);
        }
        if let Some(gauge) = self.usage_waiting {
            host.gauge(gauge, waiting);
        }
    }

    /// Sets what is in force. Returns whether Envoy could be told outside of a request: 1.38
    /// cannot.
    pub fn show(&self, host: &Configuration<'_>, shown: &GaugeValues) -> bool {
        self.each(shown, |gauge, value| host.gauge(gauge, value))
    }

    /// The same within a request.
    pub fn show_within(&self, stream: &Stream<'_>, shown: &GaugeValues) {
        self.each(shown, |gauge, value| {
            stream.gauge(gauge, value);
            true
        });
    }

    fn each(&self, shown: &GaugeValues, set: impl Fn(Metric, u64) -> bool) -> bool {
        let all = [
            (self.version, Some(shown.version)),
            (self.without_base, Some(u64::from(shown.without_base))),
            (self.keys, Some(shown.keys)),
            (self.overlay_keys, Some(shown.overlay_keys)),
            (self.age, shown.age),
        ];
        let mut all = all.into_iter().filter_map(|(g, v)| Some((g?, v?)));
        all.all(|(gauge, value)| set(gauge, value))
    }
}

/// What gauges show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GaugeValues {
    /// The version in force; zero for none.
    pub version: u64,
    /// Whether there is an overlay whose base is missing.
    pub without_base: bool,
    /// Keys in the bases in force.
    pub keys: u64,
    /// Keys in the overlays over them.
    pub overlay_keys: u64,
    /// Seconds since the keyset in force was issued.
    pub age: Option<u64>,
}

fn find(all: &ByCode, code: &str) -> Option<Metric> {
    let found = all.iter().find(|(of, _)| *of == code);
    found.map(|(_, counter)| *counter)
}

fn add(stream: &Stream<'_>, all: &ByCode, code: &'static str) {
    if let Some(counter) = find(all, code) {
        stream.count(counter, 1);
    }
}
