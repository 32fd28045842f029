//! One key of many revoked while requests are under way: how long it still opens, and what
//! the worst request waits meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message as _;
use serde_json::{Value, json};

use super::keys::{PATH, POLICY, made};
use super::loading::{self, Split};
use super::watch;
use crate::cases::Running;
use crate::envoy::{self, Edge};
use crate::plans::counted;
use crate::report::Report;
use crate::sheet::{Figure, Sheet};
use crate::store::Store;
use crate::support::proto::api_key_auth::{ApiKeyAuth, Credential, KeySource};
use crate::support::proto::core::TypedExtensionConfig;
use crate::support::proto::discovery::DiscoveryResponse;
use crate::support::proto::google::Any;
use crate::support::{
    Client, Envoy, Load, Request, Server, Upstream, burst, count, eventually, get, request,
};
use crate::tables::PATIENCE;

const CONNECTIONS: usize = 8;
/// Between the requests of a connection.
const PACE: Duration = Duration::from_millis(2);
/// With reports, so that the server knows when an Envoy has what it was sent.
const SERVED: &str = "version: 1
credentials: [{ header: x-api-key }]
report: { cluster: keystile-control, every: 10s }
plans: { p: { limits: [] } }
routes: [{ path: \"/v1/{*rest}\" }]
";
/// Of more keys than this Envoy's own filter takes gigabytes.
const MOST_OF_A_PEER: usize = 1_000_000;
const AUTH: &str = "envoy.filters.http.api_key_auth";

/// What became of the revocations of one way.
#[derive(Default)]
struct Found {
    last_200_ms: Vec<f64>,
    worst_ms: Vec<f64>,
}

pub fn measure(sizes: &[usize], stores: &[Store], times: usize, work: &Path, report: &mut Report) {
    let mut sheet = Sheet::new(
        "One key revoked",
        "Two workers, 8 connections that are open already. Files: from the moment that the new one is there, without the time it took to make. Server: from the call that revokes, over gRPC.",
        &["what", "last 200, ms", "worst request meanwhile, ms"],
    );
    for &size in sizes {
        let dir = work.join(format!("revoke-{size}"));
        std::fs::create_dir_all(&dir).expect("a folder");
        let mut add = |report: &mut Report,
                       ways: &[&str],
                       measure: &mut dyn FnMut() -> Vec<Found>| {
            let named: Vec<String> = ways
                .iter()
                .map(|way| format!("{} keys, {way}", counted(size)))
                .collect();
            report.attempt(&named.join("; "), |_| {
                for (name, found) in named.iter().zip(measure()) {
                    let figures = vec![Figure::of(found.last_200_ms), Figure::of(found.worst_ms)];
                    sheet.row(name, figures);
                }
            });
        };
        add(
            report,
            &["file, overlay, .pb", "file, base, .pb"],
            &mut || split(size, times, &dir),
        );
        add(report, &["file, base, JSON"], &mut || {
            vec![whole(size, times, &dir)]
        });
        if let Some(store) = stores.iter().find(|s| s.keys.len() == size) {
            add(report, &["server, overlay, gRPC"], &mut || {
                vec![served(store, times)]
            });
        }
        // As protobuf, too: what Envoy's own filter costs then is not JSON.
        for form in ["pb", "json"] {
            if size <= MOST_OF_A_PEER {
                let file = dir.join(format!("auth.{form}"));
                add(report, &[&format!("api_key_auth, .{form}")], &mut || {
                    vec![auth(size, times, &file)]
                });
            }
        }
    }
    report.chart(&sheet, 1, "scale-revoke");
    report.sheet(sheet);
}

/// Base and overlay apart: revoked by an overlay, and by a new base.
fn split(size: usize, times: usize, dir: &Path) -> Vec<Found> {
    let (mut keys, texts) = made(POLICY, size);
    let split = Split::start(&mut keys, dir);
    let address = split.running.address;
    let survivor = &texts[0];
    let (mut overlays, mut bases) = (Found::default(), Found::default());
    let mut doomed = texts[1..].iter();
    for key in doomed.by_ref().take(times) {
        keys.revoke(key);
        let content = loading::overlay(&mut keys);
        overlays.add(address, key, survivor, || {
            watch::put(&split.overlay, &content)
        });
    }
    // From here on each change is a base.
    for key in doomed.take(times) {
        keys.revoke(key);
        keys.compact();
        let content = loading::base_of_split(&mut keys);
        bases.add(address, key, survivor, || watch::put(&split.base, &content));
    }
    vec![overlays, bases]
}

/// All in one JSON file.
fn whole(size: usize, times: usize, dir: &Path) -> Found {
    let (mut keys, texts) = made(POLICY, size);
    let file = dir.join("ecds.json");
    watch::put(&file, &loading::json(&mut keys));
    let running = loading::started(&keys, &dir.join("json"), &[("keystile", &file)]);
    let mut found = Found::default();
    for key in texts[1..].iter().take(times) {
        keys.revoke(key);
        let content = loading::json(&mut keys);
        found.add(running.address, key, &texts[0], || {
            watch::put(&file, &content)
        });
    }
    found
}

/// Through `keystilectl serve`.
fn served(store: &Store, times: usize) -> Found {
    store.apply(SERVED);
    let companion = &store.companion;
    let server = Server::start(companion);
    let upstream = Upstream::start();
    let envoy = Envoy::start(server.rendered(companion, &upstream, "edge"));
    let survivor = &store.keys[0];
    eventually("the keys to open Envoy", || {
        (envoy.send(&asking(survivor)).status == 200).then_some(())
    });
    let mut found = Found::default();
    for key in store.keys[1..].iter().take(times) {
        let id = crate::fixture::id(key);
        let mut client = Client::connect(server.address().parse().expect("an address"));
        let revoke = request("POST", format!("/v1/keys/{id}/revoke"))
            .bearer(server.token())
            .header("content-type", "application/json")
            .body("{}");
        found.add(envoy.address(), key, survivor, || {
            let from = Instant::now();
            let answer = client.send(&revoke);
            assert_eq!(answer.status, 200, "{}", answer.text());
            from
        });
    }
    found
}

/// Envoy's own filter, its list in a file that it watches.
fn auth(size: usize, times: usize, file: &Path) -> Found {
    let (_, mut texts) = made(POLICY, size);
    watch::put(file, &credentials(file, &texts));
    let kind = "extensions.filters.http.api_key_auth.v3.ApiKeyAuth";
    let mut running: Running = Edge::new(&file.with_extension("envoy"))
        .workers(2)
        .filter(envoy::discovered_as(AUTH, file, kind))
        .start();
    let survivor = texts[0].clone();
    let from = Instant::now();
    while !opens(&running, &survivor) {
        assert!(!running.processes[0].has_ended(), "Envoy ended");
        assert!(from.elapsed() < PATIENCE, "api_key_auth: no 200");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut found = Found::default();
    for _ in 0..times {
        let doomed = texts.remove(1);
        let content = credentials(file, &texts);
        found.add(running.address, &doomed, &survivor, || {
            watch::put(file, &content)
        });
    }
    found
}

fn opens(running: &Running, key: &str) -> bool {
    let client = Client::try_connect(running.address);
    let answer = client.and_then(|mut c| c.try_send(&asking(key)));
    answer.is_ok_and(|a| a.status == 200)
}

/// In the form that the file's name says.
fn credentials(file: &Path, texts: &[String]) -> Vec<u8> {
    if file.extension().is_some_and(|e| e == "json") {
        let filter: Value = envoy::api_key_auth(texts.iter().map(String::as_str));
        let resource = json!({
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": AUTH, "typed_config": filter["typed_config"]});
        let response = json!({"version_info": "bench", "resources": [resource]});
        return response.to_string().into_bytes();
    }
    let credential = |(n, key): (usize, &String)| Credential {
        key: key.clone(),
        client: format!("c{n}"),
    };
    let filter = ApiKeyAuth {
        credentials: texts.iter().enumerate().map(credential).collect(),
        key_sources: vec![KeySource {
            header: "x-api-key".to_owned(),
        }],
    };
    let resource = TypedExtensionConfig {
        name: AUTH.to_owned(),
        typed_config: Some(Any::pack(&filter)),
    };
    let response = DiscoveryResponse {
        version_info: "bench".to_owned(),
        resources: vec![Any::pack(&resource)],
        ..DiscoveryResponse::default()
    };
    response.encode_to_vec()
}

fn asking(key: &str) -> Request {
    get(PATH).header("x-api-key", key)
}

impl Found {
    /// Revokes a key under load, and waits until no connection gets in with it. `revoke`
    /// says from when on it counts.
    fn add(
        &mut self,
        address: std::net::SocketAddr,
        doomed: &str,
        survivor: &str,
        revoke: impl FnOnce() -> Instant,
    ) {
        let requests = [doomed, survivor].map(asking);
        let load = Load::start(address, CONNECTIONS, PACE, requests.to_vec());
        load.another_round();
        let from = revoke();
        loop {
            let answers = burst(address, CONNECTIONS, 1, &asking(doomed));
            if count(&answers, 200) == 0 {
                break;
            }
            assert!(from.elapsed() < PATIENCE, "the key is never refused");
            std::thread::sleep(Duration::from_millis(50));
        }
        load.another_round();
        let answers: Vec<_> = load.stop().into_iter().flatten().collect();
        let lost = answers.iter().find(|a| a.status().is_none());
        assert!(lost.is_none(), "a request was lost");
        let since = |at: Instant| at.saturating_duration_since(from).as_secs_f64() * 1000.0;
        let mut opened = answers
            .iter()
            .filter(|a| a.request == 0 && a.status() == Some(200))
            .peekable();
        assert!(opened.peek().is_some(), "the key opened nothing before");
        let last = opened.map(|a| since(a.done)).fold(0.0, f64::max);
        let meanwhile = answers.iter().filter(|a| a.done >= from);
        let worst = meanwhile
            .map(|a| (a.done - a.sent).as_secs_f64() * 1000.0)
            .fold(0.0, f64::max);
        self.last_200_ms.push(last);
        self.worst_ms.push(worst);
    }
}
