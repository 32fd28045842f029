//! The fleet as people and programs see it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::known::Issued;
use super::{Fleet, Node, Resource};
use crate::delivery::artefact::{Kind, Template};
use crate::when;
use crate::world::Moment;

/// One Envoy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Its node id.
    pub id: String,
    /// Its cluster.
    pub cluster: String,
    /// Its version, as it says.
    pub envoy: String,
    /// Where it connects from.
    pub address: Option<String>,
    /// `connected`, `lagging` (it has not answered a push in time) or `disconnected`.
    pub state: String,
    /// Since when it has been connected without a break (RFC 3339).
    pub connected_since: Option<String>,
    /// Since when it has been gone (RFC 3339).
    pub disconnected_since: Option<String>,
    /// Discovery streams that it has open.
    pub streams: u32,
    /// The version truly in force: in every VM, as they prove; null if they do not.
    pub in_force: Option<u64>,
    /// Base and overlay.
    pub resources: Vec<ResourceView>,
    /// What each of its VMs last reported; Envoy has one a worker and one more.
    pub vms: Vec<VmView>,
}

/// What an Envoy was sent of one resource, and what it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResourceView {
    /// The resource.
    pub name: String,
    /// Version last sent.
    pub sent: Option<u64>,
    /// Version last acknowledged, by Envoy's main thread.
    pub acknowledged: Option<u64>,
    /// The last refusal, unless something was taken since.
    pub refused: Option<RefusedView>,
    /// A push has not been answered in time.
    pub lagging: bool,
}

/// A push that an Envoy refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedView {
    /// Version of the keyset.
    pub version: u64,
    /// Envoy's words.
    pub message: String,
    /// When (RFC 3339).
    pub at: String,
    /// How often in a row.
    pub times: u64,
}

/// What one VM of an Envoy has in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmView {
    /// Its number.
    pub vm: u32,
    /// Version in force; 0 while it denies.
    pub version: u64,
    /// Version of its base; 0 if it has none.
    pub base: u64,
    /// It denies, or holds on to what it has, for lack of a base.
    pub missing_base: bool,
    /// When it said so (RFC 3339).
    pub at: String,
}

impl Fleet {
    /// Every node, by its id.
    pub fn view(&self, template: &Template) -> Vec<NodeView> {
        let inner = self.inner();
        let nodes = inner.nodes.iter();
        nodes
            .map(|(id, node)| node.view(id, template, &inner.issued))
            .collect()
    }
}

impl Node {
    fn view(&self, id: &str, template: &Template, issued: &Issued) -> NodeView {
        let time = |moment: Option<Moment>| moment.map(|m| when::rfc3339(m.seconds()));
        let state = if self.streams.is_empty() {
            "disconnected"
        } else if self.resources.iter().any(|r| r.lagging) {
            "lagging"
        } else {
            "connected"
        };
        NodeView {
            id: id.to_owned(),
            cluster: self.cluster.clone(),
            envoy: self.envoy.clone(),
            address: Some(self.address.clone()).filter(|a| !a.is_empty()),
            state: state.to_owned(),
            connected_since: time(self.connected.filter(|_| !self.streams.is_empty())),
            disconnected_since: time(self.gone),
            streams: u32::try_from(self.streams.len()).unwrap_or(u32::MAX),
            in_force: self.proven(issued),
            resources: Kind::ALL
                .into_iter()
                .zip(&self.resources)
                .map(|(kind, resource)| resource.view(template.name(kind)))
                .collect(),
            vms: self
                .vms
                .iter()
                .map(|(n, vm)| VmView {
                    vm: *n,
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
