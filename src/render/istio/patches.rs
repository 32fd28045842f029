//! EnvoyFilters, and what is merged into a proxy's bootstrap, for which Istio has no resource.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::proxy_kind::ProxyKind;
use super::types::{
    ApplyTo, ConfigPatch, Context, EnvoyFilterSpec, FilterChainMatch, FilterMatch, ListenerMatch,
    Operation, Patch, PatchMatch, SubFilterMatch, WorkloadSelector,
};
use crate::ecds::{self, NAME};
use crate::envoy::parts::EnvoyParts;
use crate::kubernetes::types::ConfigMap;
use crate::manifest::{Metadata, Resource};
use keystile_model::error::{Result, defect};

type EnvoyFilter = Resource<EnvoyFilterSpec>;

const FILTERS: &str = "keystile-filters";
const GUARD: &str = "keystile-guard";
/// The ConfigMap that a pod's annotation `sidecar.istio.io/bootstrapOverride` names.
pub const BOOTSTRAP: &str = "keystile-bootstrap";
/// The file of it that Istio's agent hands to Envoy, beside the proxy's own bootstrap.
const OVERRIDE: &str = "custom_bootstrap.json";
const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";
const ROUTER: &str = "envoy.filters.http.router";
const CONNECTION_MANAGER_TYPE: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// What a module is configured with.
pub struct TypedConfig<'a> {
    /// Its name: Envoy looks for `lib<name>.so`.
    pub name: &'a str,
    /// The sealed keyset.
    pub configuration: &'a str,
}

/// The workload that is patched.
pub struct Patches<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Labels of its pods.
    pub selector: &'a BTreeMap<String, String>,
    /// Gateway or sidecar.
    pub place: ProxyKind,
}

impl Patches<'_> {
    /// The native module, whose configuration comes by Istio's own discovery, so that a change of keys
    /// changes no listener. It needs no guard: it is in all workers, or Envoy answers 500.
    pub fn module(&self, config: TypedConfig<'_>) -> EnvoyFilter {
        let TypedConfig {
            name,
            configuration,
        } = config;
        let resource = json!({
            "name": NAME,
            "typed_config": ecds::module_config(name, NAME, configuration),
        });
        let filter = json!({
            "name": NAME,
            "config_discovery": {
                // Until it has come, no port is opened.
                "config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
                "type_urls": [ecds::MODULE],
            },
        });
        let added = ConfigPatch {
            apply_to: ApplyTo::ExtensionConfig,
            matches: PatchMatch {
                context: self.context(),
                listener: None,
            },
            patch: Patch {
                operation: Operation::Add,
                value: resource,
            },
        };
        let first = self.http_filter(Operation::InsertFirst, None, &filter);
        self.resource(FILTERS, vec![added, first, self.no_underscores()])
    }

    /// The guard: a worker that fails to load the filter leaves it out and lets requests pass; this
    /// answers 403 unless the filter has set the caller. Right before the router, which is after
    /// every phase of a TrafficExtension.
    pub fn guard(&self, parts: &EnvoyParts) -> EnvoyFilter {
        let before_router = Some(ROUTER);
        let guard = self.http_filter(Operation::InsertBefore, before_router, &parts.guard);
        self.resource(GUARD, vec![guard, self.no_underscores()])
    }

    /// Istio lets headers with underscores through, and many servers read `x_keystile_client` as
    /// `x-keystile-client`, so callers could choose their identity.
    fn no_underscores(&self) -> ConfigPatch {
        let value = json!({
            "name": CONNECTION_MANAGER,
            "typed_config": {
                "@type": CONNECTION_MANAGER_TYPE,
                "common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"},
            },
        });
        ConfigPatch {
            apply_to: ApplyTo::NetworkFilter,
            ..self.http_filter(Operation::Merge, None, &value)
        }
    }

    /// The filters for base and overlay, before all others: a request is judged before anything
    /// else is done with it. Each is inserted first, so the last one ends up first.
    pub fn filters(&self, parts: &EnvoyParts) -> EnvoyFilter {
        self.resource(FILTERS, self.both(parts).into())
    }

    /// The same for the native module, which needs no guard.
    pub fn native_filters(&self, parts: &EnvoyParts) -> EnvoyFilter {
        let [active, base] = self.both(parts);
        self.resource(FILTERS, vec![active, base, self.no_underscores()])
    }

    fn both(&self, parts: &EnvoyParts) -> [ConfigPatch; 2] {
        let first = |filter| self.http_filter(Operation::InsertFirst, None, filter);
        [first(&parts.active), first(&parts.base)]
    }

    /// What a proxy must know when it starts: the labels of metrics, the keeper, and the clusters,
    /// because Envoy refuses discovery from a cluster that is added later. Not an EnvoyFilter,
    /// because Istio applies none to the bootstrap.
    pub fn bootstrap(
        &self,
        parts: &EnvoyParts,
        vm_id: &str,
        clusters: &[Value],
    ) -> Result<ConfigMap> {
        let mut value = parts.bootstrap(vm_id)?;
        if let (false, Some(fields)) = (clusters.is_empty(), value.as_object_mut()) {
            let resources = json!({"clusters": clusters});
            fields.insert("static_resources".to_owned(), resources);
        }
        let text = serde_json::to_string_pretty(&value)
            .map_err(|e| defect(format_args!("the bootstrap cannot be written ({e})")))?;
        Ok(ConfigMap {
            api_version: "v1",
            kind: "ConfigMap",
            metadata: Metadata::new(BOOTSTRAP, self.namespace),
            data: BTreeMap::from([(OVERRIDE, text)]),
        })
    }

    /// At the filters of a connection manager, or beside one of them.
    fn http_filter(
        &self,
        operation: Operation,
        beside: Option<&'static str>,
        value: &Value,
    ) -> ConfigPatch {
        let filter = FilterMatch {
            name: CONNECTION_MANAGER,
            sub_filter: beside.map(|name| SubFilterMatch { name }),
        };
        ConfigPatch {
            apply_to: ApplyTo::HttpFilter,
            matches: PatchMatch {
                context: self.context(),
                listener: Some(ListenerMatch {
                    filter_chain: FilterChainMatch { filter },
                }),
            },
            patch: Patch {
                operation,
                value: value.clone(),
            },
        }
    }

    fn context(&self) -> Context {
        match self.place {
            ProxyKind::Gateway => Context::Gateway,
            ProxyKind::Sidecar => Context::SidecarInbound,
        }
    }

    fn resource(&self, name: &'static str, config_patches: Vec<ConfigPatch>) -> EnvoyFilter {
        Resource {
            api_version: "networking.istio.io/v1alpha3",
            kind: "EnvoyFilter",
            metadata: Metadata::new(name, self.namespace),
            spec: EnvoyFilterSpec {
                workload_selector: WorkloadSelector {
                    labels: self.selector.clone(),
                },
                config_patches,
            },
        }
    }
}
