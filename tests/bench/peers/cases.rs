//! What is compared: each case is one server, configured to check keys in its own way and to
//! answer 200 itself.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::process::{Process, free_port};
use super::store::Store;

/// A case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// Envoy without a filter.
    Floor,
    /// The same again, at the end of each round: the difference is the noise.
    FloorAgain,
    /// A wasm filter on the SDK that does nothing.
    Empty,
    /// Keystile: the key alone; no identity for the upstream, the key left in.
    Key,
    /// The key taken out, the identity put in; the guard behind it. From here on all of
    /// this.
    Identity,
    /// And a scope asked for.
    Scopes,
    /// And one token bucket.
    OneLimit,
    /// And three.
    ThreeLimits,
    /// And `RateLimit` fields on every answer.
    Fields,
    /// One limit, and usage counted.
    Usage,
    /// Envoy's api_key_auth alone.
    Native,
    /// Envoy's api_key_auth and local_ratelimit, a bucket for each client.
    NativeLimit,
    /// A Lua table and a bucket.
    Lua,
    /// ext_authz over HTTP to a local service.
    Authz,
    /// nginx: a map and limit_req.
    Nginx,
    /// HAProxy: a map and a stick table.
    Haproxy,
}

impl Case {
    pub const ALL: [Self; 16] = [
        Self::Floor,
        Self::Empty,
        Self::Key,
        Self::Identity,
        Self::Scopes,
        Self::OneLimit,
        Self::ThreeLimits,
        Self::Fields,
        Self::Usage,
        Self::Native,
        Self::NativeLimit,
        Self::Lua,
        Self::Authz,
        Self::Nginx,
        Self::Haproxy,
        Self::FloorAgain,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "Envoy, no filter",
            Self::FloorAgain => "Envoy, no filter, again",
            Self::Empty => "empty SDK filter",
            Self::Key => "Keystile: key",
            Self::Identity => "Keystile: key, identity, guard",
            Self::Scopes => "… + scopes",
            Self::OneLimit => "… + one limit",
            Self::ThreeLimits => "… + three limits",
            Self::Fields => "… + fields on every answer",
            Self::Usage => "one limit + usage",
            Self::Native => "api_key_auth",
            Self::NativeLimit => "api_key_auth + local_ratelimit",
            Self::Lua => "Lua table + bucket",
            Self::Authz => "ext_authz, HTTP",
            Self::Nginx => "nginx map + limit_req",
            Self::Haproxy => "HAProxy map + stick table",
        }
    }

    /// Whether it knows keys at all.
    pub fn checks(self) -> bool {
        !matches!(self, Self::Floor | Self::FloorAgain | Self::Empty)
    }

    /// Its `policy.yaml`.
    fn policy(self) -> Option<String> {
        let silent =
            "identity: { client: \"\", key: \"\", scopes: \"\" }\nforward_credential: true\n";
        let none = "plans: { p: { limits: [] } }\n";
        let one = "plans: { p: { limits: [{ requests: 1000000, per: 1s }] } }\n";
        let two = "plans: { p: { limits: [{ requests: 1000000, per: 1s }, { requests: 50000000, per: 1m }] } }\n";
        let plain = "routes: [{ path: \"/v1/{*rest}\" }]\n";
        let scoped = "routes: [{ path: \"/v1/{*rest}\", scopes: [read] }]\n";
        let limited = "routes: [{ path: \"/v1/{*rest}\", scopes: [read], limit: { requests: 1000000, per: 1s, by: client } }]\n";
        let parts: &[&str] = match self {
            Self::Key => &[silent, none, plain],
            Self::Identity => &[none, plain],
            Self::Scopes => &[none, scoped],
            Self::OneLimit => &[one, scoped],
            Self::ThreeLimits => &[two, limited],
            Self::Fields => &["rate_limit_fields: always\n", two, limited],
            Self::Usage => &["report: { cluster: control, every: 10s }\n", one, scoped],
            _ => return None,
        };
        Some(format!(
            "version: 1\ncredentials: [{{ header: x-api-key }}]\nnot_after: 1d\n{}",
            parts.concat()
        ))
    }
}

/// A case that runs.
pub struct Running {
    pub case: Case,
    pub address: SocketAddr,
    pub processes: Vec<Process>,
    /// When its last process was started.
    pub launched: Instant,
}

impl Running {
    pub fn cpu_ns(&self) -> u64 {
        self.processes.iter().map(Process::cpu_ns).sum()
    }

    pub fn resident(&self) -> u64 {
        self.processes.iter().map(Process::resident).sum()
    }
}

/// Starts a case with the keys of the store. `None` where the program is not installed.
pub fn start(case: Case, store: &Store, workers: usize, dir: &Path) -> Option<Running> {
    let dir = dir.join(format!("{case:?}-{workers}"));
    fs::create_dir_all(&dir).expect("a folder");
    match case {
        Case::Nginx => return nginx(store, workers, &dir),
        Case::Haproxy => return haproxy(store, workers, &dir),
        _ => {}
    }
    let address = free_port();
    let mut processes = Vec::new();
    let mut extra_clusters = Vec::new();
    let mut signing_keys = String::new();
    let mut filters = Vec::new();
    match case {
        Case::Empty => filters.push(wasm(&empty_filter())),
        Case::Native => filters.push(api_key_auth(store)),
        Case::NativeLimit => {
            filters.push(api_key_auth(store));
            filters.push(local_ratelimit());
        }
        Case::Lua => filters.push(lua(store, &dir)),
        Case::Authz => {
            let service = free_port();
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command
                .args(["authz", &service.to_string()])
                .arg(store.key_file(&dir));
            processes.push(Process::start(command, &dir, "authz"));
            extra_clusters.push(cluster("authz", service));
            filters.push(ext_authz());
        }
        _ => {}
    }
    if let Some(policy) = case.policy() {
        let file = dir.join("ecds.pb");
        store.push(&policy, &file);
        signing_keys = store.signing_keys();
        filters.push(discovered(&file));
        if case != Case::Key {
            filters.push(guard());
        }
        // Nobody takes the reports: what they cost when they cannot be sent is in the figure.
        extra_clusters.push(cluster("control", free_port()));
    }
    filters.push(
        json!({"name": "envoy.filters.http.router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}),
    );

    let config = dir.join("envoy.json");
    let document = envoy(address, filters, extra_clusters);
    fs::write(&config, document.to_string()).expect("the configuration");
    let version = std::env::var("KEYSTILE_ENVOY_VERSION").unwrap_or_else(|_| "1.40.0".into());
    let mut command = Command::new(format!(".tools/envoy-{version}/envoy/_bin/envoy"));
    command
        .args(["--disable-hot-restart", "--log-level", "warn"])
        .args(["--concurrency", &workers.to_string(), "--config-path"])
        .arg(&config);
    if !signing_keys.is_empty() {
        command.env("KEYSTILE_SIGNING_KEYS", signing_keys);
    }
    let launched = Instant::now();
    processes.push(Process::start(command, &dir, "envoy"));
    Some(Running {
        case,
        address,
        processes,
        launched,
    })
}

fn envoy(address: SocketAddr, filters: Vec<Value>, mut clusters: Vec<Value>) -> Value {
    let route = json!({"match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "ok"}}});
    clusters.push(cluster("upstream", SocketAddr::from(([127, 0, 0, 1], 9))));
    json!({
        "node": {"id": "bench", "cluster": "bench"},
        "static_resources": {
            "listeners": [{
                "name": "public",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": address.port()}},
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": "public",
                        "use_remote_address": true,
                        "normalize_path": true,
                        "merge_slashes": true,
                        "http_filters": filters,
                        "route_config": {"virtual_hosts": [{
                            "name": "all", "domains": ["*"], "routes": [route]}]},
                    }
                }]}]
            }],
            "clusters": clusters,
        }
    })
}

fn cluster(name: &str, to: SocketAddr) -> Value {
    json!({"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": {
        "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
            "socket_address": {"address": "127.0.0.1", "port_value": to.port()}}}}]}]}})
}

fn discovered(file: &Path) -> Value {
    json!({"name": "keystile", "config_discovery": {
        "config_source": {"path_config_source": {"path": file}, "initial_fetch_timeout": "0s"},
        "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"]}})
}

fn guard() -> Value {
    json!({"name": "keystile-guard", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"action": "ALLOW", "policies": {"keystile": {
            "permissions": [{"any": true}],
            "principals": [{"filter_state": {"key": "wasm.keystile.client",
                "string_match": {"safe_regex": {"regex": ".+"}}}}]}}}}})
}

fn wasm(file: &Path) -> Value {
    json!({"name": "empty", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {"name": "empty", "root_id": "empty", "vm_config": {
            "vm_id": "empty", "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": file}}}}}})
}

/// `scripts/bench` builds it.
fn empty_filter() -> PathBuf {
    PathBuf::from("target/dist/empty.wasm")
}

fn api_key_auth(store: &Store) -> Value {
    let credentials: Vec<Value> = store
        .keys
        .iter()
        .enumerate()
        .map(|(n, key)| json!({"key": key, "client": format!("c{n}")}))
        .collect();
    json!({"name": "envoy.filters.http.api_key_auth", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
        "credentials": credentials,
        "key_sources": [{"header": "x-api-key"}],
        "forwarding": {"header": "x-client", "hide_credentials": true}}})
}

fn local_ratelimit() -> Value {
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

fn lua(store: &Store, dir: &Path) -> Value {
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

fn ext_authz() -> Value {
    json!({"name": "envoy.filters.http.ext_authz", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "http_service": {
            "server_uri": {"uri": "http://authz", "cluster": "authz", "timeout": "1s"},
            "authorization_request": {},
            "authorization_response": {"allowed_upstream_headers": {"patterns": [{"exact": "x-client"}]}}},
        "allowed_headers": {"patterns": [{"exact": "x-api-key"}]}}})
}

fn nginx(store: &Store, workers: usize, dir: &Path) -> Option<Running> {
    let program = installed("nginx")?;
    let address = free_port();
    let mut map = String::new();
    for (n, key) in store.keys.iter().enumerate() {
        let _ = writeln!(map, "\"{key}\" c{n};");
    }
    fs::write(dir.join("keys.map"), map).expect("the map");
    let size = (store.keys.len() * 2).next_power_of_two().max(4096);
    let config = format!(
        "daemon off;
worker_processes {workers};
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  map_hash_max_size {size};
  map_hash_bucket_size 256;
  map $http_x_api_key $client {{ default ''; include {dir}/keys.map; }}
  limit_req_zone $client zone=limit:16m rate=10000r/s;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      if ($client = '') {{ return 401; }}
      limit_req zone=limit burst=100000 nodelay;
      # `return` would come before the limit.
      try_files /none @ok;
    }}
    location @ok {{ return 200 'ok'; }}
  }}
}}
",
        dir = dir.display(),
        port = address.port()
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config).expect("the configuration");
    let mut command = Command::new(program);
    command.arg("-p").arg(dir).arg("-c").arg(&file);
    Some(Running {
        case: Case::Nginx,
        address,
        launched: Instant::now(),
        processes: vec![Process::start(command, dir, "nginx")],
    })
}

fn haproxy(store: &Store, workers: usize, dir: &Path) -> Option<Running> {
    let program = installed("haproxy")?;
    let address = free_port();
    let mut map = String::new();
    for (n, key) in store.keys.iter().enumerate() {
        let _ = writeln!(map, "{key} c{n}");
    }
    fs::write(dir.join("keys.map"), map).expect("the map");
    let config = format!(
        "global
  nbthread {workers}
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 1s
frontend public
  bind 127.0.0.1:{port}
  stick-table type string len 64 size 100k expire 10s store http_req_rate(1s)
  http-request set-var(txn.client) req.hdr(x-api-key),map_str({dir}/keys.map)
  http-request return status 401 unless {{ var(txn.client) -m found }}
  http-request track-sc0 var(txn.client)
  http-request return status 429 if {{ sc_http_req_rate(0) gt 1000000 }}
  http-request return status 200 content-type text/plain string ok
",
        port = address.port(),
        dir = dir.display(),
    );
    let file = dir.join("haproxy.cfg");
    fs::write(&file, config).expect("the configuration");
    let mut command = Command::new(program);
    command.arg("-f").arg(&file);
    Some(Running {
        case: Case::Haproxy,
        address,
        launched: Instant::now(),
        processes: vec![Process::start(command, dir, "haproxy")],
    })
}

fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let candidates = folders.into_iter().map(|folder| folder.join(program));
    candidates.into_iter().find(|file| file.exists())
}
