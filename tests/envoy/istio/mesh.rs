//! What Istio does with the resources that `keystilectl render istio` prints, as far as a
//! proxy can tell: EnvoyFilters are merged into the listener, a ConfigMap into the bootstrap, a
//! TrafficExtension or a WasmPlugin becomes a filter of its phase and a discovery resource.

use crate::support::{EcdsFile, Setup, Upstream, fresh_dir, part, shell};
use serde_json::{Value, json};
use std::fs;

const ROUTER: &str = "envoy.filters.http.router";
const PREFIX: &str = "extensions.istio.io/trafficextension/";
const JWT: &str = "envoy.filters.http.jwt_authn";
const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
const FILTERS: &str =
    "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";

/// The documents of a rendered text.
pub fn documents(text: &str) -> Vec<Value> {
    let documents = text.split("---\n");
    documents
        .map(|d| serde_saphyr::from_str(d).unwrap_or_else(|e| panic!("{e} in\n{d}")))
        .collect()
}

/// A gateway's proxy before any of our resources is applied: the filters that Istio puts on
/// a gateway, in its order, as far as Envoy itself has them.
pub struct Gateway {
    config: Value,
}

impl Gateway {
    pub fn new(upstream: &Upstream) -> Self {
        let shipped = fs::read_to_string(part("envoy/ecds-file.yaml", "git checkout")).unwrap();
        let text = shipped
            .replace("address: 0.0.0.0", "address: 127.0.0.1")
            .replace("port_value: 9901", "port_value: 0")
            .replace("port_value: 10000", "port_value: 0")
            .replace(
                "port_value: 8000",
                &format!("port_value: {}", upstream.address().port()),
            );
        let mut config: Value = serde_saphyr::from_str(&text).unwrap();
        config["node"] = json!({"id": "router~10.0.0.1~gateway-1.edge", "cluster": "gateway.edge"});
        config["stats_config"]["stats_tags"] = json!([]);
        config["bootstrap_extensions"] = json!([]);
        // What we ship has it; a proxy of Istio has not.
        let options = config
            .pointer_mut(MANAGER)
            .unwrap()
            .as_object_mut()
            .unwrap();
        options.remove("common_http_protocol_options").unwrap();
        let filters = config.pointer_mut(FILTERS).unwrap();
        let router = filters.as_array_mut().unwrap().pop().unwrap();
        assert_eq!(router["name"], ROUTER);
        *filters = json!([request_authentication(), authorization_policy(), router]);
        Self { config }
    }

    /// Names of the filters, in order.
    pub fn order(&self) -> Vec<&str> {
        let filters = self.config.pointer(FILTERS).unwrap().as_array().unwrap();
        filters
            .iter()
            .map(|f| f["name"].as_str().unwrap())
            .collect()
    }

    /// One more filter before all others.
    pub fn first(&mut self, filter: Value) {
        self.filters().insert(0, filter);
    }

    pub fn apply(&mut self, resource: &Value) {
        match resource["kind"].as_str().unwrap() {
            // Its configurations of extensions come by discovery (`resource_of`).
            "EnvoyFilter" => {
                for patch in resource["spec"]["configPatches"].as_array().unwrap() {
                    self.patch(patch);
                }
            }
            // Istio's agent hands it to Envoy as `--config-yaml`, and Envoy merges it.
            "ConfigMap" => {
                let text = resource["data"]["custom_bootstrap.json"].as_str().unwrap();
                merge(&mut self.config, serde_json::from_str(text).unwrap());
            }
            // The phase AUTHN is before Istio's own authentication.
            "TrafficExtension" | "WasmPlugin" => {
                assert_eq!(resource["spec"]["phase"], "AUTHN");
                let at = self.order().iter().position(|n| *n == JWT).unwrap();
                let name = resource_name(resource);
                let filter = json!({
                    "name": name,
                    "config_discovery": {
                        "config_source": {
                            "path_config_source": {"path": "@ECDS@"},
                            "initial_fetch_timeout": "0s",
                        },
                        "type_urls": [
                            "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                            "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                        ],
                    },
                });
                self.filters().insert(at, filter);
            }
            kind => panic!("{kind}"),
        }
    }

    fn patch(&mut self, patch: &Value) {
        let value = patch["patch"]["value"].clone();
        let operation = patch["patch"]["operation"].as_str().unwrap();
        match (patch["applyTo"].as_str().unwrap(), operation) {
            ("NETWORK_FILTER", "MERGE") => {
                let at = self.config.pointer_mut(MANAGER).unwrap();
                merge(at, value["typed_config"].clone());
            }
            ("HTTP_FILTER", "INSERT_FIRST") => {
                let text = value.to_string();
                let file = r#""path_config_source":{"path":"@ECDS@"}"#;
                let text = text.replace(r#""ads":{}"#, file);
                self.first(serde_json::from_str(&text).unwrap());
            }
            ("EXTENSION_CONFIG", "ADD") => {}
            ("HTTP_FILTER", "INSERT_BEFORE") => {
                let sub = "/match/listener/filterChain/filter/subFilter/name";
                let name = patch.pointer(sub).unwrap().as_str().unwrap();
                let at = self.order().iter().position(|n| *n == name).unwrap();
                self.filters().insert(at, value);
            }
            other => panic!("{other:?}"),
        }
    }

    fn filters(&mut self) -> &mut Vec<Value> {
        self.config
            .pointer_mut(FILTERS)
            .unwrap()
            .as_array_mut()
            .unwrap()
    }

    /// An Envoy with this configuration, and the file that its plugin's resource comes in.
    pub fn setup(&self) -> (Setup, EcdsFile) {
        let dir = fresh_dir();
        let file = EcdsFile::new(dir.join("ecds.json"));
        let path = file.path().display().to_string();
        let config = self.config.to_string().replace("@ECDS@", &path);
        (Setup::rendered(dir, config), file)
    }
}

/// The discovery response that Istio's agent hands to the proxy: of an EnvoyFilter what it adds, and
/// of a WasmPlugin what it has translated.
pub fn resource_of(first: &Value, wasm: &str) -> Value {
    let patches = first["spec"]["configPatches"].as_array();
    let added = patches
        .into_iter()
        .flatten()
        .find(|patch| patch["applyTo"] == "EXTENSION_CONFIG");
    let Some(added) = added else {
        return resource_of_plugin(first, wasm);
    };
    let mut resource = added["patch"]["value"].clone();
    resource["typed_config"]["dynamic_module_config"]["name"] = json!(shell::in_place_of(wasm));
    resource["@type"] = json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
    json!({"version_info": "test", "resources": [resource]})
}

/// The agent has fetched the code, and taken out what tells it how.
fn resource_of_plugin(plugin: &Value, wasm: &str) -> Value {
    let spec = match plugin["kind"].as_str().unwrap() {
        "TrafficExtension" => &plugin["spec"]["wasm"],
        _ => &plugin["spec"],
    };
    let name = resource_name(plugin);
    let env = spec["vmConfig"]["env"].as_array().unwrap();
    let host: Vec<&Value> = env
        .iter()
        .filter(|e| e["valueFrom"] == "HOST")
        .map(|e| &e["name"])
        .collect();
    let policy = match spec["failStrategy"].as_str().unwrap() {
        "FAIL_RELOAD" => "FAIL_RELOAD",
        "FAIL_CLOSE" => "FAIL_CLOSED",
        other => panic!("{other}"),
    };
    // As Go writes a protobuf Struct: names in order, and white space where it likes.
    let configuration = serde_json::to_string_pretty(&spec["pluginConfig"]).unwrap();
    json!({
        "version_info": "test",
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": name,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {
                    "name": name.trim_start_matches(PREFIX),
                    "root_id": spec["pluginName"],
                    "failure_policy": policy,
                    "vm_config": {
                        "runtime": "envoy.wasm.runtime.v8",
                        "code": {"local": {"filename": wasm}},
                        "environment_variables": {
                            "host_env_keys": host,
                        },
                    },
                    "configuration": {
                        "@type": "type.googleapis.com/google.protobuf.StringValue",
                        "value": configuration,
                    },
                },
            },
        }],
    })
}

/// As Istio 1.30 names them, which makes a TrafficExtension of a WasmPlugin first.
pub fn resource_name(plugin: &Value) -> String {
    let part = |name: &str| plugin["metadata"][name].as_str().unwrap();
    let (namespace, name) = (part("namespace"), part("name"));
    let translated = match plugin["kind"].as_str().unwrap() {
        "WasmPlugin" => "~istio-translated-wasmplugin",
        _ => "",
    };
    format!("{PREFIX}{namespace}.{name}{translated}")
}

/// As protobuf merges: lists grow, messages are merged, the rest is replaced.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                match into.get_mut(&name) {
                    Some(there) => merge(there, value),
                    None => drop(into.insert(name, value)),
                }
            }
        }
        (Value::Array(into), Value::Array(from)) => into.extend(from),
        (into, from) => *into = from,
    }
}

/// A RequestAuthentication that refuses wrong tokens and asks for none.
fn request_authentication() -> Value {
    json!({
        "name": JWT,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"mesh": {
                "issuer": "https://issuer.example.com",
                "from_headers": [{"name": "x-token"}],
                "local_jwks": {"inline_string": r#"{"keys":[{"kty":"oct","alg":"HS256","kid":"mesh","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}]}"#},
            }},
            "rules": [{
                "match": {"prefix": "/"},
                "requires": {"requires_any": {"requirements": [
                    {"provider_name": "mesh"},
                    {"allow_missing": {}},
                ]}},
            }],
        },
    })
}

/// An AuthorizationPolicy that denies `/closed`.
fn authorization_policy() -> Value {
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "DENY", "policies": {"ns[edge]-policy[closed]-rule[0]": {
                "permissions": [{"url_path": {"path": {"prefix": "/closed"}}}],
                "principals": [{"any": true}],
            }}},
        },
    })
}
