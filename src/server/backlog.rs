//! Metrics of what has not arrived yet: webhook messages, audit records, keysets.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::delivery::Delivery;
use crate::exporter::Exporter;
use crate::outbox::WebhookSender;
use keystile_system as system;

/// Reads the numbers when metrics are scraped.
pub struct Backlog {
    /// Of keysets.
    pub delivery: Arc<Delivery>,
    /// Of webhooks.
    pub sender: WebhookSender,
    /// Of the audit log.
    pub exporter: Arc<Exporter>,
}

impl std::fmt::Debug for Backlog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backlog")
    }
}

impl Collector for Backlog {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut family = encoder.encode_descriptor(
            "webhook_backlog",
            "Messages that a webhook has not accepted yet",
            None,
            MetricType::Gauge,
        )?;
        for (webhook, waiting) in self.sender.backlog() {
            let labels = [("webhook", webhook.as_str())];
            ConstGauge::new(signed(waiting)).encode(family.encode_family(&labels)?)?;
        }
        let validity = self.delivery.validity();
        let left = validity.map(|v| {
            let now = system::now().seconds();
            signed(v.not_after).saturating_sub(signed(now))
        });
        let whole = validity.map(|v| signed(v.not_after.saturating_sub(v.issued_at)));
        for (name, help, value) in [
            (
                "nodes_diverging",
                "Known Envoys that have not proved that the published version is in force",
                Some(signed(self.delivery.diverging())),
            ),
            (
                "keyset_not_after_seconds",
                "Time until Envoys refuse every key, unless a newer keyset reaches them; absent if the policy sets no `not_after`",
                left,
            ),
            (
                "keyset_lifetime_seconds",
                "Time from the issue of a keyset until Envoys refuse every key; it is renewed after half of that. Absent if the policy sets no `not_after`",
                whole,
            ),
            (
                "audit_export_backlog",
                "Audit records that have not been sent; absent without `--audit-export`",
                self.exporter.waiting().map(signed),
            ),
            (
                "audit_export_refused_bytes",
                "Size of the audit record that the receiver refuses because of its size (413), 0 if there is none; absent without `--audit-export`",
                self.exporter.stuck().map(signed),
            ),
        ] {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
