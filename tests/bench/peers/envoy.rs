//! An Envoy to measure, and the pieces of its configuration.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use super::cases::Running;
use super::machine::Cores;
use super::process::{Process, free_port};
use super::store::Store;

const TYPE: &str = "type.googleapis.com/envoy";

/// An Envoy that passes on what its filters let through, or answers 200 itself.
pub struct Edge {
    dir: PathBuf,
    workers: usize,
    cores: Cores,
    filters: Vec<Value>,
    clusters: Vec<Value>,
    upstream: Option<SocketAddr>,
    modules: Option<PathBuf>,
    signing_keys: String,
    node: String,
}

impl Edge {
    /// With its files in this folder; one worker on any core, no filter yet.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            workers: 1,
            cores: Cores::all(),
            filters: Vec::new(),
            clusters: Vec::new(),
            upstream: None,
            modules: None,
            signing_keys: String::new(),
            node: "bench".to_owned(),
        }
    }

    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    pub fn cores(mut self, cores: Cores) -> Self {
        self.cores = cores;
        self
    }

    /// Behind those that are there.
    pub fn filter(mut self, filter: Value) -> Self {
        self.filters.push(filter);
        self
    }

    pub fn cluster(mut self, cluster: Value) -> Self {
        self.clusters.push(cluster);
        self
    }

    /// Where requests go; `None`: it answers.
    pub fn upstream(mut self, upstream: Option<SocketAddr>) -> Self {
        self.upstream = upstream;
        self
    }

    /// The folder in which it looks for modules.
    pub fn modules_in(mut self, folder: Option<&Path>) -> Self {
        self.modules = folder.map(Path::to_owned);
        self
    }

    /// For its environment.
    pub fn signing_keys(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.signing_keys);
        self
    }

    pub fn start(mut self) -> Running {
        fs::create_dir_all(&self.dir).expect("a folder");
        let (address, admin) = (free_port(), free_port());
        self.filters.push(
            json!({"name": "envoy.filters.http.router", "typed_config": {
            "@type": format!("{TYPE}.extensions.filters.http.router.v3.Router")}}),
        );
        let config = self.dir.join("envoy.json");
        let document = self.document(address, admin).to_string();
        fs::write(&config, document).expect("the configuration");
        let version = keystile_tests::proxy::version();
        let mut command = self
            .cores
            .command(format!(".tools/envoy-{version}/envoy/_bin/envoy"));
        command
            .args(["--disable-hot-restart", "--log-level", "warn"])
            // What the filter says of each load, and when and on which thread.
            .args(["--component-log-level", "wasm:info"])
            .args(["--log-format", "%E.%F %t %v"])
            .args(["--concurrency", &self.workers.to_string(), "--config-path"])
            .arg(&config)
            .env_remove("KEYSTILE_SIGNING_KEYS");
        if !self.signing_keys.is_empty() {
            command.env("KEYSTILE_SIGNING_KEYS", &self.signing_keys);
        }
        if let Some(folder) = &self.modules {
            command.env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", folder);
            // Envoy tells modules nothing of itself.
            command.env("KEYSTILE_NODE", &self.node);
        }
        let launched = Instant::now();
        Running {
            address,
            admin: Some(admin),
            launched,
            processes: vec![Process::start(command, &self.dir, "envoy")],
        }
    }

    fn document(&self, address: SocketAddr, admin: SocketAddr) -> Value {
        let mut route = json!({"match": {"prefix": "/"}});
        let mut clusters = self.clusters.clone();
        match self.upstream {
            Some(to) => {
                route["route"] = json!({"cluster": "upstream"});
                clusters.push(cluster("upstream", to));
            }
            None => {
                route["direct_response"] = json!({"status": 200, "body": {"inline_string": "ok"}});
            }
        }
        let manager = json!({
            "@type": format!("{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "public",
            "use_remote_address": true,
            "normalize_path": true,
            "merge_slashes": true,
            "http_filters": self.filters,
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"], "routes": [route]}]},
        });
        json!({
            "node": {"id": self.node, "cluster": self.node},
            "admin": {"address": at(admin)},
            "static_resources": {
                "listeners": [{
                    "name": "public",
                    "address": at(address),
                    "filter_chains": [{"filters": [{
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager}]}],
                }],
                "clusters": clusters,
            }
        })
    }
}

pub fn cluster(name: &str, to: SocketAddr) -> Value {
    json!({"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": {
        "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(to)}}]}]}})
}

fn at(address: SocketAddr) -> Value {
    json!({"socket_address": {
        "address": address.ip().to_string(), "port_value": address.port()}})
}

/// A filter that comes from a file, which Envoy watches.
pub fn discovered(name: &str, file: &Path) -> Value {
    discovered_as(name, file, "extensions.filters.http.wasm.v3.Wasm")
}

/// The same as a native module.
pub fn discovered_module(name: &str, file: &Path) -> Value {
    discovered_as(
        name,
        file,
        "extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
    )
}

/// The same of another type of filter.
pub fn discovered_as(name: &str, file: &Path, kind: &str) -> Value {
    json!({"name": name, "config_discovery": {
        "config_source": {"path_config_source": {"path": file}, "initial_fetch_timeout": "0s"},
        "type_urls": [format!("{TYPE}.{kind}")]}})
}

/// Gets its configuration, and serves no request.
pub fn disabled(mut filter: Value) -> Value {
    filter["disabled"] = true.into();
    filter
}

pub fn guard() -> Value {
    rbac(
        "DENY",
        &json!({"not_id": {"filter_state": {"key": "wasm.keystile.pass",
            "string_match": {"prefix": keystile_core::decide::MARK}}}}),
    )
}

/// The guard of builds that leave no mark with that beginning.
pub fn earlier_guard() -> Value {
    rbac(
        "ALLOW",
        &json!({"filter_state": {"key": "wasm.keystile.client",
            "string_match": {"safe_regex": {"regex": ".+"}}}}),
    )
}

fn rbac(action: &str, principal: &Value) -> Value {
    json!({"name": "keystile-guard", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"action": action, "policies": {"keystile": {
            "permissions": [{"any": true}], "principals": [principal]}}}}})
}

/// A filter on the SDK that does nothing; `scripts/bench` builds it.
pub fn wasm(file: &str) -> Value {
    json!({"name": "empty", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {"name": "empty", "root_id": "empty", "vm_config": {
            "vm_id": "empty", "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": file}}}}}})
}

pub fn api_key_auth<'k>(keys: impl Iterator<Item = &'k str>) -> Value {
    let credentials: Vec<Value> = keys
        .enumerate()
        .map(|(n, key)| json!({"key": key, "client": format!("c{n}")}))
        .collect();
    json!({"name": "envoy.filters.http.api_key_auth", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
        "credentials": credentials,
        "key_sources": [{"header": "x-api-key"}],
        "forwarding": {"header": "x-client", "hide_credentials": true}}})
}

pub fn local_ratelimit() -> Value {
    let bucket =
        json!({"max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s"});
    json!({"name": "envoy.filters.http.local_ratelimit", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "limit",
        "token_bucket": {"max_tokens": 100_000_000, "tokens_per_fill": 100_000_000, "fill_interval": "1s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
        "max_dynamic_descriptors": 2_000,
        // An empty value: a bucket for each that comes.
        "descriptors": [{"entries": [{"key": "client", "value": ""}], "token_bucket": bucket}],
        "rate_limits": [{"actions": [{"request_headers": {
            "header_name": "x-client", "descriptor_key": "client"}}]}]}})
}

pub fn lua(store: &Store, dir: &Path) -> Value {
    let mut code = String::from("local keys = {};\n");
    for (n, key) in store.keys.iter().enumerate() {
        // A function of Lua holds a limited number of constants.
        if n % 1000 == 0 {
            code.push_str(if n == 0 {
                "(function()\n"
            } else {
                "end)();\n(function()\n"
            });
        }
        let _ = writeln!(code, "keys['{key}'] = 'c{n}'");
    }
    code.push_str(
        "end)()
local buckets = {}
function envoy_on_request(handle)
  local headers = handle:headers()
  local key = headers:get('x-api-key')
  local client = key and keys[key]
  if not client then
    handle:respond({[':status'] = '401'}, 'unauthorized')
    return
  end
  local now = os.time()
  local bucket = buckets[client]
  if not bucket then
    bucket = {1000000, now}
    buckets[client] = bucket
  end
  bucket[1] = math.min(1000000, bucket[1] + (now - bucket[2]) * 1000000)
  bucket[2] = now
  if bucket[1] < 1 then
    handle:respond({[':status'] = '429'}, 'too many requests')
    return
  end
  bucket[1] = bucket[1] - 1
  headers:remove('x-api-key')
  headers:replace('x-client', client)
end
",
    );
    let file = dir.join("keys.lua");
    fs::write(&file, code).expect("the script");
    json!({"name": "envoy.filters.http.lua", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"filename": file}}})
}

pub fn ext_authz() -> Value {
    json!({"name": "envoy.filters.http.ext_authz", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "http_service": {
            "server_uri": {"uri": "http://authz", "cluster": "authz", "timeout": "1s"},
            "authorization_request": {},
            "authorization_response": {"allowed_upstream_headers": {"patterns": [{"exact": "x-client"}]}}},
        "allowed_headers": {"patterns": [{"exact": "x-api-key"}]}}})
}
