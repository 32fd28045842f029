//! Metrics of delivery, in addition to the server's own.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::delivery::{self, Delivery};

/// Reads the numbers when metrics are scraped.
pub struct FleetCollector(pub Arc<Delivery>);

impl std::fmt::Debug for FleetCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Numbers")
    }
}

impl Collector for FleetCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let n = self.0.numbers();
        for (name, help, value) in gauges(&n) {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        for (name, help, value) in counters(&n) {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}

/// Names, descriptions and values.
fn gauges(n: &delivery::DeliveryNumbers) -> [(&'static str, &'static str, u64); 7] {
    [
        (
            "published_version",
            "Version that every Envoy should have",
            n.version,
        ),
        ("base_version", "Version of the base", n.base_version),
        ("base_keys", "Keys in the base", n.base_keys),
        (
            "overlay_keys",
            "Keys that changed since the base was made",
            n.overlay_keys,
        ),
        ("discovery_streams", "Discovery streams open", n.streams),
        ("nodes", "Envoys connected", n.nodes),
        (
            "nodes_lagging",
            "Envoys that have not answered a push in time",
            n.lagging,
        ),
    ]
}

/// Names, descriptions and values.
fn counters(n: &delivery::DeliveryNumbers) -> [(&'static str, &'static str, u64); 11] {
    [
        (
            "pushes",
            "Resources sent, each to one Envoy",
            n.pushes_total,
        ),
        (
            "pushes_acknowledged",
            "Resources that an Envoy accepted",
            n.acknowledged_total,
        ),
        (
            "pushes_refused",
            "Resources that an Envoy refused",
            n.refused_total,
        ),
        ("bases", "Bases built", n.bases_total),
        (
            "overlays",
            "Overlays built; one may hold many changes",
            n.overlays_total,
        ),
        (
            "publish_failures",
            "Times that no keyset could be built from the store",
            n.failures_total,
        ),
        (
            "streams_turned_away",
            "Discovery streams turned away because there were too many",
            n.turned_away_total,
        ),
        (
            "streams_dropped",
            "Discovery streams dropped because of what their peers did",
            n.dropped_total,
        ),
        ("reports", "Reports of Envoys accepted", n.reports_total),
        (
            "reports_refused",
            "Reports of Envoys refused",
            n.reports_refused_total,
        ),
        (
            "repairs",
            "Times that a base was pushed again because a worker lacked it",
            n.repairs_total,
        ),
    ]
}
