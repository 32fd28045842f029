//! The metrics, each named once. Labels come from the table of routes, so callers cannot create new
//! ones.

use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::pool::Health;

/// Seconds.
const DURATIONS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// How.
    pub method: String,
    /// The path's template.
    pub route: String,
    /// Of the answer.
    pub status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sort {
    kind: &'static str,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    answered: Family<Answered, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    refused: Family<Reason, Counter>,
    limited: Counter,
    version: Gauge<u64, AtomicU64>,
    ready: Gauge,
    store_errors: Family<Sort, Counter>,
}

impl Metrics {
    /// All at zero, in addition to what `collectors` count.
    pub fn new(collectors: Vec<Box<dyn Collector>>) -> Self {
        let mut registry = Registry::with_prefix("keystile_control");
        let answered = Family::default();
        let durations: Family<Route, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATIONS));
        let refused = Family::default();
        let limited = Counter::default();
        let version = Gauge::default();
        registry.register("requests", "Requests answered", answered.clone());
        registry.register(
            "request_duration_seconds",
            "Time to answer requests",
            durations.clone(),
        );
        registry.register(
            "authentication_failures",
            "Tokens refused, by reason",
            refused.clone(),
        );
        registry.register(
            "rate_limited",
            "Requests refused by rate limits",
            limited.clone(),
        );
        registry.register(
            "keyset_version",
            "Version of the keyset, in milliseconds since the epoch",
            version.clone(),
        );
        let ready = Gauge::default();
        registry.register("ready", "1 if `/readyz` answers 200, else 0", ready.clone());
        let store_errors = Family::default();
        registry.register(
            "store_errors",
            "Store errors caused by the disk or by damage, by kind",
            store_errors.clone(),
        );
        registry.register(
            "build",
            "Version of keystilectl",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        for collector in collectors {
            registry.register_collector(collector);
        }
        Self {
            registry,
            answered,
            durations,
            refused,
            limited,
            version,
            ready,
            store_errors,
        }
    }

    /// A request was answered.
    pub fn answered(&self, answered: &Answered, seconds: f64) {
        self.answered.get_or_create(answered).inc();
        let route = Route {
            route: answered.route.clone(),
        };
        self.durations.get_or_create(&route).observe(seconds);
    }

    /// A token was not accepted.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// A request came too often.
    pub fn limited(&self) {
        self.limited.inc();
    }

    /// In the form that Prometheus reads.
    pub fn text(&self, version: u64, is_ready: bool, store: &Health) -> String {
        self.version.set(version);
        self.ready.set(i64::from(is_ready));
        for (kind, n) in store.counted() {
            let counter = self.store_errors.get_or_create(&Sort { kind });
            counter.inc_by(n.saturating_sub(counter.get()));
        }
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut out, &self.registry);
        out
    }
}
