//! Enrolled Envoys, which sign their reports with a secret of their own.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoint, Method, OWNERS, Operation, STAFF};
use crate::Pace;
use keystile_model::error::Result;
use keystile_model::wire::{self, Secret, Time};
use keystile_model::world::World;
use keystile_registry::node;
use keystile_store::{EnrolledNode, Store};

/// An Envoy that has, or had, its own secret.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Node)]
pub struct NodeView {
    /// Its node id.
    pub node: String,
    /// When it was enrolled.
    pub enrolled: Time,
    /// When it was revoked.
    pub revoked: Option<Time>,
}

impl NodeView {
    fn from_node(node: &EnrolledNode) -> Self {
        Self {
            node: node.node.clone(),
            enrolled: Time(node.enrolled),
            revoked: node.revoked.map(Time),
        }
    }
}

/// Enrolled Envoys.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Nodes)]
pub struct NodeViews {
    /// Sorted by node id.
    pub nodes: Vec<NodeView>,
    /// The `cursor` of the next page, if there is one.
    pub next: Option<String>,
}

/// Lists the Envoys that have, or had, a secret of their own.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NodeList)]
pub struct List {
    /// How many at most: 1 to 10,000; 1,000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the previous page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Envoys per page by default.
const NODES: u32 = 1_000;

/// Gives an Envoy its own secret, shown once; it replaces any earlier one.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NodeEnroll)]
pub struct Enroll {
    /// Its node id.
    pub node: String,
}

/// A secret for an Envoy's environment.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = NodeEnrolled)]
pub struct Enrolled {
    /// Its node id.
    pub node: String,
    /// The value of `KEYSTILE_NODE_KEY`.
    pub node_key: Secret,
}

/// Revokes an Envoy's secret: from then on no report in its name counts, and it is sent no keyset.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NodeRevoke)]
pub struct Revoke {
    /// Its node id.
    pub node: String,
}

/// What was revoked.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = NodeRevoked)]
pub struct RevokedNode {
    /// Its node id.
    pub node: String,
    /// Always true.
    pub revoked: bool,
}

impl Operation for List {
    type Output = NodeViews;
    const ENDPOINT: Endpoint =
        Endpoint::get("node.list", "/v1/nodes", STAFF, "List enrolled Envoys");

    fn run(self, store: &mut Store, world: &World) -> Result<NodeViews> {
        let mut room = wire::page(self.limit, NODES, "`cursor`")?;
        let mut out = NodeViews {
            nodes: Vec::new(),
            next: None,
        };
        let cursor = self.cursor.unwrap_or_default();
        node::each(store, world, &cursor, |node| {
            let view = NodeView::from_node(&node);
            if !room.takes(&view) {
                out.next = out.nodes.last().map(|n| n.node.clone());
                return false;
            }
            out.nodes.push(view);
            true
        })?;
        Ok(out)
    }
}

impl Operation for Enroll {
    type Output = Enrolled;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "node.enroll",
        "/v1/nodes",
        OWNERS,
        "Give an Envoy its own secret to sign its reports",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<Enrolled> {
        let key = node::enroll(store, world, &self.node)?;
        Ok(Enrolled {
            node: self.node,
            node_key: Secret::new(&key.expose_secret()),
        })
    }
}

impl Operation for Revoke {
    type Output = RevokedNode;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "node.revoke",
        "/v1/nodes/revoke",
        OWNERS,
        "Revoke an Envoy's secret, and send it no keysets",
    );

    fn pace(&self) -> Pace {
        Pace::Urgent
    }

    fn run(self, store: &mut Store, world: &World) -> Result<RevokedNode> {
        node::revoke(store, world, &self.node)?;
        Ok(RevokedNode {
            node: self.node,
            revoked: true,
        })
    }
}
