//! Usage in numbers: few series, however many keys and clients there are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::intake::Intake;
use super::usage_counted::Count;

/// Reads the numbers when metrics are scraped.
pub struct UsageCollector(pub Arc<Intake>);

impl std::fmt::Debug for UsageCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Numbers")
    }
}

impl Collector for UsageCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let count = self.0.count();
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let outcomes = count
            .outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut family = encoder.encode_descriptor(
            "usage_requests",
            "Requests that Envoys counted, by outcome",
            None,
            MetricType::Counter,
        )?;
        for (outcome, n) in &outcomes {
            let labels = [("outcome", outcome.as_str())];
            ConstCounter::new(*n).encode(family.encode_family(&labels)?)?;
        }
        for (name, help, value) in counters(count) {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        let seconds = ConstCounter::new(of(&count.commit_micros) as f64 / 1e6);
        let metric = encoder.encode_descriptor(
            "usage_commit_seconds",
            "Time that those transactions took",
            None,
            seconds.metric_type(),
        )?;
        seconds.encode(metric)?;
        for (name, help, value) in [
            (
                "usage_lag_seconds",
                "Time from the end of the last batch's minute until it was counted",
                of(&count.lag),
            ),
            (
                "usage_database_bytes",
                "Size of the usage database",
                of(&count.bytes),
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

/// Names, descriptions and values.
fn counters(count: &Count) -> [(&'static str, &'static str, u64); 7] {
    let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
    [
        ("usage_batches", "Batches counted", of(&count.batches)),
        (
            "usage_batches_repeated",
            "Batches that had been counted before, and were not counted again",
            of(&count.repeated),
        ),
        (
            "usage_batches_refused",
            "Batches that were rejected",
            of(&count.refused),
        ),
        (
            "usage_batches_put_off",
            "Batches that have to be sent again: no room, or the database could not be written",
            of(&count.put_off),
        ),
        (
            "usage_dropped_requests",
            "Requests that are in no count because VMs had no room for them",
            of(&count.dropped),
        ),
        (
            "usage_late_requests",
            "Requests that are in no count because VMs reported them months later",
            of(&count.late),
        ),
        (
            "usage_commits",
            "Transactions that counted",
            of(&count.commits),
        ),
    ]
}
