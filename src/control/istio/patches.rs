//! EnvoyFilters, and what is merged into a proxy's bootstrap: what Istio has no resource of
//! its own for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kcr_networking_istio_io::v1alpha3::envoyfilters::{
    EnvoyFilter, EnvoyFilterConfigPatches, EnvoyFilterConfigPatchesApplyTo,
    EnvoyFilterConfigPatchesMatch, EnvoyFilterConfigPatchesMatchContext,
    EnvoyFilterConfigPatchesMatchListener, EnvoyFilterConfigPatchesMatchListenerFilterChain,
    EnvoyFilterConfigPatchesMatchListenerFilterChainFilter,
    EnvoyFilterConfigPatchesMatchListenerFilterChainFilterSubFilter, EnvoyFilterConfigPatchesPatch,
    EnvoyFilterConfigPatchesPatchOperation as Operation, EnvoyFilterSpec,
    EnvoyFilterWorkloadSelector,
};
use serde_json::{Value, json};

use super::Place;
use crate::envoy::parts::Parts;
use crate::error::{Result, refuse};

const FILTERS: &str = "keystile-filters";
const GUARD: &str = "keystile-guard";
/// The ConfigMap that a pod's annotation `sidecar.istio.io/bootstrapOverride` names.
pub const BOOTSTRAP: &str = "keystile-bootstrap";
/// The file of it that Istio's agent hands to Envoy, beside the proxy's own bootstrap.
const OVERRIDE: &str = "custom_bootstrap.json";
const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";
const ROUTER: &str = "envoy.filters.http.router";
const CONNECTION_MANAGER_TYPE: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// The workload that is patched.
pub struct Patches<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Labels of its pods.
    pub selector: &'a BTreeMap<String, String>,
    /// Gateway or sidecar.
    pub place: Place,
}

impl Patches<'_> {
    /// The lock behind the door: a worker that fails to load the filter leaves it out and
    /// lets requests pass; this answers 403 unless the filter has said who calls. Right
    /// before the router, which is after every phase of a WasmPlugin.
    pub fn guard(&self, parts: &Parts) -> EnvoyFilter {
        let before_router = Some(ROUTER);
        let guard = self.http_filter(Operation::InsertBefore, before_router, &parts.guard);
        self.resource(GUARD, vec![guard, self.no_underscores()])
    }

    /// Istio lets headers with underscores through, and many servers read `x_keystile_client`
    /// as `x-keystile-client`: a caller could name himself.
    fn no_underscores(&self) -> EnvoyFilterConfigPatches {
        let value = json!({
            "name": CONNECTION_MANAGER,
            "typed_config": {
                "@type": CONNECTION_MANAGER_TYPE,
                "common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"},
            },
        });
        EnvoyFilterConfigPatches {
            apply_to: Some(EnvoyFilterConfigPatchesApplyTo::NetworkFilter),
            ..self.http_filter(Operation::Merge, None, &value)
        }
    }

    /// The filters that ask for base and overlay, before every other: a request is judged
    /// before anything else is done with it. Each is put first, so the last ends up there.
    pub fn filters(&self, parts: &Parts) -> EnvoyFilter {
        let first = |filter| self.http_filter(Operation::InsertFirst, None, filter);
        self.resource(FILTERS, vec![first(&parts.active), first(&parts.base)])
    }

    /// What a proxy must know at its start: the labels of metrics, the keeper, and the clusters,
    /// because Envoy refuses discovery from a cluster that it was told of later. No EnvoyFilter:
    /// Istio applies none to the bootstrap.
    pub fn bootstrap(&self, parts: &Parts, vm_id: &str, clusters: &[Value]) -> Result<ConfigMap> {
        let mut value = parts.bootstrap(vm_id)?;
        if let (false, Some(fields)) = (clusters.is_empty(), value.as_object_mut()) {
            let resources = json!({"clusters": clusters});
            fields.insert("static_resources".to_owned(), resources);
        }
        let text = serde_json::to_string_pretty(&value).map_err(|e| {
            refuse(
                format_args!("the bootstrap cannot be written ({e})"),
                "report this: it is a mistake in keystilectl",
            )
        })?;
        let mut map = ConfigMap {
            data: Some(BTreeMap::from([(OVERRIDE.to_owned(), text)])),
            ..ConfigMap::default()
        };
        map.metadata.name = Some(BOOTSTRAP.to_owned());
        map.metadata.namespace = Some(self.namespace.to_owned());
        Ok(map)
    }

    /// At the filters of a connection manager, or beside one of them.
    fn http_filter(
        &self,
        operation: Operation,
        beside: Option<&str>,
        value: &Value,
    ) -> EnvoyFilterConfigPatches {
        let filter = EnvoyFilterConfigPatchesMatchListenerFilterChainFilter {
            name: Some(CONNECTION_MANAGER.to_owned()),
            sub_filter: beside.map(|name| {
                EnvoyFilterConfigPatchesMatchListenerFilterChainFilterSubFilter {
                    name: Some(name.to_owned()),
                }
            }),
        };
        let listener = EnvoyFilterConfigPatchesMatchListener {
            filter_chain: Some(EnvoyFilterConfigPatchesMatchListenerFilterChain {
                filter: Some(filter),
                ..EnvoyFilterConfigPatchesMatchListenerFilterChain::default()
            }),
            ..EnvoyFilterConfigPatchesMatchListener::default()
        };
        EnvoyFilterConfigPatches {
            apply_to: Some(EnvoyFilterConfigPatchesApplyTo::HttpFilter),
            r#match: Some(EnvoyFilterConfigPatchesMatch {
                context: Some(match self.place {
                    Place::Gateway => EnvoyFilterConfigPatchesMatchContext::Gateway,
                    Place::Sidecar => EnvoyFilterConfigPatchesMatchContext::SidecarInbound,
                }),
                listener: Some(listener),
                ..EnvoyFilterConfigPatchesMatch::default()
            }),
            patch: Some(patch(operation, value)),
        }
    }

    fn resource(&self, name: &str, patches: Vec<EnvoyFilterConfigPatches>) -> EnvoyFilter {
        let mut filter = EnvoyFilter::new(
            name,
            EnvoyFilterSpec {
                workload_selector: Some(EnvoyFilterWorkloadSelector {
                    labels: Some(self.selector.clone()),
                }),
                config_patches: Some(patches),
                ..EnvoyFilterSpec::default()
            },
        );
        filter.metadata.namespace = Some(self.namespace.to_owned());
        filter
    }
}

fn patch(operation: Operation, value: &Value) -> EnvoyFilterConfigPatchesPatch {
    EnvoyFilterConfigPatchesPatch {
        operation: Some(operation),
        filter_class: None,
        value: value.as_object().map(|o| o.clone().into_iter().collect()),
    }
}
