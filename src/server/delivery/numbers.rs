//! Delivery in numbers.

use super::Delivery;
use super::published::Published;

/// Delivery in numbers, for metrics. Those that end in `_total` only increase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryNumbers {
    /// Version that every Envoy should have.
    pub version: u64,
    /// Version of the base.
    pub base_version: u64,
    /// Keys in the base.
    pub base_keys: u64,
    /// Keys in the overlay.
    pub overlay_keys: u64,
    /// Streams open.
    pub streams: u64,
    /// Envoys connected.
    pub nodes: u64,
    /// Envoys that have not answered a push in time.
    pub lagging: u64,
    /// Resources sent, each to one Envoy.
    pub pushes_total: u64,
    /// Acknowledged ones among these.
    pub acknowledged_total: u64,
    /// Refused ones among these.
    pub refused_total: u64,
    /// Streams turned away because there were too many.
    pub turned_away_total: u64,
    /// Streams dropped because of their peers' behaviour.
    pub dropped_total: u64,
    /// Bases made.
    pub bases_total: u64,
    /// Overlays made: one for many changes at once.
    pub overlays_total: u64,
    /// How often no keyset could be made from the store.
    pub failures_total: u64,
    /// Reports accepted.
    pub reports_total: u64,
    /// Reports refused.
    pub reports_refused_total: u64,
    /// How often a base was pushed again because a worker lacked it.
    pub repairs_total: u64,
}

impl Delivery {
    /// Delivery in numbers.
    pub fn numbers(&self) -> DeliveryNumbers {
        let published = self.published.borrow().clone();
        let of = |f: fn(&Published) -> u64| published.as_deref().map_or(0, f);
        let (nodes, lagging) = self.fleet.connected();
        DeliveryNumbers {
            version: of(Published::version),
            base_version: of(|p| p.base.version()),
            base_keys: of(|p| p.base.built().keys as u64),
            overlay_keys: of(|p| p.overlay.built().keys as u64),
            streams: self.fleet.streams() as u64,
            nodes: nodes as u64,
            lagging: lagging as u64,
            pushes_total: self.count.pushes.get(),
            acknowledged_total: self.count.acknowledged.get(),
            refused_total: self.count.refused.get(),
            turned_away_total: self.count.turned_away.get(),
            dropped_total: self.count.dropped.get(),
            bases_total: self.count.bases.get(),
            overlays_total: self.count.overlays.get(),
            failures_total: self.count.failures.get(),
            reports_total: self.count.reports.get(),
            reports_refused_total: self.count.reports_refused.get(),
            repairs_total: self.count.repairs.get(),
        }
    }
}
