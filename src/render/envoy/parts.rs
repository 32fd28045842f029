//! The parts of `envoy/discovery.yaml` that go into configurations of other hosts (Istio, Envoy
//! Gateway), so that these get what is tested on the real Envoy.

use serde_json::{Value, json};

use super::native::{STRIP, native};
use super::{CLUSTERS, DISCOVERY, FILTERS, HostPort, drifted};
use crate::ecds;
use keystile_model::error::Result;
use keystile_policy::yaml::{self, YamlNode};

const TLS: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

/// Filters and tags in the form of Envoy's configuration.
pub struct EnvoyParts {
    /// The disabled filter that receives the base.
    pub base: Value,
    /// The filter that decides.
    pub active: Value,
    /// The guard behind it, which lets through only what it has judged.
    pub guard: Value,
    /// The rules that turn the names of the filter's metrics into labels.
    pub stats_tags: Value,
    /// Only VMs need it.
    keeper: Option<Value>,
    discovery: Value,
    control: Value,
}

/// A control plane, as Envoys reach it.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    /// Its discovery service.
    pub discovery: HostPort,
    /// Where it accepts reports.
    pub control: HostPort,
    /// How to validate its certificate; `None` for no TLS.
    pub tls: Option<Tls>,
}

/// Files on the Envoys' machines.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The authority of the control plane's certificate, PEM.
    pub ca: String,
    /// The Envoys' own certificate and its key, PEM.
    pub certificate: Option<(String, String)>,
}

impl EnvoyParts {
    /// Reads them out of the template.
    pub fn new() -> Result<Self> {
        let root = yaml::parse(DISCOVERY).map_err(|e| drifted(&e.problem))?;
        Self::from_template(&root, at(&root, &format!("{FILTERS}[2]"))?)
    }

    /// Those of the native module. The guard is for hosts that can leave the filter out of a route.
    pub fn native() -> Result<Self> {
        let guard = Self::new()?.guard;
        let text = native(DISCOVERY, ecds::NAME)?;
        let root = yaml::parse(&text).map_err(|e| drifted(&e.problem))?;
        Self::from_template(&root, guard)
    }

    fn from_template(root: &YamlNode, guard: Value) -> Result<Self> {
        let filter = |n: usize| at(root, &format!("{FILTERS}[{n}]"));
        let cluster = |n: usize| at(root, &format!("{CLUSTERS}[{n}]"));
        Ok(Self {
            base: filter(0)?,
            active: filter(1)?,
            guard,
            stats_tags: at(root, "stats_config.stats_tags")?,
            keeper: root.at("bootstrap_extensions[0]").map(YamlNode::json),
            discovery: cluster(1)?,
            control: cluster(2)?,
        })
    }

    /// What a bootstrap always needs: the labels of metrics; and, for VMs, the service that keeps
    /// what those of this `vm_id` share. An empty `vm_id` is an id as well.
    pub fn bootstrap(&self, vm_id: &str) -> Result<Value> {
        let stats = json!({"stats_tags": self.stats_tags});
        let Some(mut keeper) = self.keeper.clone() else {
            // Envoy refuses two layers of one name.
            let layer = json!({"name": "keystile-module", "static_layer": {STRIP: true}});
            return Ok(json!({
                "stats_config": stats,
                "layered_runtime": {"layers": [layer]},
            }));
        };
        let place = "/typed_config/config/vm_config/vm_id";
        match keeper.pointer_mut(place) {
            Some(id) => *id = json!(vm_id),
            None => return Err(drifted(&format!("the keeper has no `{place}`"))),
        }
        Ok(json!({"stats_config": stats, "bootstrap_extensions": [keeper]}))
    }

    /// The clusters of this control plane: for discovery, and for reports.
    pub fn clusters(&self, plane: &ControlPlane) -> Result<[Value; 2]> {
        Ok([
            cluster(&self.discovery, &plane.discovery, plane.tls.as_ref(), true)?,
            cluster(&self.control, &plane.control, plane.tls.as_ref(), false)?,
        ])
    }
}

fn at(root: &YamlNode, path: &str) -> Result<Value> {
    root.at(path)
        .map(YamlNode::json)
        .ok_or_else(|| drifted(&format!("nothing stands at `{path}`")))
}

fn cluster(template: &Value, to: &HostPort, tls: Option<&Tls>, discovery: bool) -> Result<Value> {
    let mut cluster = template.clone();
    let address = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
    let place = cluster
        .pointer_mut(address)
        .ok_or_else(|| drifted(&format!("nothing stands at `{address}`")))?;
    *place = json!({"address": to.host, "port_value": to.port});
    let Some(cluster_fields) = cluster.as_object_mut() else {
        return Err(drifted("a cluster is no mapping"));
    };
    if !to.is_address() {
        cluster_fields.insert("type".to_owned(), json!("STRICT_DNS"));
    }
    if let Some(tls) = tls {
        let socket = transport_socket(to, tls, discovery);
        cluster_fields.insert("transport_socket".to_owned(), socket);
    }
    Ok(cluster)
}

/// The control plane's certificate must match the name that is connected to: otherwise any other
/// certificate of the authority would be accepted as the control plane's.
fn transport_socket(to: &HostPort, tls: &Tls, discovery: bool) -> Value {
    let kind = if to.is_address() { "IP_ADDRESS" } else { "DNS" };
    let mut common = json!({
        "validation_context": {
            "trusted_ca": {"filename": tls.ca},
            "match_typed_subject_alt_names": [
                {"san_type": kind, "matcher": {"exact": to.host}},
            ],
        },
    });
    if let Some(fields) = common.as_object_mut() {
        if discovery {
            fields.insert("alpn_protocols".to_owned(), json!(["h2"]));
        }
        if let Some((certificate, key)) = &tls.certificate {
            fields.insert(
                "tls_certificates".to_owned(),
                json!([{
                    "certificate_chain": {"filename": certificate},
                    "private_key": {"filename": key},
                }]),
            );
        }
    }
    let mut context = json!({"@type": TLS, "common_tls_context": common});
    if let (false, Some(fields)) = (to.is_address(), context.as_object_mut()) {
        fields.insert("sni".to_owned(), json!(to.host));
    }
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(tls: Option<Tls>) -> ControlPlane {
        ControlPlane {
            discovery: HostPort::parse("keystile.infra.svc:18000").unwrap(),
            control: HostPort::parse("10.0.0.7:8443").unwrap(),
            tls,
        }
    }

    #[test]
    fn filters_and_guard_come_from_the_file_that_is_tried_on_a_real_envoy() {
        let parts = EnvoyParts::new().unwrap();
        assert_eq!(parts.base["name"], "keystile-base");
        assert_eq!(parts.base["disabled"], true);
        assert_eq!(parts.active["name"], "keystile");
        assert_eq!(parts.guard["name"], "keystile-guard");
        assert_eq!(parts.stats_tags[0]["tag_name"], "outcome");
    }

    #[test]
    fn a_module_needs_no_keeper_and_its_filters_and_labels_are_of_its_own_type() {
        let parts = EnvoyParts::native().unwrap();
        assert_eq!(parts.guard, EnvoyParts::new().unwrap().guard);
        for (filter, name) in [(&parts.base, "keystile-base"), (&parts.active, "keystile")] {
            assert_eq!(filter["name"], name);
            let types = &filter["config_discovery"]["type_urls"];
            assert_eq!(*types, json!([ecds::MODULE]));
        }
        let bootstrap = parts.bootstrap(ecds::NAME).unwrap();
        assert_eq!(bootstrap.get("bootstrap_extensions"), None);
        let layer = &bootstrap["layered_runtime"]["layers"][0]["static_layer"];
        assert_eq!(*layer, json!({STRIP: true}));
        let labels = bootstrap["stats_config"]["stats_tags"].to_string();
        assert!(labels.contains("^dynamicmodulescustom"), "{labels}");
        assert!(!labels.contains("^wasmcustom"), "{labels}");
        assert_eq!(
            parts.clusters(&plane(None)).unwrap()[0]["name"],
            "keystile-discovery"
        );
    }

    #[test]
    fn the_keeper_is_the_one_that_is_tried_on_a_real_envoy_for_any_vm_id() {
        let shipped = yaml::parse(DISCOVERY).ok().unwrap();
        let shipped = shipped.at("bootstrap_extensions").unwrap().json();
        let parts = EnvoyParts::new().unwrap();
        let keeper = |id: &str| parts.bootstrap(id).unwrap()["bootstrap_extensions"].clone();
        assert_eq!(keeper(crate::ecds::NAME), shipped);
        let id = "/0/typed_config/config/vm_config/vm_id";
        assert_eq!(keeper("").pointer(id), Some(&json!("")));
    }

    #[test]
    fn clusters_lead_to_the_control_plane_and_check_the_name_in_its_certificate() {
        let tls = Tls {
            ca: "/etc/keystile/ca.crt".to_owned(),
            certificate: Some((
                "/etc/keystile/tls.crt".into(),
                "/etc/keystile/tls.key".into(),
            )),
        };
        let [discovery, control] = EnvoyParts::new()
            .unwrap()
            .clusters(&plane(Some(tls)))
            .unwrap();
        assert_eq!(discovery["name"], "keystile-discovery");
        assert_eq!(discovery["type"], "STRICT_DNS");
        assert_eq!(control["type"], "STATIC");
        let context = |c: &Value| c["transport_socket"]["typed_config"].clone();
        let san = "/common_tls_context/validation_context/match_typed_subject_alt_names/0";
        assert_eq!(context(&discovery)["sni"], "keystile.infra.svc");
        assert_eq!(
            context(&discovery).pointer(san),
            Some(&json!({"san_type": "DNS", "matcher": {"exact": "keystile.infra.svc"}}))
        );
        assert_eq!(
            context(&control).pointer(san),
            Some(&json!({"san_type": "IP_ADDRESS", "matcher": {"exact": "10.0.0.7"}}))
        );
        let [clear, _] = EnvoyParts::new().unwrap().clusters(&plane(None)).unwrap();
        assert_eq!(clear.get("transport_socket"), None);
    }
}
