//! Resources for Envoy Gateway.

mod types;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::ecds::{self, SIGNING_KEYS};
use crate::envoy::parts::{ControlPlane, EnvoyParts};
use crate::kubernetes::pod::EnvVar;
use crate::manifest::{self, Metadata, Resource};
use keystile_core::keyset::Secrets;
use keystile_model::error::Result;
pub use types::Code;
use types::{
    Bootstrap, Container, Deployment, ExtensionPolicy, JsonPatch, Kubernetes, Operation,
    PatchPolicy, Provider, ProxySettings, Target, Wasm, WasmEnv,
};

const NAME: &str = "keystile";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// In every filter chain: the plaintext listeners of a port share one, those with TLS have one
/// each.
const FIRST: &str = "$..http_filters[0]";
const BEFORE_ROUTER: &str = "$..http_filters[?(@.name=='envoy.filters.http.router')]";

const FILES: &str = "\
# The proxies load the filter from a file, named by `keystilectl serve --wasm`. The image that
# Envoy Gateway pulls is a volume as well (Kubernetes 1.35 and later, or an init container); add it
# to the EnvoyProxy below, and the authority's certificate that --tls-ca names:
#
#   envoyDeployment:
#     pod:
#       volumes:
#       - name: keystile
#         image: {reference: \"registry.example/keystile@sha256:…\"}
#       - name: keystile-tls
#         secret: {secretName: keystile-tls}
#     container:
#       volumeMounts:
#       - {name: keystile, mountPath: /etc/keystile/filter, readOnly: true}
#       - {name: keystile-tls, mountPath: /etc/keystile/tls, readOnly: true}
#
#   keystilectl serve --wasm /etc/keystile/filter/plugin.wasm …
#
";

/// How the keyset reaches the gateway.
pub enum GatewayDelivery {
    /// Inside an EnvoyExtensionPolicy.
    Extension {
        /// Where the filter's code is.
        code: Code,
        /// The sealed keyset.
        keyset: String,
    },
    /// From the discovery service of a server.
    Discovery(ControlPlane),
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
                "`{text}` is no listener; write its name, `https`, or with its port, `https:443`"
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
        let parts = EnvoyParts::new()?;
        let mut documents = vec![manifest::yaml(&self.proxy(&parts)?)?];
        if let GatewayDelivery::Extension { code, keyset } = &self.delivery {
            documents.push(manifest::yaml(&self.extension(code, keyset)?)?);
        }
        documents.push(manifest::yaml(&self.patches(&parts))?);
        Ok(format!("{}{}", self.head(), documents.join("---\n")))
    }

    fn head(&self) -> String {
        let (ns, name) = (&self.namespace, &self.name);
        let files = match self.delivery {
            GatewayDelivery::Extension { .. } => "",
            GatewayDelivery::Discovery(_) => FILES,
        };
        format!(
            "\
# Printed by `keystilectl render envoy-gateway`, for Envoy Gateway 1.3 and later.
#
# Once, before this is applied: the signing keys, as a secret where the proxies run; the
# Gateway told of its EnvoyProxy; and EnvoyPatchPolicy allowed in Envoy Gateway's own
# configuration (extensionApis.enableEnvoyPatchPolicy: true).
#
#   kubectl -n envoy-gateway-system create secret generic keystile \\
#     --from-literal=\"$(keystilectl signing-key export)\"
#   kubectl -n {ns} patch gateway {name} --type merge -p '{{\"spec\": {{\"infrastructure\": {{\"parametersRef\":
#     {{\"group\": \"gateway.envoyproxy.io\", \"kind\": \"EnvoyProxy\", \"name\": \"keystile\"}}}}}}}}'
#
{files}\
# The guard is what keeps a failed filter from letting requests pass. Look that it is in force:
#
#   kubectl -n {ns} get envoypatchpolicy keystile      # Programmed: True
#
# `ResourceNotFound` there: a listener has another name in Envoy than this says.
"
        )
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
            GatewayDelivery::Discovery(_) => ecds::NAME.to_owned(),
        }
    }

    /// The environment, the metrics' labels, the keeper, and the clusters for discovery, which
    /// Envoy accepts only in its bootstrap.
    fn proxy(&self, parts: &EnvoyParts) -> Result<Resource<ProxySettings>> {
        let mut value = parts.bootstrap(&self.vm_id())?;
        if let (GatewayDelivery::Discovery(plane), Some(fields)) =
            (&self.delivery, value.as_object_mut())
        {
            let clusters = parts.clusters(plane)?;
            fields.insert("static_resources".to_owned(), json!({"clusters": clusters}));
        }
        let env = EnvVar::of_secret(SIGNING_KEYS, NAME, SIGNING_KEYS);
        Ok(self.resource(
            "EnvoyProxy",
            ProxySettings {
                provider: Provider {
                    kind: "Kubernetes",
                    kubernetes: Kubernetes {
                        envoy_deployment: Deployment {
                            container: Container { env: vec![env] },
                        },
                    },
                },
                bootstrap: Bootstrap {
                    kind: "Merge",
                    value: manifest::yaml(&value)?,
                },
            },
        ))
    }

    fn extension(&self, code: &Code, keyset: &str) -> Result<Resource<ExtensionPolicy>> {
        let config = serde_json::from_str(keyset).map_err(|e| {
            keystile_model::error::defect(format_args!("the keyset is no JSON ({e})"))
        })?;
        Ok(self.resource(
            "EnvoyExtensionPolicy",
            ExtensionPolicy {
                target_refs: vec![self.target()],
                wasm: vec![Wasm {
                    name: NAME,
                    root_id: NAME,
                    code: code.clone(),
                    config,
                    env: WasmEnv {
                        host_keys: Secrets::VARIABLES.to_vec(),
                    },
                }],
            },
        ))
    }

    /// What is added at a list element is inserted before it: the guard before the router, the
    /// filters before the first one.
    fn patches(&self, parts: &EnvoyParts) -> Resource<PatchPolicy> {
        let mut operations = Vec::new();
        if matches!(self.delivery, GatewayDelivery::Discovery(_)) {
            operations.push((FIRST, &parts.active));
            operations.push((FIRST, &parts.base));
        }
        operations.push((BEFORE_ROUTER, &parts.guard));
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

#[cfg(test)]
mod tests;
