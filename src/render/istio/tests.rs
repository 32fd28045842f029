use super::*;
use crate::ecds::SIGNING_KEYS;
use crate::envoy::HostPort;
use crate::envoy::parts::Tls;
use serde_json::{Value, json};

const KEYSET: &str = r#"{"format":1,"hmac":"yes","kid":"1e5","manifest":"null","nonce":9007199254740991,"pages":"~"}"#;

fn mesh(place: ProxyKind) -> Mesh {
    Mesh {
        namespace: "edge".to_owned(),
        selector: BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]),
        place,
        delivery: MeshDelivery::Plugin {
            istio: IstioVersion::TRAFFIC_EXTENSIONS,
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

/// The same for an Istio that has no TrafficExtension.
fn earlier(place: ProxyKind) -> Vec<Value> {
    let mut mesh = mesh(place);
    if let MeshDelivery::Plugin { istio, .. } = &mut mesh.delivery {
        *istio = "1.29".parse().unwrap();
    }
    documents(mesh)
}

#[test]
fn the_plugin_holds_the_keyset_word_for_word() {
    let want: Value = serde_json::from_str(KEYSET).unwrap();
    for (all, kind, wasm) in [
        (
            resources(ProxyKind::Gateway),
            "TrafficExtension",
            "/spec/wasm",
        ),
        (earlier(ProxyKind::Gateway), "WasmPlugin", "/spec"),
    ] {
        let wasm = all[0].pointer(wasm).unwrap();
        assert_eq!(wasm["pluginConfig"], want);
        assert_eq!(all[0]["kind"], kind);
        assert_eq!(all[0].pointer("/spec/match"), None);
        let host = json!({"name": SIGNING_KEYS, "valueFrom": "HOST"});
        assert_eq!(wasm.pointer("/vmConfig/env/0"), Some(&host));
        assert_eq!(all[0].pointer("/status"), None);
    }
}

#[test]
fn an_older_istio_gets_a_wasm_plugin_that_says_the_same() {
    for place in [ProxyKind::Gateway, ProxyKind::Sidecar] {
        let (mut new, old) = (resources(place), earlier(place));
        assert_eq!(new[1..], old[1..]);
        // Istio 1.30 translates a WasmPlugin by moving these fields into `wasm`.
        let spec = new[0]["spec"].as_object_mut().unwrap();
        let Some(Value::Object(wasm)) = spec.remove("wasm") else {
            panic!("no `wasm` in {spec:?}");
        };
        spec.extend(wasm);
        new[0]["kind"] = json!("WasmPlugin");
        assert_eq!(new[0], old[0]);
    }
}

#[test]
fn versions_of_istio_are_compared_by_their_second_number() {
    let version = |text: &str| text.parse::<IstioVersion>().ok();
    assert!(version("1.9") < version("1.29.4"));
    assert_eq!(version("1.30"), version("1.30.2"));
    for wrong in ["", "1", "30", "2.0", "1.30.0.1", "1.x", "1.30-alpha"] {
        assert_eq!(version(wrong), None, "{wrong}");
    }
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
    let tried = keystile_policy::yaml::parse(include_str!("../../../envoy/ecds-file.yaml"))
        .ok()
        .unwrap();
    let path =
        "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[1]";
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
        delivery: MeshDelivery::Discovery {
            plane,
            is_native: false,
        },
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

#[test]
fn a_module_comes_by_istio_s_own_discovery_and_its_file_by_an_image() {
    let module = || Mesh {
        delivery: MeshDelivery::Module {
            name: "keystile-2".to_owned(),
            image: "registry.example/keystile-module@sha256:00".to_owned(),
            keyset: KEYSET.to_owned(),
        },
        ..mesh(ProxyKind::Sidecar)
    };
    let all = documents(module());
    let kinds: Vec<_> = all.iter().map(|d| d["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["EnvoyFilter", "ConfigMap"]);
    let patches = all[0]["spec"]["configPatches"].as_array().unwrap();
    let applied: Vec<_> = patches
        .iter()
        .map(|p| p["applyTo"].as_str().unwrap())
        .collect();
    assert_eq!(
        applied,
        ["EXTENSION_CONFIG", "HTTP_FILTER", "NETWORK_FILTER"]
    );
    assert_eq!(patches[0]["match"], json!({"context": "SIDECAR_INBOUND"}));
    let (resource, filter) = (&patches[0]["patch"]["value"], &patches[1]["patch"]["value"]);
    assert_eq!(resource["name"], filter["name"]);
    let config = &resource["typed_config"];
    assert_eq!(config["@type"], filter["config_discovery"]["type_urls"][0]);
    assert_eq!(config["dynamic_module_config"]["name"], "keystile-2");
    assert_eq!(config["filter_config"]["value"], KEYSET);
    assert!(!all[1].to_string().contains("wasm"), "{}", all[1]);
    let head = module().render().unwrap();
    assert!(head.contains("{reference: \"registry.example/keystile-module@sha256:00\"}"));
    assert!(
        head.contains("value: sidecar~$(KEYSTILE_IP)~$(KEYSTILE_POD).edge~edge.svc.cluster.local")
    );
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
