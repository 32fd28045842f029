//! Discovery: what an Envoy asks and is answered, in both dialects.

use std::collections::HashMap;

use super::core::Node;
use super::google::{Any, Duration, Status};
use super::named;

named!(
    DiscoveryRequest in "envoy.service.discovery.v3",
    DiscoveryResponse in "envoy.service.discovery.v3",
    DeltaDiscoveryRequest in "envoy.service.discovery.v3",
    DeltaDiscoveryResponse in "envoy.service.discovery.v3",
    Resource in "envoy.service.discovery.v3",
);

/// Extension configurations alone, state of the world.
/// `envoy/service/extension/v3/config_discovery.proto`.
pub const ECDS_SOTW: &str =
    "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/StreamExtensionConfigs";
/// The same, incremental.
pub const ECDS_DELTA: &str =
    "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/DeltaExtensionConfigs";
/// Everything over one stream, state of the world. `envoy/service/discovery/v3/ads.proto`.
pub const ADS_SOTW: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
/// The same, incremental.
pub const ADS_DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// State of the world: a question, or the answer to a response.
/// `envoy/service/discovery/v3/discovery.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DiscoveryRequest {
    /// What was accepted last.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// A caller.
    #[prost(message, optional, tag = "2")]
    pub node: Option<Node>,
    /// For what.
    #[prost(string, repeated, tag = "3")]
    pub resource_names: Vec<String>,
    /// Of this type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// The response that is answered.
    #[prost(string, tag = "5")]
    pub response_nonce: String,
    /// Why it is refused.
    #[prost(message, optional, tag = "6")]
    pub error_detail: Option<Status>,
}

/// `envoy/service/discovery/v3/discovery.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DiscoveryResponse {
    /// Of all that is in it.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// What was required before.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Any>,
    /// Of this type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// What the answer will name.
    #[prost(string, tag = "5")]
    pub nonce: String,
}

/// Incremental: a question, or the answer to a response.
/// `envoy/service/discovery/v3/discovery.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeltaDiscoveryRequest {
    /// A caller.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// For resources of this type.
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// For these, from now on.
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    /// For these no longer.
    #[prost(string, repeated, tag = "4")]
    pub resource_names_unsubscribe: Vec<String>,
    /// What it has already, by name.
    #[prost(map = "string, string", tag = "5")]
    pub initial_resource_versions: HashMap<String, String>,
    /// The response that is answered.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// Why it is refused.
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<Status>,
}

/// `envoy/service/discovery/v3/discovery.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeltaDiscoveryResponse {
    /// For people who look at the stream.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// What is new.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Resource>,
    /// Of this type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// What the answer will name.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// What is gone.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
}

/// A resource under its name. `envoy/service/discovery/v3/discovery.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Resource {
    /// Of it alone.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The resource; left out, the one of this version lives on.
    #[prost(message, optional, tag = "2")]
    pub resource: Option<Any>,
    /// Its name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// How long it is valid without confirmation.
    #[prost(message, optional, tag = "6")]
    pub ttl: Option<Duration>,
}
