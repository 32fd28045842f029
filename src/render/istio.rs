//! Resources for Istio.
//!
//! There are two ways to bring a keyset into a mesh. A WasmPlugin carries code and keyset through
//! Istio: nothing else runs, but every change is an edit of a Kubernetes object, which limits the
//! size. Or the proxies use our discovery service, as Envoys without Istio do; Istio then only
//! places the filters.

mod patches;
mod proxy_kind;
mod types;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::ecds::{self, SIGNING_KEYS};
use crate::envoy::parts::{ControlPlane, EnvoyParts};
use crate::manifest::{self, Metadata, Resource};
use keystile_core::keyset::Secrets;
use keystile_model::error::{Result, defect};
use patches::{BOOTSTRAP, Patches};
pub use proxy_kind::ProxyKind;
use types::{
    Mode, Phase, PluginMatch, PodSelector, ValueFrom, VmConfig, VmVariable, WasmPluginSpec,
};

const NAME: &str = "keystile";
/// Istio leaves the `vm_id` of all WasmPlugins empty.
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
    /// Inside a WasmPlugin.
    Plugin {
        /// Where the filter's code is.
        url: String,
        /// Its digest.
        sha256: Option<String>,
        /// After a trap.
        fail_strategy: FailStrategy,
        /// The sealed keyset.
        keyset: String,
    },
    /// From the discovery service of a server.
    Discovery(ControlPlane),
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
        let parts = EnvoyParts::new()?;
        let patches = Patches {
            namespace: &self.namespace,
            selector: &self.selector,
            place: self.place,
        };
        let guard = manifest::yaml(&patches.guard(&parts))?;
        let head = self.head();
        let namespace = &self.namespace;
        match &self.delivery {
            MeshDelivery::Plugin { .. } => {
                let stats = manifest::yaml(&patches.bootstrap(&parts, PLUGIN_VM_ID, &[])?)?;
                let plugin = manifest::yaml(&self.plugin()?)?;
                Ok(format!("{head}{plugin}---\n{guard}---\n{stats}"))
            }
            MeshDelivery::Discovery(plane) => {
                let filters = manifest::yaml(&patches.filters(&parts))?;
                let clusters = parts.clusters(plane)?;
                let bootstrap =
                    manifest::yaml(&patches.bootstrap(&parts, ecds::NAME, &clusters)?)?;
                let head = format!("{head}{}", discovery_head(namespace));
                Ok(format!("{head}{filters}---\n{guard}---\n{bootstrap}"))
            }
        }
    }

    fn head(&self) -> String {
        let after = match self.delivery {
            MeshDelivery::Plugin { .. } => {
                "\
# Print and apply again after every change of keys, with `kubectl apply --server-side -f -`:
# without --server-side, kubectl keeps a second copy in an annotation, which holds 256 KiB.
"
            }
            MeshDelivery::Discovery(_) => "",
        };
        format!(
            "\
# Printed by `keystilectl render istio`.
#
# Once, before this is applied: the signing keys, as a secret beside the workload.
#
#   kubectl -n {namespace} create secret generic keystile \\
#     --from-literal=\"$(keystilectl signing-key export)\"
#
# Once, after it, in the pod's template: that secret as an environment variable of the container
# `istio-proxy`, and the ConfigMap `{BOOTSTRAP}` as an addition to Envoy's bootstrap.
#
#   metadata:
#     annotations: {{sidecar.istio.io/bootstrapOverride: {BOOTSTRAP}}}
#   spec:
#     containers:
#     - name: istio-proxy
#       env:
#       - name: {SIGNING_KEYS}
#         valueFrom: {{secretKeyRef: {{name: keystile, key: {SIGNING_KEYS}}}}}
#
# A proxy reads both when it starts, and not again: restart the workload after rotating the
# signing key.
{after}",
            namespace = self.namespace
        )
    }

    fn plugin(self) -> Result<Resource<WasmPluginSpec>> {
        let MeshDelivery::Plugin {
            url,
            sha256,
            fail_strategy,
            keyset,
        } = self.delivery
        else {
            return Err(defect(
                "a WasmPlugin was asked for where the proxies use discovery",
            ));
        };
        let config: BTreeMap<String, Value> = serde_json::from_str(&keyset)
            .map_err(|e| defect(format_args!("the keyset is no JSON ({e})")))?;
        Ok(Resource {
            api_version: "extensions.istio.io/v1alpha1",
            kind: "WasmPlugin",
            metadata: Metadata::new(NAME, &self.namespace),
            spec: WasmPluginSpec {
                selector: PodSelector {
                    match_labels: self.selector,
                },
                url,
                sha256,
                plugin_config: config,
                plugin_name: NAME,
                phase: Phase::Authn,
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
                // A sidecar must not require keys from its own workload when that calls others.
                matches: match self.place {
                    ProxyKind::Gateway => Vec::new(),
                    ProxyKind::Sidecar => vec![PluginMatch { mode: Mode::Server }],
                },
            },
        })
    }
}

fn discovery_head(namespace: &str) -> String {
    format!(
        "\
#
# The proxies load the filter from a file, named by `keystilectl serve --wasm`. The image that
# WasmPlugins pull is a volume as well (Kubernetes 1.35 and later, or an init container):
#
#   volumes:                               # of the pod, in the pod's template
#   - name: keystile
#     image: {{reference: \"registry.example/keystile@sha256:…\"}}
#   volumeMounts:                          # of istio-proxy
#   - {{name: keystile, mountPath: /etc/keystile/filter, readOnly: true}}
#
#   keystilectl serve --wasm /etc/keystile/filter/plugin.wasm …
#
# Namespace {namespace}: apply all three before the workload starts.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::HostPort;
    use crate::envoy::parts::Tls;
    use serde_json::json;

    const KEYSET: &str = r#"{"format":1,"hmac":"yes","kid":"1e5","manifest":"null","nonce":9007199254740991,"pages":"~"}"#;

    fn mesh(place: ProxyKind) -> Mesh {
        Mesh {
            namespace: "edge".to_owned(),
            selector: BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]),
            place,
            delivery: MeshDelivery::Plugin {
                url: "oci://registry.example/keystile:1".to_owned(),
                sha256: None,
                fail_strategy: FailStrategy::Reload,
                keyset: KEYSET.to_owned(),
            },
        }
    }

    fn resources(place: ProxyKind) -> Vec<Value> {
        documents(mesh(place))
    }

    fn documents(mesh: Mesh) -> Vec<Value> {
        let text = mesh.render().unwrap();
        text.split("---\n")
            .map(|doc| keystile_policy::yaml::parse(doc).ok().unwrap().json())
            .collect()
    }

    #[test]
    fn the_plugin_holds_the_keyset_word_for_word() {
        let all = resources(ProxyKind::Gateway);
        let want: Value = serde_json::from_str(KEYSET).unwrap();
        assert_eq!(all[0].pointer("/spec/pluginConfig"), Some(&want));
        assert_eq!(all[0].pointer("/kind"), Some(&json!("WasmPlugin")));
        assert_eq!(all[0].pointer("/spec/match"), None);
        assert_eq!(
            all[0].pointer("/spec/vmConfig/env/0"),
            Some(&json!({"name": SIGNING_KEYS, "valueFrom": "HOST"}))
        );
        assert_eq!(all[0].pointer("/status"), None);
    }

    #[test]
    fn the_guard_stands_before_the_router_in_the_same_place() {
        for (place, context) in [
            (ProxyKind::Gateway, "GATEWAY"),
            (ProxyKind::Sidecar, "SIDECAR_INBOUND"),
        ] {
            let all = resources(place);
            let patch = all[1].pointer("/spec/configPatches/0").unwrap();
            assert_eq!(patch.pointer("/match/context"), Some(&json!(context)));
            assert_eq!(
                patch.pointer("/patch/operation"),
                Some(&json!("INSERT_BEFORE"))
            );
            assert_eq!(all[1].pointer("/metadata/namespace"), Some(&json!("edge")));
        }
        assert_eq!(
            resources(ProxyKind::Sidecar)[0].pointer("/spec/match/0/mode"),
            Some(&json!("SERVER"))
        );
    }

    #[test]
    fn the_guard_is_that_of_the_file_that_is_tried_on_a_real_envoy() {
        let tried = keystile_policy::yaml::parse(include_str!("../../envoy/ecds-file.yaml"))
            .ok()
            .unwrap();
        let path = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[1]";
        let patch = resources(ProxyKind::Gateway)[1]
            .pointer("/spec/configPatches/0/patch/value")
            .cloned();
        assert_eq!(patch, Some(tried.at(path).unwrap().json()));
    }

    #[test]
    fn proxies_on_discovery_get_the_filters_first_and_the_cluster_at_their_start() {
        let plane = ControlPlane {
            discovery: HostPort::parse("keystile.infra.svc:18000").unwrap(),
            control: HostPort::parse("keystile.infra.svc:8443").unwrap(),
            tls: Some(Tls {
                ca: "/etc/keystile/tls/ca.crt".to_owned(),
                certificate: None,
            }),
        };
        let all = documents(Mesh {
            delivery: MeshDelivery::Discovery(plane),
            ..mesh(ProxyKind::Gateway)
        });
        let names = all.iter().map(|d| d["metadata"]["name"].as_str().unwrap());
        let want = ["keystile-filters", "keystile-guard", "keystile-bootstrap"];
        assert_eq!(names.collect::<Vec<_>>(), want);
        let filters = all[0]["spec"]["configPatches"].as_array().unwrap();
        // Each is inserted first, so the last one ends up first.
        for (patch, name) in filters.iter().zip(["keystile", "keystile-base"]) {
            assert_eq!(patch["applyTo"], "HTTP_FILTER");
            assert_eq!(patch["patch"]["operation"], "INSERT_FIRST");
            assert_eq!(patch["patch"]["value"]["name"], name);
        }
        // Envoy uses only clusters of its bootstrap for discovery.
        let bootstrap = added_bootstrap(&all[2]);
        let clusters = &bootstrap["static_resources"]["clusters"];
        assert_eq!(clusters[0]["name"], "keystile-discovery");
        assert_eq!(clusters[1]["name"], "keystile-control");
        assert!(clusters[0].get("transport_socket").is_some());
        assert_eq!(kept_by(&bootstrap), ecds::NAME);
    }

    #[test]
    fn a_mesh_with_a_plugin_has_the_metrics_labels_and_no_cluster() {
        let all = resources(ProxyKind::Gateway);
        let value = added_bootstrap(&all[2]);
        assert_eq!(
            value["stats_config"]["stats_tags"][0]["tag_name"],
            "outcome"
        );
        assert_eq!(value.get("static_resources"), None);
        assert_eq!(kept_by(&value), "");
        assert_eq!(all[2]["metadata"]["namespace"], "edge");
        let head = mesh(ProxyKind::Gateway).render().unwrap();
        assert!(head.contains("{sidecar.istio.io/bootstrapOverride: keystile-bootstrap}"));
    }

    /// The id of the VMs that the keeper of a bootstrap is for.
    fn kept_by(bootstrap: &Value) -> &str {
        let vm = "/bootstrap_extensions/0/typed_config/config/vm_config/vm_id";
        bootstrap.pointer(vm).unwrap().as_str().unwrap()
    }

    /// What Istio's agent gives to Envoy of a ConfigMap.
    fn added_bootstrap(map: &Value) -> Value {
        assert_eq!(map["kind"], "ConfigMap");
        assert_eq!(map["metadata"]["name"], "keystile-bootstrap");
        serde_json::from_str(map["data"]["custom_bootstrap.json"].as_str().unwrap()).unwrap()
    }
}
