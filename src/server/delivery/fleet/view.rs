//! The fleet as shown to people and programs.

use std::ops::Bound;

use super::issued::PublishedVersions;
use super::{Fleet, Node, Resource};
use crate::delivery::artefact::{ResourceKind, ResourceTemplate};
use keystile_api::fleet::{FleetNode, RefusedView, ResourceView, VmView};
use keystile_model::room::Room;
use keystile_model::when;
use keystile_model::world::Moment;

impl Fleet {
    /// Every node, by its id.
    pub fn view(&self, template: &ResourceTemplate) -> Vec<FleetNode> {
        let inner = self.inner();
        let nodes = inner.nodes.iter();
        nodes
            .map(|(id, node)| node.view(id, template, &inner.issued))
            .collect()
    }

    /// Those after a node id, as many as there is room for; and the id of the last one, if more
    /// follow.
    pub fn page(
        &self,
        template: &ResourceTemplate,
        after: &str,
        mut room: Room,
    ) -> (Vec<FleetNode>, Option<String>) {
        let inner = self.inner();
        let rest = (Bound::Excluded(after), Bound::Unbounded);
        let mut page: Vec<FleetNode> = Vec::new();
        for (id, node) in inner.nodes.range::<str, _>(rest) {
            let view = node.view(id, template, &inner.issued);
            if !room.takes(&view) {
                let last = page.last().map(|n| n.id.clone());
                return (page, last);
            }
            page.push(view);
        }
        (page, None)
    }
}

impl Node {
    fn view(&self, id: &str, template: &ResourceTemplate, issued: &PublishedVersions) -> FleetNode {
        let time = |moment: Option<Moment>| moment.map(|m| when::rfc3339(m.seconds()));
        let (streams, lags) = self.streams_elsewhere();
        let state = if !self.is_connected() {
            "disconnected"
        } else if lags || self.resources.iter().any(|r| r.lagging) {
            "lagging"
        } else {
            "connected"
        };
        FleetNode {
            id: id.to_owned(),
            cluster: self.cluster.clone(),
            envoy: self.envoy.clone(),
            address: Some(self.address.clone()).filter(|a| !a.is_empty()),
            state: state.to_owned(),
            connected_since: time(self.connected.filter(|_| self.is_connected())),
            disconnected_since: time(self.gone.filter(|_| !self.is_connected())),
            streams: u32::try_from(self.streams.len())
                .unwrap_or(u32::MAX)
                .saturating_add(streams),
            in_force: self.proven(issued),
            enrolled: false,
            report_refused: time(self.report_refused()),
            resources: ResourceKind::ALL
                .into_iter()
                .zip(&self.resources)
                .map(|(kind, resource)| resource.view(template.name(kind)))
                .collect(),
            vms: self
                .processes
                .vms()
                .map(|(n, vm)| VmView {
                    vm: n,
                    version: vm.version,
                    base: vm.base,
                    missing_base: vm.missing_base,
                    at: when::rfc3339(vm.at.seconds()),
                })
                .collect(),
        }
    }
}

impl Resource {
    fn view(&self, name: &str) -> ResourceView {
        ResourceView {
            name: name.to_owned(),
            sent: self.sent,
            acknowledged: self.acknowledged.as_ref().map(|h| h.version),
            refused: self.refused.as_ref().map(|r| RefusedView {
                version: r.version,
                message: r.message.clone(),
                at: when::rfc3339(r.at.seconds()),
                times: r.times,
            }),
            lagging: self.lagging,
        }
    }
}
