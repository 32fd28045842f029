//! Resources for Istio, from typed definitions, so that no field is misspelt.

use std::collections::BTreeMap;

use kcr_extensions_istio_io::v1alpha1::wasmplugins::{
    WasmPlugin, WasmPluginFailStrategy, WasmPluginMatch, WasmPluginMatchMode, WasmPluginPhase,
    WasmPluginSelector, WasmPluginSpec, WasmPluginVmConfig, WasmPluginVmConfigEnv,
    WasmPluginVmConfigEnvValueFrom,
};
use kcr_networking_istio_io::v1alpha3::envoyfilters::{
    EnvoyFilter, EnvoyFilterConfigPatches, EnvoyFilterConfigPatchesApplyTo,
    EnvoyFilterConfigPatchesMatch, EnvoyFilterConfigPatchesMatchContext,
    EnvoyFilterConfigPatchesMatchListener, EnvoyFilterConfigPatchesMatchListenerFilterChain,
    EnvoyFilterConfigPatchesMatchListenerFilterChainFilter,
    EnvoyFilterConfigPatchesMatchListenerFilterChainFilterSubFilter, EnvoyFilterConfigPatchesPatch,
    EnvoyFilterConfigPatchesPatchOperation, EnvoyFilterSpec, EnvoyFilterWorkloadSelector,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::ecds::SIGNING_KEYS;
use crate::error::{Result, refuse};

const NAME: &str = "keystile";
const GUARD: &str = "keystile-guard";
const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";
const ROUTER: &str = "envoy.filters.http.router";
const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";

/// Where the filter runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// On a gateway
    Gateway,
    /// In front of a workload, for what comes in
    Sidecar,
}

/// What happens when the filter traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FailStrategy {
    /// The VM is made anew: only that request fails. Istio 1.27 and later
    Reload,
    /// The worker answers 503 until the next push. Any Istio
    Close,
}

/// What differs between users.
pub struct Mesh {
    /// Namespace of the workload.
    pub namespace: String,
    /// Labels of its pods.
    pub selector: BTreeMap<String, String>,
    /// Gateway or sidecar.
    pub place: Place,
    /// Where the filter's code is.
    pub url: String,
    /// Its digest.
    pub sha256: Option<String>,
    /// After a trap.
    pub fail_strategy: FailStrategy,
    /// The sealed keyset.
    pub keyset: String,
}

impl Mesh {
    /// Both resources, with what else has to be done on top.
    pub fn render(self) -> Result<String> {
        let guard = yaml(&self.guard())?;
        let head = self.head();
        let plugin = yaml(&self.plugin()?)?;
        Ok(format!("{head}{plugin}---\n{guard}"))
    }

    fn head(&self) -> String {
        format!(
            "\
# Printed by `keystilectl render istio`.
#
# Once, before this is applied: the signing keys, as a secret beside the workload, and as
# an environment variable of its container `istio-proxy`.
#
#   kubectl -n {namespace} create secret generic keystile \\
#     --from-literal=\"$(keystilectl signing-key export)\"
#
#   env:                                   # of istio-proxy, in the pod's template
#   - name: {SIGNING_KEYS}
#     valueFrom: {{secretKeyRef: {{name: keystile, key: {SIGNING_KEYS}}}}}
#
# For the metrics' labels, an annotation of the pod's template:
#
#   proxy.istio.io/config: |
#     extraStatTags: [outcome, reason, vm]
#     proxyStatsMatcher: {{inclusionPrefixes: [wasmcustom]}}
#
# Print and apply again after every change of keys.
",
            namespace = self.namespace
        )
    }

    fn plugin(self) -> Result<WasmPlugin> {
        let config: BTreeMap<String, Value> = serde_json::from_str(&self.keyset).map_err(|e| {
            refuse(
                format_args!("the keyset is no JSON ({e})"),
                "report this: it is a mistake in keystilectl",
            )
        })?;
        let mut plugin = WasmPlugin::new(
            NAME,
            WasmPluginSpec {
                url: self.url,
                sha256: self.sha256,
                selector: Some(WasmPluginSelector {
                    match_labels: Some(self.selector),
                }),
                phase: Some(WasmPluginPhase::Authn),
                fail_strategy: Some(match self.fail_strategy {
                    FailStrategy::Reload => WasmPluginFailStrategy::FailReload,
                    FailStrategy::Close => WasmPluginFailStrategy::FailClose,
                }),
                plugin_name: Some(NAME.to_owned()),
                // A sidecar must not ask its own workload for keys when that calls others.
                r#match: (self.place == Place::Sidecar).then(|| {
                    vec![WasmPluginMatch {
                        mode: Some(WasmPluginMatchMode::Server),
                        ports: None,
                    }]
                }),
                vm_config: Some(WasmPluginVmConfig {
                    env: Some(vec![WasmPluginVmConfigEnv {
                        name: SIGNING_KEYS.to_owned(),
                        value: None,
                        value_from: Some(WasmPluginVmConfigEnvValueFrom::Host),
                    }]),
                }),
                plugin_config: Some(config),
                ..WasmPluginSpec::default()
            },
        );
        plugin.metadata.namespace = Some(self.namespace);
        Ok(plugin)
    }

    /// The lock behind the door: a worker that fails to load the filter leaves it out and
    /// lets requests pass; this answers 403 unless the filter has said who calls. Right
    /// before the router, which is after every phase of a WasmPlugin.
    fn guard(&self) -> EnvoyFilter {
        let value = json!({
            "name": GUARD,
            "typed_config": {
                "@type": RBAC,
                "rules": {"action": "ALLOW", "policies": {"keystile": {
                    "permissions": [{"any": true}],
                    "principals": [{"filter_state": {
                        "key": "wasm.keystile.client",
                        "string_match": {"safe_regex": {"regex": ".+"}},
                    }}],
                }}},
            },
        });
        let sub_filter = EnvoyFilterConfigPatchesMatchListenerFilterChainFilterSubFilter {
            name: Some(ROUTER.to_owned()),
        };
        let filter = EnvoyFilterConfigPatchesMatchListenerFilterChainFilter {
            name: Some(CONNECTION_MANAGER.to_owned()),
            sub_filter: Some(sub_filter),
        };
        let listener = EnvoyFilterConfigPatchesMatchListener {
            filter_chain: Some(EnvoyFilterConfigPatchesMatchListenerFilterChain {
                filter: Some(filter),
                ..EnvoyFilterConfigPatchesMatchListenerFilterChain::default()
            }),
            ..EnvoyFilterConfigPatchesMatchListener::default()
        };
        let patch = EnvoyFilterConfigPatches {
            apply_to: Some(EnvoyFilterConfigPatchesApplyTo::HttpFilter),
            r#match: Some(EnvoyFilterConfigPatchesMatch {
                context: Some(match self.place {
                    Place::Gateway => EnvoyFilterConfigPatchesMatchContext::Gateway,
                    Place::Sidecar => EnvoyFilterConfigPatchesMatchContext::SidecarInbound,
                }),
                listener: Some(listener),
                ..EnvoyFilterConfigPatchesMatch::default()
            }),
            patch: Some(EnvoyFilterConfigPatchesPatch {
                operation: Some(EnvoyFilterConfigPatchesPatchOperation::InsertBefore),
                filter_class: None,
                value: value.as_object().map(|o| o.clone().into_iter().collect()),
            }),
        };
        let mut guard = EnvoyFilter::new(
            GUARD,
            EnvoyFilterSpec {
                workload_selector: Some(EnvoyFilterWorkloadSelector {
                    labels: Some(self.selector.clone()),
                }),
                config_patches: Some(vec![patch]),
                ..EnvoyFilterSpec::default()
            },
        );
        guard.metadata.namespace = Some(self.namespace.clone());
        guard
    }
}

fn yaml(resource: &impl Serialize) -> Result<String> {
    let value = serde_json::to_value(resource).map_err(|e| e.to_string());
    value
        .and_then(|v| serde_saphyr::to_string(&v).map_err(|e| e.to_string()))
        .map(|mut text| {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text
        })
        .map_err(|e| {
            refuse(
                format_args!("the resource cannot be written ({e})"),
                "report this: it is a mistake in keystilectl",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh(place: Place) -> Mesh {
        Mesh {
            namespace: "edge".to_owned(),
            selector: BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]),
            place,
            url: "oci://registry.example/keystile:1".to_owned(),
            sha256: None,
            fail_strategy: FailStrategy::Reload,
            keyset: r#"{"format":1,"hmac":"yes","kid":"1e5","manifest":"null","nonce":9007199254740991,"pages":"~"}"#.to_owned(),
        }
    }

    fn resources(place: Place) -> Vec<Value> {
        let text = mesh(place).render().unwrap();
        text.split("---\n")
            .map(|doc| crate::yaml::parse(doc).ok().unwrap().json())
            .collect()
    }

    #[test]
    fn the_plugin_holds_the_keyset_word_for_word() {
        let all = resources(Place::Gateway);
        let want: Value = serde_json::from_str(&mesh(Place::Gateway).keyset).unwrap();
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
            (Place::Gateway, "GATEWAY"),
            (Place::Sidecar, "SIDECAR_INBOUND"),
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
            resources(Place::Sidecar)[0].pointer("/spec/match/0/mode"),
            Some(&json!("SERVER"))
        );
    }

    #[test]
    fn the_guard_is_that_of_the_file_that_is_tried_on_a_real_envoy() {
        let tried = crate::yaml::parse(include_str!("../../envoy/ecds-file.yaml"))
            .ok()
            .unwrap();
        let path = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[1]";
        let patch = resources(Place::Gateway)[1]
            .pointer("/spec/configPatches/0/patch/value")
            .cloned();
        assert_eq!(patch, Some(tried.at(path).unwrap().json()));
    }
}
