//! The fields of Istio's API that are printed, in the order of its documentation.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// Of an `extensions.istio.io/v1alpha1` TrafficExtension.
#[derive(Serialize)]
pub struct TrafficExtensionSpec {
    pub selector: PodSelector,
    pub phase: Phase,
    /// Everything, if empty.
    #[serde(rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<PluginMatch>,
    pub wasm: WasmConfig,
}

/// The part of a TrafficExtension that is about WebAssembly.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WasmConfig {
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    pub plugin_config: BTreeMap<String, Value>,
    pub plugin_name: &'static str,
    pub fail_strategy: FailStrategy,
    pub vm_config: VmConfig,
}

/// Of an `extensions.istio.io/v1alpha1` WasmPlugin.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WasmPluginSpec {
    pub selector: PodSelector,
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    pub plugin_config: BTreeMap<String, Value>,
    pub plugin_name: &'static str,
    pub phase: Phase,
    pub fail_strategy: FailStrategy,
    pub vm_config: VmConfig,
    /// Everything, if empty.
    #[serde(rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<PluginMatch>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSelector {
    pub match_labels: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Phase {
    Authn,
}

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailStrategy {
    FailReload,
    FailClose,
}

#[derive(Serialize)]
pub struct VmConfig {
    pub env: [VmVariable; 3],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VmVariable {
    pub name: &'static str,
    pub value_from: ValueFrom,
}

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ValueFrom {
    /// From the environment of the proxy.
    Host,
}

#[derive(Serialize)]
pub struct PluginMatch {
    pub mode: Mode,
}

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    Server,
}

/// Of a `networking.istio.io/v1alpha3` EnvoyFilter.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyFilterSpec {
    pub workload_selector: WorkloadSelector,
    pub config_patches: Vec<ConfigPatch>,
}

#[derive(Serialize)]
pub struct WorkloadSelector {
    pub labels: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigPatch {
    pub apply_to: ApplyTo,
    #[serde(rename = "match")]
    pub matches: PatchMatch,
    pub patch: Patch,
}

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ApplyTo {
    ExtensionConfig,
    HttpFilter,
    NetworkFilter,
}

#[derive(Serialize)]
pub struct PatchMatch {
    pub context: Context,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<ListenerMatch>,
}

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Context {
    Gateway,
    SidecarInbound,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerMatch {
    pub filter_chain: FilterChainMatch,
}

#[derive(Serialize)]
pub struct FilterChainMatch {
    pub filter: FilterMatch,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterMatch {
    pub name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_filter: Option<SubFilterMatch>,
}

#[derive(Serialize)]
pub struct SubFilterMatch {
    pub name: &'static str,
}

/// What is done to Envoy's configuration.
#[derive(Serialize)]
pub struct Patch {
    pub operation: Operation,
    /// Envoy's own words.
    pub value: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Operation {
    Add,
    InsertBefore,
    InsertFirst,
    Merge,
}
