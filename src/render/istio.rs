//! Resources for Istio.
//!
//! There are two ways to bring a keyset into a mesh. A TrafficExtension (a WasmPlugin before Istio
//! 1.30) carries code and keyset through Istio: nothing else runs, but every change is an edit of a Kubernetes object, which limits the
//! size. Or the proxies use our discovery service, as Envoys without Istio do; Istio then only
//! places the filters.

mod head;
mod patches;
mod proxy_kind;
mod types;
mod version;

use std::collections::BTreeMap;

use crate::ecds;
use crate::envoy::parts::{ControlPlane, EnvoyParts};
use crate::manifest::{self, Metadata, Resource};
use keystile_core::keyset::Secrets;
use keystile_model::error::{Result, defect};
use patches::{Patches, TypedConfig};
pub use proxy_kind::ProxyKind;
use types::{
    Mode, Phase, PluginMatch, PodSelector, TrafficExtensionSpec, ValueFrom, VmConfig, VmVariable,
    WasmConfig, WasmPluginSpec,
};
pub use version::IstioVersion;

const NAME: &str = "keystile";
/// Istio leaves the `vm_id` of all plugins empty.
const PLUGIN_VM_ID: &str = "";

/// What happens when the filter traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FailStrategy {
    /// The VM is recreated, and only that request fails. Istio 1.27 and later
    Reload,
    /// The worker answers 503 until the next push. Any Istio
    Close,
}

/// How the keyset reaches the mesh.
pub enum MeshDelivery {
    /// Inside a TrafficExtension, or a WasmPlugin for a version that has none.
    Plugin {
        /// Which Istio reads it.
        istio: IstioVersion,
        /// Where the filter's code is.
        url: String,
        /// Its digest.
        sha256: Option<String>,
        /// After a trap.
        fail_strategy: FailStrategy,
        /// The sealed keyset.
        keyset: String,
    },
    /// Inside an EnvoyFilter, for the native module.
    Module {
        /// Its name: Envoy looks for `lib<name>.so`.
        name: String,
        /// The image that holds it, for Kubernetes.
        image: String,
        /// The sealed keyset.
        keyset: String,
    },
    /// From the discovery service of a server.
    Discovery {
        /// Where that is.
        plane: ControlPlane,
        /// For the native module.
        is_native: bool,
    },
}

/// What differs between users.
pub struct Mesh {
    /// Namespace of the workload.
    pub namespace: String,
    /// Labels of its pods.
    pub selector: BTreeMap<String, String>,
    /// Gateway or sidecar.
    pub place: ProxyKind,
    /// How the keyset is delivered.
    pub delivery: MeshDelivery,
}

impl Mesh {
    /// All resources, with a head that says what else has to be done.
    pub fn render(self) -> Result<String> {
        let parts = match self.is_native() {
            true => EnvoyParts::native()?,
            false => EnvoyParts::new()?,
        };
        let patches = Patches {
            namespace: &self.namespace,
            selector: &self.selector,
            place: self.place,
        };
        let head = self.head();
        let filters = match &self.delivery {
            MeshDelivery::Plugin { .. } => {
                let guard = manifest::yaml(&patches.guard(&parts))?;
                let stats = manifest::yaml(&patches.bootstrap(&parts, PLUGIN_VM_ID, &[])?)?;
                let plugin = self.plugin()?;
                return Ok(format!("{head}{plugin}---\n{guard}---\n{stats}"));
            }
            MeshDelivery::Module { name, keyset, .. } => {
                let configuration = keyset.as_str();
                manifest::yaml(&patches.module(TypedConfig {
                    name,
                    configuration,
                }))?
            }
            MeshDelivery::Discovery { is_native, .. } => match is_native {
                true => manifest::yaml(&patches.native_filters(&parts))?,
                false => {
                    let guard = manifest::yaml(&patches.guard(&parts))?;
                    let filters = manifest::yaml(&patches.filters(&parts))?;
                    format!("{filters}---\n{guard}")
                }
            },
        };
        let clusters = match &self.delivery {
            MeshDelivery::Discovery { plane, .. } => parts.clusters(plane)?.to_vec(),
            MeshDelivery::Plugin { .. } | MeshDelivery::Module { .. } => Vec::new(),
        };
        let bootstrap = manifest::yaml(&patches.bootstrap(&parts, ecds::NAME, &clusters)?)?;
        Ok(format!("{head}{filters}---\n{bootstrap}"))
    }

    fn is_native(&self) -> bool {
        match self.delivery {
            MeshDelivery::Plugin { .. } => false,
            MeshDelivery::Module { .. } => true,
            MeshDelivery::Discovery { is_native, .. } => is_native,
        }
    }

    /// The resource that holds code and keyset.
    fn plugin(self) -> Result<String> {
        let MeshDelivery::Plugin {
            istio,
            url,
            sha256,
            fail_strategy,
            keyset,
        } = self.delivery
        else {
            return Err(defect(
                "a plugin was asked for where the proxies use discovery",
            ));
        };
        let plugin_config = serde_json::from_str(&keyset)
            .map_err(|e| defect(format_args!("the keyset is not JSON ({e})")))?;
        let metadata = Metadata::new(NAME, &self.namespace);
        let selector = PodSelector {
            match_labels: self.selector,
        };
        // A sidecar must not require keys from its own workload when that calls others.
        let matches = match self.place {
            ProxyKind::Gateway => Vec::new(),
            ProxyKind::Sidecar => vec![PluginMatch { mode: Mode::Server }],
        };
        let wasm = WasmConfig {
            url,
            sha256,
            plugin_config,
            plugin_name: NAME,
            fail_strategy: match fail_strategy {
                FailStrategy::Reload => types::FailStrategy::FailReload,
                FailStrategy::Close => types::FailStrategy::FailClose,
            },
            vm_config: VmConfig {
                env: Secrets::VARIABLES.map(|name| VmVariable {
                    name,
                    value_from: ValueFrom::Host,
                }),
            },
        };
        if istio >= IstioVersion::TRAFFIC_EXTENSIONS {
            let spec = TrafficExtensionSpec {
                selector,
                phase: Phase::Authn,
                matches,
                wasm,
            };
            return manifest::yaml(&extension("TrafficExtension", metadata, spec));
        }
        let spec = WasmPluginSpec {
            selector,
            url: wasm.url,
            sha256: wasm.sha256,
            plugin_config: wasm.plugin_config,
            plugin_name: wasm.plugin_name,
            phase: Phase::Authn,
            fail_strategy: wasm.fail_strategy,
            vm_config: wasm.vm_config,
            matches,
        };
        manifest::yaml(&extension("WasmPlugin", metadata, spec))
    }
}

/// A resource of the API in which Istio has what extends a proxy.
fn extension<S>(kind: &'static str, metadata: Metadata, spec: S) -> Resource<S> {
    Resource {
        api_version: "extensions.istio.io/v1alpha1",
        kind,
        metadata,
        spec,
    }
}

#[cfg(test)]
mod tests;
