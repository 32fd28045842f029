//! Envoy's configuration of a filter that is written in WebAssembly.

use super::core::{AsyncDataSource, BackoffStrategy};
use super::google::Any;
use super::named;

named!(Wasm in "envoy.extensions.filters.http.wasm.v3");

/// The HTTP filter. `envoy/extensions/filters/http/wasm/v3/wasm.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Wasm {
    /// The plugin that it is.
    #[prost(message, optional, tag = "1")]
    pub config: Option<PluginConfig>,
}

/// A plugin. `envoy/extensions/wasm/v3/wasm.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PluginConfig {
    /// Its name in logs and statistics.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Plugins of one root share its state.
    #[prost(string, tag = "2")]
    pub root_id: String,
    /// Where it runs.
    #[prost(oneof = "Vm", tags = "3")]
    pub vm: Option<Vm>,
    /// What it is configured with.
    #[prost(message, optional, tag = "4")]
    pub configuration: Option<Any>,
    /// What happens to requests after a trap.
    #[prost(enumeration = "FailurePolicy", tag = "7")]
    pub failure_policy: i32,
    /// When it is restarted after a trap.
    #[prost(message, optional, tag = "8")]
    pub reload_config: Option<ReloadConfig>,
}

/// `vm` of [`PluginConfig`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Vm {
    /// One that is described in place.
    #[prost(message, tag = "3")]
    VmConfig(VmConfig),
}

/// A virtual machine. `envoy/extensions/wasm/v3/wasm.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct VmConfig {
    /// Names its shared data.
    #[prost(string, tag = "1")]
    pub vm_id: String,
    /// Which engine.
    #[prost(string, tag = "2")]
    pub runtime: String,
    /// The module.
    #[prost(message, optional, tag = "3")]
    pub code: Option<AsyncDataSource>,
    /// What it sees of Envoy's environment.
    #[prost(message, optional, tag = "7")]
    pub environment_variables: Option<EnvironmentVariables>,
}

/// `envoy/extensions/wasm/v3/wasm.proto`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EnvironmentVariables {
    /// Those that Envoy has itself.
    #[prost(string, repeated, tag = "1")]
    pub host_env_keys: Vec<String>,
}

/// `envoy/extensions/wasm/v3/wasm.proto`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ReloadConfig {
    /// How long to wait.
    #[prost(message, optional, tag = "1")]
    pub backoff: Option<BackoffStrategy>,
}

/// What happens to requests after a trap. `envoy/extensions/wasm/v3/wasm.proto`, of which only the
/// policy that is used is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum FailurePolicy {
    /// Envoy's own choice.
    Unspecified = 0,
    /// 503, and a fresh VM.
    FailReload = 1,
}
