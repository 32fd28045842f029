//! An Envoy with two listeners for each policy: one that settles paths first, as we ship it, and
//! one that takes them as they come, which is Envoy's default.

use super::policies::Site;
use super::recorder::{DOMAIN, Recorder};
use crate::support::{EcdsFile, Envoy, Setup, fresh_dir};
use keystile_core::keyset::{Content, KeyRow, SigningKey, StoreId, build};
use keystile_core::policy::RawPolicy;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a listener is to be: its name, whether it settles paths, and the policy behind it.
pub struct Door {
    pub name: String,
    pub settles: bool,
    pub ports_ignored: bool,
    pub domains: Vec<String>,
    pub policy: String,
    pub rows: Vec<KeyRow>,
}

impl Door {
    pub fn of(number: usize, site: &Site, settles: bool) -> Self {
        let mut domains: Vec<String> = site.hosts().iter().map(|host| host.to_string()).collect();
        domains.push("*".into());
        Self {
            name: name(number, settles),
            settles,
            ports_ignored: site.ports_ignored(),
            domains,
            policy: site.policy(),
            rows: Vec::new(),
        }
    }
}

pub fn name(number: usize, settles: bool) -> String {
    format!("{number}{}", if settles { "-settled" } else { "-raw" })
}

/// All of them in one Envoy with two workers.
pub fn start(doors: &[Door], upstream: &Recorder) -> Envoy {
    let signing = SigningKey::new("test", vec![7; 32].into()).unwrap();
    let mut bootstrap: Value = json!({
        "admin": {"address": address(0)},
        "static_resources": {
            "clusters": [{
                "name": "upstream",
                "type": "STATIC",
                "connect_timeout": "1s",
                "load_assignment": {"cluster_name": "upstream", "endpoints": [{
                    "lb_endpoints": [{"endpoint": {"address": address(upstream.address.port())}}]
                }]}
            }]
        }
    });
    bootstrap["static_resources"]["listeners"] = doors
        .iter()
        .enumerate()
        .map(|(number, door)| listener(door, number, &signing))
        .collect();
    let setup = Setup::rendered(fresh_dir(), bootstrap.to_string());
    Envoy::start(setup.signing_keys(&signing.expose_secret()))
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

fn listener(door: &Door, number: usize, signing: &SigningKey) -> Value {
    let sealed = sealed(door, number, signing);
    let filter = &EcdsFile::response(&sealed)["resources"][0]["typed_config"];
    json!({
        "name": door.name,
        "address": address(0),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "public",
                "use_remote_address": true,
                "normalize_path": door.settles,
                "merge_slashes": door.settles,
                "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
                "common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"},
                // What Envoy refuses itself, it need not linger over.
                "delayed_close_timeout": "0s",
                // One bad request does not end the connection for those beside it.
                "http2_protocol_options": {"override_stream_error_on_invalid_http_message": true},
                "http_filters": [
                    {"name": "keystile", "typed_config": filter},
                    {"name": "keystile-guard", "typed_config": guard()},
                    {"name": "envoy.filters.http.router", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                    }}
                ],
                "route_config": {
                    "ignore_port_in_host_matching": door.ports_ignored,
                    "virtual_hosts": door.domains.iter().map(|domain| virtual_host(domain)).collect::<Vec<_>>()
                }
            }
        }]}]
    })
}

/// It tells the upstream which one it is.
fn virtual_host(domain: &str) -> Value {
    json!({
        "name": domain,
        "domains": [domain],
        "routes": [{"match": {"prefix": ""}, "route": {"cluster": "upstream"}}],
        "request_headers_to_add": [{
            "header": {"key": DOMAIN, "value": domain},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"
        }]
    })
}

fn guard() -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"action": "DENY", "policies": {"keystile": {
            "permissions": [{"any": true}],
            "principals": [{"not_id": {"filter_state": {
                "key": "wasm.keystile.pass",
                "string_match": {"prefix": "keystile:"}
            }}}]
        }}}
    })
}

fn sealed(door: &Door, number: usize, signing: &SigningKey) -> String {
    let policy: RawPolicy = serde_saphyr::from_str(&door.policy)
        .unwrap_or_else(|error| panic!("{error} in\n{}", door.policy));
    let mut store = [0; 8];
    store[0] = number as u8;
    store[1] = 1;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let content = Content {
        store: StoreId(store),
        version: 1,
        issued_at: now.as_secs(),
        policy,
        zones: Default::default(),
        rows: door.rows.clone(),
    };
    let built = build(&content).unwrap_or_else(|error| panic!("{error:?} in\n{}", door.policy));
    built.seal(signing, 1)
}
