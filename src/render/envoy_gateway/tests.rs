use super::*;
use crate::envoy::HostPort;

const KEYSET: &str = r#"{"format":1,"nonce":9007199254740991,"pages":"~"}"#;

fn documents(delivery: GatewayDelivery) -> Vec<Value> {
    let gateway = Gateway {
        namespace: "edge".to_owned(),
        name: "public".to_owned(),
        listeners: ["http", "https"]
            .map(|l| GatewayListener::parse(l).unwrap())
            .into(),
        http3: false,
        delivery,
    };
    split(&gateway)
}

fn split(gateway: &Gateway) -> Vec<Value> {
    let text = gateway.render().unwrap();
    text.split("---\n")
        .map(|d| keystile_policy::yaml::parse(d).ok().unwrap().json())
        .collect()
}

fn names(policy: &Value) -> Vec<&str> {
    let patches = policy["spec"]["jsonPatches"].as_array().unwrap();
    patches
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect()
}

fn extension(url: &str) -> Vec<Value> {
    documents(GatewayDelivery::Extension {
        code: Code::new(url, None),
        keyset: KEYSET.to_owned(),
    })
}

#[test]
fn an_extension_holds_the_keyset_and_reads_the_signing_keys_from_the_proxy() {
    let all = extension("oci://registry.example/keystile@sha256:00");
    let wasm = &all[1]["spec"]["wasm"][0];
    assert_eq!(
        wasm["config"],
        serde_json::from_str::<Value>(KEYSET).unwrap()
    );
    assert_eq!(wasm["rootID"], "keystile");
    assert_eq!(wasm["env"]["hostKeys"], json!(Secrets::VARIABLES));
    assert_eq!(
        wasm["code"],
        json!({"type": "Image", "image": {"url": "registry.example/keystile@sha256:00"}})
    );
    let fields: Vec<_> = wasm.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["code", "config", "env", "name", "rootID"]);
    let env = "/spec/provider/kubernetes/envoyDeployment/container/env";
    let from = |name: &str| {
        let key = json!({"name": "keystile", "key": name, "optional": true});
        json!({"name": name, "valueFrom": {"secretKeyRef": key}})
    };
    let either = json!([from(SIGNING_KEYS), from(VERIFY_KEYS)]);
    assert_eq!(all[0].pointer(env).unwrap(), &either);
    let http = extension("https://files.example/keystile.wasm");
    assert_eq!(
        http[1]["spec"]["wasm"][0]["code"],
        json!({"type": "HTTP", "http": {"url": "https://files.example/keystile.wasm"}})
    );
}

#[test]
fn the_guard_stands_before_the_router_of_every_listener() {
    let all = extension("registry.example/keystile:1");
    assert_eq!(names(&all[2]), ["edge/public/http", "edge/public/https"]);
    for patch in all[2]["spec"]["jsonPatches"].as_array().unwrap() {
        let operation = &patch["operation"];
        assert_eq!(operation["op"], "add");
        assert_eq!(
            operation["jsonPath"],
            "$..http_filters[?(@.name=='envoy.filters.http.router')]"
        );
        assert_eq!(operation["value"], EnvoyParts::new().unwrap().guard);
    }
}

#[test]
fn listeners_are_named_as_envoy_gateway_names_them_and_a_port_is_patched_once() {
    let gateway = |listeners: &[&str], http3| Gateway {
        namespace: "edge".to_owned(),
        name: "public".to_owned(),
        listeners: listeners
            .iter()
            .map(|l| GatewayListener::parse(l).unwrap())
            .collect(),
        http3,
        delivery: GatewayDelivery::Extension {
            code: Code::new("registry.example/keystile:1", None),
            keyset: KEYSET.to_owned(),
        },
    };
    let all = split(&gateway(&["a:443", "b:443", "http:80"], false));
    assert_eq!(names(&all[2]), ["tcp-443", "tcp-80"]);
    let all = split(&gateway(&["a:443"], true));
    assert_eq!(names(&all[2]), ["tcp-443", "udp-443"]);
    let all = split(&gateway(&["https"], true));
    let want = ["edge/public/https", "edge/public/https-quic"];
    assert_eq!(names(&all[2]), want);
    for bad in ["", ":80", "http:", "http:0", "http:x", "HTTP", "a/b"] {
        assert!(GatewayListener::parse(bad).is_err(), "{bad}");
    }
}

/// One level up, Kubernetes refuses the field, or drops it so that nothing is checked.
#[test]
fn a_digest_stands_beside_the_address_that_it_is_of() {
    let code = |url: &str| {
        let sha256 = Some("ab".repeat(32));
        serde_json::to_value(Code::new(url, sha256)).unwrap()
    };
    let digest = "ab".repeat(32);
    assert_eq!(
        code("https://files.example/keystile.wasm"),
        json!({"type": "HTTP", "http": {
            "url": "https://files.example/keystile.wasm", "sha256": digest,
        }})
    );
    assert_eq!(
        code("oci://registry.example/keystile"),
        json!({"type": "Image", "image": {
            "url": "registry.example/keystile", "sha256": digest,
        }})
    );
}

fn plane() -> ControlPlane {
    ControlPlane {
        discovery: HostPort::parse("keystile.infra.svc:18000").unwrap(),
        control: HostPort::parse("keystile.infra.svc:8443").unwrap(),
        tls: None,
    }
}

#[test]
fn a_module_comes_by_image_is_allowed_by_the_proxy_and_used_by_the_policy() {
    let all = documents(GatewayDelivery::Module {
        file: "libkeystile-2.so".to_owned(),
        image: "registry.example/keystile-module@sha256:00".to_owned(),
        keyset: KEYSET.to_owned(),
    });
    let module = &all[1]["spec"]["dynamicModule"][0];
    let keyset: Value = serde_json::from_str(KEYSET).unwrap();
    let want = json!({"name": "keystile", "filterName": "keystile", "config": keyset});
    assert_eq!(*module, want);
    assert_eq!(all[1]["spec"].get("wasm"), None);
    let allowed = &all[0]["spec"]["dynamicModules"][0];
    assert_eq!(allowed["name"], module["name"]);
    assert_eq!(allowed["doNotClose"], true);
    let deployment = all[0]
        .pointer("/spec/provider/kubernetes/envoyDeployment")
        .unwrap();
    let mount = &deployment["container"]["volumeMounts"][0];
    let path = allowed["source"]["local"]["path"].as_str().unwrap();
    assert_eq!(
        path,
        format!("{}/libkeystile-2.so", mount["mountPath"].as_str().unwrap())
    );
    let volume = &deployment["pod"]["volumes"][0];
    assert_eq!(volume["name"], mount["name"]);
    assert_eq!(
        volume["image"]["reference"],
        "registry.example/keystile-module@sha256:00"
    );
    let env = deployment["container"]["env"].as_array().unwrap();
    let names: Vec<_> = env.iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, [SIGNING_KEYS, VERIFY_KEYS, NODE, MODULE_FOLDERS]);
    // A route with a policy of its own has lost ours, so that the guard stays.
    let guard = all[2]
        .pointer("/spec/jsonPatches/0/operation/value/name")
        .unwrap();
    assert_eq!(guard, "keystile-guard");
}

#[test]
fn a_module_on_discovery_has_its_filters_and_neither_guard_nor_keeper() {
    let all = documents(GatewayDelivery::Discovery {
        plane: plane(),
        is_native: true,
    });
    let bootstrap = all[0]["spec"]["bootstrap"]["value"].as_str().unwrap();
    assert!(!bootstrap.contains("wasm"), "{bootstrap}");
    assert!(bootstrap.contains("keystile-discovery"));
    let patches = all[1]["spec"]["jsonPatches"].as_array().unwrap();
    let names: Vec<_> = patches
        .iter()
        .take(2)
        .map(|p| p["operation"]["value"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["keystile", "keystile-base"]);
    assert_eq!(patches.len(), 4, "of two listeners");
}

#[test]
fn a_gateway_on_discovery_has_clusters_in_its_bootstrap_and_filters_in_order() {
    let all = documents(GatewayDelivery::Discovery {
        plane: plane(),
        is_native: false,
    });
    let bootstrap = all[0]["spec"]["bootstrap"]["value"].as_str().unwrap();
    let bootstrap = keystile_policy::yaml::parse(bootstrap).ok().unwrap().json();
    let clusters = &bootstrap["static_resources"]["clusters"];
    assert_eq!(clusters[0]["name"], "keystile-discovery");
    let vm = "/bootstrap_extensions/0/typed_config/config/vm_config/vm_id";
    assert_eq!(bootstrap.pointer(vm), Some(&json!(ecds::NAME)));
    let patches = all[1]["spec"]["jsonPatches"].as_array().unwrap();
    let names: Vec<_> = patches
        .iter()
        .take(3)
        .map(|p| p["operation"]["value"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["keystile", "keystile-base", "keystile-guard"]);
}
