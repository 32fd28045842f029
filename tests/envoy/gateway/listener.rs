//! What Envoy Gateway makes of a Gateway and of the resources that `keystilectl render
//! envoy-gateway` prints, as far as Envoy can tell: an EnvoyExtensionPolicy becomes a filter
//! that is disabled, and enabled on each route that the policy is for; an EnvoyPatchPolicy is
//! applied to the listener that it names; an EnvoyProxy is merged into the bootstrap.

use crate::istio::mesh::merge;
use crate::support::{Setup, Upstream, fresh_dir};
use serde_json::{Value, json};
use serde_json_path::JsonPath;

const ROUTER: &str = "envoy.filters.http.router";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

/// The filter chain of a plain listener, or one for each name in TLS's hello.
#[derive(Clone, Copy)]
pub enum Chains<'a> {
    Plain,
    Tls(&'a [&'a str]),
}

/// A listener, by its name in Envoy, with the filters of a SecurityPolicy and of a
/// BackendTrafficPolicy around where ours goes.
pub fn listener(name: &str, chains: Chains<'_>) -> Value {
    let chain = |name: &str, filters: Value| {
        json!({
            "name": name,
            "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager(name, filters),
            }],
        })
    };
    let filters = || json!([cors(), limits(), router()]);
    let mut listener = json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
    });
    match chains {
        Chains::Plain => listener["default_filter_chain"] = chain(name, filters()),
        Chains::Tls(names) => {
            let all = names.iter().map(|host| {
                let mut chain = chain(host, filters());
                chain["filter_chain_match"] = json!({"server_names": [host]});
                chain
            });
            listener["filter_chains"] = all.collect();
        }
    }
    listener
}

fn manager(name: &str, filters: Value) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "use_remote_address": true,
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "http_filters": filters,
        "route_config": {
            "ignore_port_in_host_matching": true,
            "virtual_hosts": [{
                "name": "any",
                "domains": ["*"],
                "routes": [
                    {"name": "own", "match": {"prefix": "/own/"}, "route": {"cluster": "upstream"}},
                    {"name": "v1", "match": {"prefix": "/v1/"}, "route": {"cluster": "upstream"}},
                    {"name": "open", "match": {"path": "/healthz"}, "route": {"cluster": "upstream"}},
                ],
            }],
        },
    })
}

fn cors() -> Value {
    let kind = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors";
    json!({"name": "envoy.filters.http.cors", "typed_config": {"@type": kind}})
}

fn limits() -> Value {
    let kind =
        "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
    json!({
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {"@type": kind, "stat_prefix": "http_local_rate_limiter"},
    })
}

fn router() -> Value {
    let kind = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    json!({"name": ROUTER, "typed_config": {"@type": kind, "suppress_envoy_headers": true}})
}

/// An EnvoyExtensionPolicy for the whole Gateway, and the EnvoyProxy that allows its modules: a filter
/// after those of security and before those of traffic. A route that has a policy of its own does
/// not get it.
pub fn extend(listener: &mut Value, proxy: &Value, policy: &Value, file: &str) {
    let spec = &policy["spec"];
    let filter = match spec.get("wasm") {
        Some(wasm) => of_wasm(policy, &wasm[0], file),
        None => of_module(proxy, policy, &spec["dynamicModule"][0], file),
    };
    let name = filter["name"].as_str().unwrap().to_owned();
    let kind = "type.googleapis.com/envoy.config.route.v3.FilterConfig";
    for manager in managers(listener) {
        let filters = manager["http_filters"].as_array_mut().unwrap();
        filters.insert(1, filter.clone());
        let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
        for route in routes.as_array_mut().unwrap() {
            if route["name"] != "own" {
                route["typed_per_filter_config"] = json!({&name: {"@type": kind, "config": {}}});
            }
        }
    }
}

fn id(policy: &Value, kind: &str) -> String {
    let metadata = |field: &str| policy["metadata"][field].as_str().unwrap().to_owned();
    let (namespace, name) = (metadata("namespace"), metadata("name"));
    format!("envoyextensionpolicy/{namespace}/{name}/{kind}/0")
}

fn of_wasm(policy: &Value, extension: &Value, wasm: &str) -> Value {
    let id = id(policy, "wasm");
    assert_eq!(extension.get("failOpen"), None, "false if left out");
    json!({
        "name": format!("envoy.filters.http.wasm/{id}"),
        "disabled": true,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": extension["name"],
                "root_id": extension["rootID"],
                "vm_config": {
                    "vm_id": id,
                    "runtime": "envoy.wasm.runtime.v8",
                    // Envoy Gateway serves the code over HTTP.
                    "code": {"local": {"filename": wasm}},
                    "environment_variables": {"host_env_keys": extension["env"]["hostKeys"]},
                },
                "configuration": configuration(extension),
            },
        },
    })
}

/// Under the name that the policy says, the proxy says where the file is: by its path in the image,
/// which here lies elsewhere.
fn of_module(proxy: &Value, policy: &Value, extension: &Value, file: &str) -> Value {
    let allowed = proxy["spec"]["dynamicModules"].as_array().unwrap();
    let allowed = allowed.iter().find(|m| m["name"] == extension["name"]);
    let allowed = allowed.expect("the policy is refused otherwise");
    let path = allowed.pointer("/source/local/path").unwrap();
    let (_, name) = path.as_str().unwrap().rsplit_once('/').unwrap();
    assert!(file.ends_with(name), "{file} is {path} there");
    json!({
        "name": format!("envoy.filters.http.dynamic_modules/{}", id(policy, "dynamic-module")),
        "disabled": true,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {
                "do_not_close": allowed["doNotClose"],
                "module": {"local": {"filename": file}},
            },
            "filter_name": extension["filterName"],
            "filter_config": configuration(extension),
        },
    })
}

fn configuration(extension: &Value) -> Value {
    json!({
        "@type": "type.googleapis.com/google.protobuf.StringValue",
        "value": extension["config"].to_string(),
    })
}

fn managers(listener: &mut Value) -> Vec<&mut Value> {
    let fields = listener.as_object_mut().unwrap();
    let mut all = Vec::new();
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("default_filter_chain", chain) => all.push(&mut chain["filters"][0]["typed_config"]),
            ("filter_chains", Value::Array(chains)) => {
                let managers = chains.iter_mut();
                all.extend(managers.map(|c| &mut c["filters"][0]["typed_config"]));
            }
            _ => {}
        }
    }
    all
}

/// An EnvoyPatchPolicy: each operation at every place that its path finds, one after the
/// other. Names of listeners that are not there.
pub fn patch(listeners: &mut [Value], policy: &Value) -> Vec<String> {
    let mut missing = Vec::new();
    for patch in policy["spec"]["jsonPatches"].as_array().unwrap() {
        assert_eq!(patch["type"], LISTENER);
        let name = patch["name"].as_str().unwrap();
        let Some(listener) = listeners.iter_mut().find(|l| l["name"] == name) else {
            missing.push(name.to_owned());
            continue;
        };
        let operation = &patch["operation"];
        assert_eq!(operation["op"], "add");
        let path = JsonPath::parse(operation["jsonPath"].as_str().unwrap()).unwrap();
        let places = path.query_located(listener);
        let places: Vec<String> = places.locations().map(|l| l.to_json_pointer()).collect();
        assert!(!places.is_empty(), "a path that finds nothing is an error");
        for place in places {
            // To add at an element of a list is to put before it (RFC 6902).
            let (list, at) = place.rsplit_once('/').unwrap();
            let list = listener.pointer_mut(list).unwrap().as_array_mut().unwrap();
            list.insert(at.parse().unwrap(), operation["value"].clone());
        }
    }
    missing
}

/// Names of the filters of each chain.
pub fn orders(listener: &Value) -> Vec<Vec<String>> {
    let path = JsonPath::parse("$..http_filters").unwrap();
    let lists = path.query(listener).all();
    let name = |filter: &Value| filter["name"].as_str().unwrap().to_owned();
    lists
        .into_iter()
        .map(|list| list.as_array().unwrap().iter().map(name).collect())
        .collect()
}

/// A bootstrap with this listener, and what an EnvoyProxy adds to it.
pub fn setup(listener: &Value, proxy: &Value, upstream: &Upstream) -> Setup {
    let bootstrap = &proxy["spec"]["bootstrap"];
    assert_eq!(bootstrap["type"], "Merge");
    let added: Value = serde_saphyr::from_str(bootstrap["value"].as_str().unwrap()).unwrap();
    let clusters = json!([{
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": {
                "address": "127.0.0.1", "port_value": upstream.address().port(),
            }}}},
        ]}]},
    }]);
    let mut config = json!({
        "node": {"id": "envoy-edge-public-1", "cluster": "edge/public"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    });
    merge(&mut config, added);
    Setup::rendered(fresh_dir(), config.to_string())
}
