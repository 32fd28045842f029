//! What Envoy says of itself, and the pieces that its configuration is made of.

use super::google::{Any, Duration};
use super::named;

named!(TypedExtensionConfig in "envoy.config.core.v3");

/// An Envoy. `envoy/config/core/v3/base.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Node {
    /// Its name, from the bootstrap.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The group that it belongs to.
    #[prost(string, tag = "2")]
    pub cluster: String,
    /// Which Envoy it is.
    #[prost(oneof = "UserAgentVersion", tags = "7, 8")]
    pub user_agent_version_type: Option<UserAgentVersion>,
}

/// `user_agent_version_type` of [`Node`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum UserAgentVersion {
    /// As text: other clients than Envoy.
    #[prost(string, tag = "7")]
    Text(String),
    /// As numbers: Envoy itself.
    #[prost(message, tag = "8")]
    Build(BuildVersion),
}

/// `envoy/config/core/v3/base.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BuildVersion {
    /// The release.
    #[prost(message, optional, tag = "1")]
    pub version: Option<SemanticVersion>,
}

/// `envoy/type/v3/semantic_version.proto`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SemanticVersion {
    /// The first number.
    #[prost(uint32, tag = "1")]
    pub major_number: u32,
    /// The second.
    #[prost(uint32, tag = "2")]
    pub minor_number: u32,
    /// The third.
    #[prost(uint32, tag = "3")]
    pub patch: u32,
}

/// A configured extension, here a filter: the resource that is discovered.
/// `envoy/config/core/v3/extension.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TypedExtensionConfig {
    /// Its name in Envoy's configuration.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its configuration.
    #[prost(message, optional, tag = "2")]
    pub typed_config: Option<Any>,
}

/// Bytes from any source. `envoy/config/core/v3/base.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AsyncDataSource {
    /// From where.
    #[prost(oneof = "CodeSource", tags = "1")]
    pub specifier: Option<CodeSource>,
}

/// `specifier` of [`AsyncDataSource`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum CodeSource {
    /// Envoy's own machine.
    #[prost(message, tag = "1")]
    Local(DataSource),
}

/// Bytes on Envoy's own machine. `envoy/config/core/v3/base.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DataSource {
    /// Where.
    #[prost(oneof = "DataSpecifier", tags = "1")]
    pub specifier: Option<DataSpecifier>,
}

/// `specifier` of [`DataSource`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum DataSpecifier {
    /// A file.
    #[prost(string, tag = "1")]
    Filename(String),
}

/// How long to wait between attempts. `envoy/config/core/v3/backoff.proto`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct BackoffStrategy {
    /// After the first one; doubled after each further one.
    #[prost(message, optional, tag = "1")]
    pub base_interval: Option<Duration>,
}
