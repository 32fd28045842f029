//! The fields of `gateway.envoyproxy.io/v1alpha1` that are printed.

use serde::Serialize;
use serde_json::Value;

use crate::kubernetes::pod::{EnvVar, Volume, VolumeMount};

/// Where the filter's code is, and its digest.
#[derive(Clone, Debug, Serialize)]
pub struct Code {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<Location>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Location>,
}

#[derive(Clone, Debug, Serialize)]
struct Location {
    url: String,
    /// Of the file; of the image's manifest for an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

impl Code {
    /// From `oci://…`, an image's plain name, or `https://…`.
    pub fn new(url: &str, sha256: Option<String>) -> Self {
        let image = url.strip_prefix("oci://");
        let is_http = url.starts_with("https://") || url.starts_with("http://");
        let location = |url: &str| {
            Some(Location {
                url: url.to_owned(),
                sha256: sha256.clone(),
            })
        };
        Self {
            kind: if is_http { "HTTP" } else { "Image" },
            http: location(url).filter(|_| is_http),
            image: location(image.unwrap_or(url)).filter(|_| !is_http),
        }
    }
}

#[derive(Clone, Serialize)]
pub struct Target {
    pub group: &'static str,
    pub kind: &'static str,
    pub name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionPolicy {
    pub target_refs: Vec<Target>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wasm: Vec<Wasm>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dynamic_module: Vec<DynamicModule>,
}

/// A filter of a module that the EnvoyProxy allows under this name.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DynamicModule {
    pub name: &'static str,
    pub filter_name: &'static str,
    pub config: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wasm {
    pub name: &'static str,
    #[serde(rename = "rootID")]
    pub root_id: &'static str,
    pub code: Code,
    pub config: Value,
    pub env: WasmEnv,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WasmEnv {
    pub host_keys: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PatchPolicy {
    pub target_ref: Target,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub json_patches: Vec<JsonPatch>,
}

#[derive(Serialize)]
pub struct JsonPatch {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub name: String,
    pub operation: Operation,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    pub op: &'static str,
    pub json_path: &'static str,
    pub value: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxySettings {
    pub provider: Provider,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dynamic_modules: Vec<AllowedModule>,
    pub bootstrap: Bootstrap,
}

#[derive(Serialize)]
pub struct Provider {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub kubernetes: Kubernetes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kubernetes {
    pub envoy_deployment: Deployment,
}

#[derive(Serialize)]
pub struct Deployment {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    pub container: Container,
}

#[derive(Serialize)]
pub struct Pod {
    pub volumes: Vec<Volume>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    pub env: Vec<EnvVar>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
}

/// A module that EnvoyExtensionPolicies may use.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowedModule {
    pub name: &'static str,
    pub source: ModuleSource,
    /// Its threads and what its configurations share outlive each of them.
    pub do_not_close: bool,
}

#[derive(Serialize)]
pub struct ModuleSource {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub local: LocalModule,
}

#[derive(Serialize)]
pub struct LocalModule {
    pub path: String,
}

#[derive(Serialize)]
pub struct Bootstrap {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub value: String,
}
