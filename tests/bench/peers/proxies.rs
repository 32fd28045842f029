//! Other proxies, with their own ways to hold keys.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use super::cases::{Layout, Running};
use super::machine::{Cores, installed};
use super::process::{Process, free_port};
use super::store::Store;

pub fn nginx(store: &Store, layout: Layout, cores: &Cores, dir: &Path) -> Option<Running> {
    let program = installed("nginx")?;
    let address = free_port();
    let mut map = String::new();
    for (n, key) in store.keys.iter().enumerate() {
        let _ = writeln!(map, "\"{key}\" c{n};");
    }
    fs::write(dir.join("keys.map"), map).expect("the map");
    let workers = layout.workers;
    let (upstream, answer) = match layout.upstream {
        Some(to) => (
            format!("upstream up {{ server {to}; keepalive 64; }}"),
            "proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection '';",
        ),
        None => (String::new(), "return 200 'ok';"),
    };
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
  {upstream}
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
    location @ok {{ {answer} }}
  }}
}}
",
        dir = dir.display(),
        port = address.port()
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config).expect("the configuration");
    let mut command = cores.command(program);
    command.arg("-p").arg(dir).arg("-c").arg(&file);
    Some(Running {
        address,
        admin: None,
        launched: Instant::now(),
        processes: vec![Process::start(command, dir, "nginx")],
    })
}

pub fn haproxy(store: &Store, layout: Layout, cores: &Cores, dir: &Path) -> Option<Running> {
    let program = installed("haproxy")?;
    let address = free_port();
    let mut map = String::new();
    for (n, key) in store.keys.iter().enumerate() {
        let _ = writeln!(map, "{key} c{n}");
    }
    fs::write(dir.join("keys.map"), map).expect("the map");
    let workers = layout.workers;
    let answer = match layout.upstream {
        Some(to) => {
            format!("default_backend up\nbackend up\n  http-reuse always\n  server up {to}")
        }
        None => "http-request return status 200 content-type text/plain string ok".to_owned(),
    };
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
  {answer}
",
        port = address.port(),
        dir = dir.display(),
    );
    let file = dir.join("haproxy.cfg");
    fs::write(&file, config).expect("the configuration");
    let mut command = cores.command(program);
    command.arg("-f").arg(&file);
    Some(Running {
        address,
        admin: None,
        launched: Instant::now(),
        processes: vec![Process::start(command, dir, "haproxy")],
    })
}
