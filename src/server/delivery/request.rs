//! An Envoy's requests, in either of the two dialects.

use std::collections::HashMap;

use tonic::Status;

use super::denied::denied;
use super::fleet::Identity;
use super::node_identity::Papers;
use super::settings::PeerLimits;
use keystile_model::error::{self, named, refuse};
use keystile_model::foreign;
use keystile_model::next;
use keystile_render::ecds::TYPED_CONFIG;
use keystile_render::proto::core::{Node, UserAgentVersion};
use keystile_render::proto::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};

/// Bytes of a node id or cluster.
const NAME_MOST: usize = 256;

/// A request.
pub struct StreamRequest {
    /// The node; may be only in the first request.
    pub node: Option<Node>,
    /// The type of resource; may be empty outside ADS.
    type_url: String,
    /// The response that this answers; empty if none.
    pub nonce: String,
    /// The response was rejected with this message.
    pub error: Option<String>,
    /// Which resources it wants.
    pub names: AskedNames,
    /// What it says that it has.
    pub held: KnownVersions,
}

/// Which resources a request asks for.
pub enum AskedNames {
    /// Just these.
    These(Vec<String>),
    /// These more and those no more.
    Change {
        /// More.
        add: Vec<String>,
        /// No more.
        remove: Vec<String>,
    },
}

/// What a client says that it has: one version for all, or one per resource name.
pub enum KnownVersions {
    /// State of the world.
    All(String),
    /// Delta.
    Each(HashMap<String, String>),
}

impl KnownVersions {
    /// What it has of a resource.
    pub fn of_resource(&self, name: &str) -> &str {
        match self {
            Self::All(version) => version,
            Self::Each(versions) => versions.get(name).map(String::as_str).unwrap_or_default(),
        }
    }
}

impl StreamRequest {
    /// Whether it is about our type of resource. Others on a shared ADS stream are ignored: another
    /// server handles them.
    pub fn is_ours(&self) -> bool {
        self.type_url.is_empty() || self.type_url == TYPED_CONFIG
    }
}

impl From<DiscoveryRequest> for StreamRequest {
    fn from(r: DiscoveryRequest) -> Self {
        Self {
            node: r.node,
            type_url: r.type_url,
            nonce: r.response_nonce,
            error: r.error_detail.map(|e| e.message),
            names: AskedNames::These(r.resource_names),
            held: KnownVersions::All(r.version_info),
        }
    }
}

impl From<DeltaDiscoveryRequest> for StreamRequest {
    fn from(r: DeltaDiscoveryRequest) -> Self {
        Self {
            node: r.node,
            type_url: r.type_url,
            nonce: r.response_nonce,
            error: r.error_detail.map(|e| e.message),
            names: AskedNames::Change {
                add: r.resource_names_subscribe,
                remove: r.resource_names_unsubscribe,
            },
            held: KnownVersions::Each(r.initial_resource_versions),
        }
    }
}

fn invalid<T>(field: &str, fact: &str) -> Result<T, Status> {
    let next = "set `node` in the bootstrap";
    let refusal = refuse(error::Code::InvalidName, fact, next).about(field);
    Err(denied(tonic::Code::InvalidArgument, &refusal))
}

/// The node, if it may be served.
///
/// # Errors
/// INVALID_ARGUMENT without a valid node id, PERMISSION_DENIED if the node is not one of those that
/// are served, or its certificate is not valid for it.
pub fn identify(
    node: Option<Node>,
    papers: Option<&Papers>,
    limits: &PeerLimits,
) -> Result<Identity, Status> {
    let node = node.unwrap_or_default();
    if !is_node_id(&node.id) {
        return invalid(
            "node.id",
            "the first request must name its node by an id of 1 to 256 printable characters",
        );
    }
    if !is_name(&node.cluster) {
        return invalid(
            "node.cluster",
            "the node's cluster must have at most 256 printable characters",
        );
    }
    let allowed = |list: &[String], name: &str| list.is_empty() || list.iter().any(|n| n == name);
    if !allowed(&limits.nodes, &node.id) || !allowed(&limits.clusters, &node.cluster) {
        let refusal = refuse(
            error::Code::NodeNotServed,
            "this server does not serve this node",
            "add it to those that the server is started with, or connect this Envoy to another server",
        );
        return Err(denied(tonic::Code::PermissionDenied, &refusal));
    }
    if let Some(papers) = papers
        && !papers.admit(&node.id, limits)
    {
        let refusal = refuse(
            error::Code::NodeNotCertified,
            format_args!(
                "the certificate names {}, not node `{}`",
                papers.shown(),
                node.id.escape_debug()
            ),
            next![
                "give the Envoy a certificate of its own, or start the server with ",
                named("discovery_name").value("NAME=NODE")
            ],
        );
        return Err(denied(tonic::Code::PermissionDenied, &refusal));
    }
    let envoy = match node.user_agent_version_type {
        Some(UserAgentVersion::Text(version)) => version,
        Some(UserAgentVersion::Build(build)) => build
            .version
            .map(|v| format!("{}.{}.{}", v.major_number, v.minor_number, v.patch))
            .unwrap_or_default(),
        None => String::new(),
    };
    Ok(Identity {
        id: node.id,
        cluster: node.cluster,
        envoy,
    })
}

fn is_name(text: &str) -> bool {
    text.len() <= NAME_MOST && !text.chars().any(foreign::acts)
}

/// Whether a text may be an Envoy's node id.
pub fn is_node_id(text: &str) -> bool {
    !text.is_empty() && is_name(text)
}
