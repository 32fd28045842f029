//! Resources for Envoy Gateway.

mod head;
mod types;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::ecds::{self, MODULE_FOLDER, MODULE_FOLDERS, NODE, SIGNING_KEYS, VERIFY_KEYS};
use crate::envoy::parts::{ControlPlane, EnvoyParts};
use crate::kubernetes::pod::{EnvVar, Volume, VolumeMount, VolumeSource};
use crate::manifest::{self, Metadata, Resource};
use keystile_core::keyset::Secrets;
use keystile_model::error::Result;
pub use types::Code;
use types::{
    AllowedModule, Bootstrap, Container, Deployment, DynamicModule, ExtensionPolicy, JsonPatch,
    Kubernetes, LocalModule, ModuleSource, Operation, PatchPolicy, Pod, Provider, ProxySettings,
    Target, Wasm, WasmEnv,
};

const NAME: &str = "keystile";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// In every filter chain: the plaintext listeners of a port share one, those with TLS have one
/// each.
const FIRST: &str = "$..http_filters[0]";
const BEFORE_ROUTER: &str = "$..http_filters[?(@.name=='envoy.filters.http.router')]";

/// How the keyset reaches the gateway.
pub enum GatewayDelivery {
    /// Inside an EnvoyExtensionPolicy.
    Extension {
        /// Where the filter's code is.
        code: Code,
        /// The sealed keyset.
        keyset: String,
    },
    /// Inside an EnvoyExtensionPolicy, for the native module.
    Module {
        /// Its file's name in the image.
        file: String,
        /// The image that holds it, for Kubernetes.
        image: String,
        /// The sealed keyset.
        keyset: String,
    },
    /// From the discovery service of a server.
    Discovery {
        /// Where that is.
        plane: ControlPlane,
        /// For the native module, which the proxies then need as a file.
        is_native: bool,
    },
}

/// What differs between users.
pub struct Gateway {
    /// Namespace of the Gateway.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its listeners that check keys.
    pub listeners: Vec<GatewayListener>,
    /// Whether they speak HTTP/3, too.
    pub http3: bool,
    /// How the keyset is delivered.
    pub delivery: GatewayDelivery,
}

/// A listener of a Gateway, from which its name in Envoy is derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayListener {
    /// By its own name: up to Envoy Gateway 1.9.
    Named(String),
    /// By its port: with the runtime flag `XDSNameSchemeV2`, the default from 1.10 on.
    Port(u16),
}

impl GatewayListener {
    /// Reads `https` or `https:443`.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a listener; write its name, `https`, or with its port, `https:443`"
            )
        };
        let (name, port) = match text.split_once(':') {
            None => (text, None),
            Some((name, port)) => (name, Some(port.parse().map_err(|_| wrong())?)),
        };
        let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        if name.is_empty() || !name.bytes().all(inside) || port == Some(0) {
            return Err(wrong());
        }
        Ok(port.map_or_else(|| Self::Named(name.to_owned()), Self::Port))
    }
}

impl Gateway {
    /// All resources, with a head that says what else has to be done.
    pub fn render(&self) -> Result<String> {
        let parts = match self.is_native() {
            true => EnvoyParts::native()?,
            false => EnvoyParts::new()?,
        };
        let mut documents = vec![manifest::yaml(&self.proxy(&parts)?)?];
        match &self.delivery {
            GatewayDelivery::Extension { keyset, .. } | GatewayDelivery::Module { keyset, .. } => {
                documents.push(manifest::yaml(&self.extension(keyset)?)?);
            }
            GatewayDelivery::Discovery { .. } => {}
        }
        documents.push(manifest::yaml(&self.patches(&parts))?);
        Ok(format!("{}{}", self.head(), documents.join("---\n")))
    }

    fn is_native(&self) -> bool {
        match self.delivery {
            GatewayDelivery::Extension { .. } => false,
            GatewayDelivery::Module { .. } => true,
            GatewayDelivery::Discovery { is_native, .. } => is_native,
        }
    }

    fn resource<S>(&self, kind: &'static str, spec: S) -> Resource<S> {
        Resource {
            api_version: "gateway.envoyproxy.io/v1alpha1",
            kind,
            metadata: Metadata::new(NAME, &self.namespace),
            spec,
        }
    }

    fn target(&self) -> Target {
        Target {
            group: "gateway.networking.k8s.io",
            kind: "Gateway",
            name: self.name.clone(),
        }
    }

    /// The `vm_id` of the filter: each EnvoyExtensionPolicy has its own.
    fn vm_id(&self) -> String {
        match self.delivery {
            GatewayDelivery::Extension { .. } => {
                format!("envoyextensionpolicy/{}/{NAME}/wasm/0", self.namespace)
            }
            GatewayDelivery::Module { .. } | GatewayDelivery::Discovery { .. } => {
                ecds::NAME.to_owned()
            }
        }
    }

    /// The environment, the metrics' labels, the keeper, the module, and the clusters for discovery,
    /// which Envoy accepts only in its bootstrap.
    fn proxy(&self, parts: &EnvoyParts) -> Result<Resource<ProxySettings>> {
        let mut value = parts.bootstrap(&self.vm_id())?;
        let of_plane = (&self.delivery, value.as_object_mut());
        if let (GatewayDelivery::Discovery { plane, .. }, Some(fields)) = of_plane {
            let clusters = parts.clusters(plane)?;
            fields.insert("static_resources".to_owned(), json!({"clusters": clusters}));
        }
        let mut container = Container {
            // Either is enough; without both, the filter refuses every keyset and so every request.
            env: [SIGNING_KEYS, VERIFY_KEYS]
                .map(|name| EnvVar::of_optional_secret(name, NAME, name))
                .into(),
            volume_mounts: Vec::new(),
        };
        if self.is_native() {
            // Envoy Gateway names each Envoy after its pod.
            let node = EnvVar::of_field(NODE, "metadata.name");
            container.env.push(node);
            let folders = EnvVar::new(MODULE_FOLDERS, MODULE_FOLDER);
            container.env.push(folders);
        }
        let (mut pod, mut dynamic_modules) = (None, Vec::new());
        if let GatewayDelivery::Module { file, image, .. } = &self.delivery {
            let (volume, mount) = volume(image);
            pod = Some(Pod {
                volumes: vec![volume],
            });
            container.volume_mounts.push(mount);
            dynamic_modules.push(allowed(file));
        }
        Ok(self.resource(
            "EnvoyProxy",
            ProxySettings {
                provider: Provider {
                    kind: "Kubernetes",
                    kubernetes: Kubernetes {
                        envoy_deployment: Deployment { pod, container },
                    },
                },
                dynamic_modules,
                bootstrap: Bootstrap {
                    kind: "Merge",
                    value: manifest::yaml(&value)?,
                },
            },
        ))
    }

    fn extension(&self, keyset: &str) -> Result<Resource<ExtensionPolicy>> {
        let config: Value = serde_json::from_str(keyset).map_err(|e| {
            keystile_model::error::defect(format_args!("the keyset is not JSON ({e})"))
        })?;
        let mut policy = ExtensionPolicy {
            target_refs: vec![self.target()],
            wasm: Vec::new(),
            dynamic_module: Vec::new(),
        };
        match &self.delivery {
            GatewayDelivery::Extension { code, .. } => policy.wasm.push(Wasm {
                name: NAME,
                root_id: NAME,
                code: code.clone(),
                config,
                env: WasmEnv {
                    host_keys: Secrets::VARIABLES.to_vec(),
                },
            }),
            GatewayDelivery::Module { .. } | GatewayDelivery::Discovery { .. } => {
                policy.dynamic_module.push(DynamicModule {
                    name: NAME,
                    filter_name: NAME,
                    config,
                });
            }
        }
        Ok(self.resource("EnvoyExtensionPolicy", policy))
    }

    /// What is added at a list element is inserted before it: the guard before the router, the
    /// filters before the first one.
    fn patches(&self, parts: &EnvoyParts) -> Resource<PatchPolicy> {
        let mut operations = Vec::new();
        let is_discovery = matches!(self.delivery, GatewayDelivery::Discovery { .. });
        if is_discovery {
            operations.push((FIRST, &parts.active));
            operations.push((FIRST, &parts.base));
        }
        // A module that is on every route is in every worker, or Envoy answers 500.
        if !(is_discovery && self.is_native()) {
            operations.push((BEFORE_ROUTER, &parts.guard));
        }
        let patch = |listener: &String, (json_path, value): &(&'static str, &Value)| JsonPatch {
            kind: LISTENER,
            name: listener.clone(),
            operation: Operation {
                op: "add",
                json_path,
                value: (*value).clone(),
            },
        };
        let names = self.names();
        let json_patches = names
            .iter()
            .flat_map(|l| operations.iter().map(move |o| patch(l, o)))
            .collect();
        self.resource(
            "EnvoyPatchPolicy",
            PatchPolicy {
                target_ref: self.target(),
                kind: "JSONPatch",
                json_patches,
            },
        )
    }

    /// The names of the listeners in Envoy. Listeners that share a port are one, and patched once.
    fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for listener in &self.listeners {
            let [plain, quic] = match listener {
                GatewayListener::Named(name) => {
                    let plain = format!("{}/{}/{name}", self.namespace, self.name);
                    [plain.clone(), format!("{plain}-quic")]
                }
                GatewayListener::Port(port) => [format!("tcp-{port}"), format!("udp-{port}")],
            };
            names.insert(plain);
            if self.http3 {
                names.insert(quic);
            }
        }
        names
    }
}

/// The image as a folder of the proxies' containers.
fn volume(image: &str) -> (Volume, VolumeMount) {
    let source = VolumeSource::Image {
        reference: image.to_owned(),
    };
    let mount = VolumeMount {
        name: NAME,
        mount_path: MODULE_FOLDER,
        read_only: true,
    };
    (Volume { name: NAME, source }, mount)
}

fn allowed(file: &str) -> AllowedModule {
    AllowedModule {
        name: NAME,
        source: ModuleSource {
            kind: "Local",
            local: LocalModule {
                path: format!("{MODULE_FOLDER}/{file}"),
            },
        },
        do_not_close: true,
    }
}

#[cfg(test)]
mod tests;
