//! Two Envoys on the discovery service: what a caller of the API is told is true on
//! every worker.

use crate::support::{
    Answer, Client, Companion, Envoy, Load, Server, Upstream, eventually, fault, fresh_dir, get,
    request, shell,
};
use crate::traps::{trapping, write_broken};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const POLICY: &str = r#"
version: 1
not_after: 1d
report: { cluster: keystile-control, every: 1s }
routes:
  - { path: /healthz, auth: none }
  - { path: "/v1/{*rest}" }
"#;

const NODES: [&str; 2] = ["edge-1", "edge-2"];

/// A server, and an Envoy for each of [`NODES`].
struct Live {
    companion: Companion,
    server: Server,
    upstream: Upstream,
    envoys: Vec<Envoy>,
}

impl Live {
    fn start() -> Self {
        let companion = Companion::init(&fresh_dir(), POLICY);
        companion.run(&["client", "create", "acme"]);
        Self::over(companion, Server::start)
    }

    fn over(companion: Companion, serve: impl FnOnce(&Companion) -> Server) -> Self {
        let server = serve(&companion);
        let mut live = Self {
            companion,
            server,
            upstream: Upstream::start(),
            envoys: Vec::new(),
        };
        for node in NODES {
            let envoy = live.envoy(node);
            live.envoys.push(envoy);
        }
        live
    }

    fn envoy(&self, node: &str) -> Envoy {
        Envoy::start(self.server.rendered(&self.companion, &self.upstream, node))
    }

    /// What each Envoy answers to this key, over connections enough to reach every
    /// worker.
    fn answers(&self, key: &str) -> HashSet<u16> {
        let ask = |envoy: &Envoy| envoy.send(&get("/v1/a").bearer(key)).status;
        let many = self.envoys.iter().flat_map(|e| std::iter::repeat_n(e, 24));
        many.map(ask).collect()
    }

    fn is_open(&self, key: &str) {
        eventually("the key to open every Envoy", || {
            (self.answers(key) == HashSet::from([200])).then_some(())
        });
    }

    fn revoke(&self, id: &str) {
        let revoked = self.server.json(&["key", "revoke", id, "--wait"]);
        assert_eq!(revoked["status"], "revoked", "{revoked}");
    }
}

#[test]
fn a_key_is_issued_used_rotated_and_revoked_on_two_envoys() {
    let live = Live::start();
    let (key, id) = live.server.issue(&["acme"]);
    live.is_open(&key);

    let rotated = live.server.json(&["key", "rotate", &id, "--grace", "1h"]);
    let (new, new_id) = Companion::issued(&rotated);
    live.is_open(&new);
    assert_eq!(live.answers(&key), HashSet::from([200]));

    let from = Instant::now();
    live.revoke(&id);
    println!(
        "revoked and proved on two Envoys after {} ms",
        from.elapsed().as_millis()
    );
    assert_eq!(live.answers(&key), HashSet::from([401]));
    assert_eq!(live.answers(&new), HashSet::from([200]));

    live.revoke(&new_id);
    assert_eq!(live.answers(&new), HashSet::from([401]));
}

#[test]
fn waiting_names_the_envoy_that_has_not_the_revocation_in_force() {
    let live = Live::start();
    let (key, id) = live.server.issue(&["acme"]);
    live.is_open(&key);
    live.envoys[1].pause();
    let output = live.server.output(&["key", "revoke", &id, "--wait=2s"]);
    live.envoys[1].resume();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("edge-2") && !said.contains("edge-1"),
        "{said}"
    );
    // The revocation itself stands, and arrives.
    eventually("the other Envoy to catch up", || {
        (live.answers(&key) == HashSet::from([401])).then_some(())
    });
}

#[test]
fn envoys_decide_on_while_the_server_is_down_and_catch_up_when_it_is_back() {
    let mut live = Live::start();
    let (key, id) = live.server.issue(&["acme"]);
    let (other, _) = live.server.issue(&["acme"]);
    live.is_open(&key);
    live.is_open(&other);
    live.server.kill();
    assert_eq!(live.answers(&key), HashSet::from([200]));
    assert_eq!(live.answers("ks_live_nonsense"), HashSet::from([401]));
    // Revoked by hand meanwhile.
    live.companion.run(&["key", "revoke", &id]);
    let bases = |live: &Live| -> Vec<u64> { live.envoys.iter().map(base_updates).collect() };
    let before = bases(&live);
    live.server.restart();
    eventually("the revocation to arrive", || {
        (live.answers(&key) == HashSet::from([401])).then_some(())
    });
    assert_eq!(live.answers(&other), HashSet::from([200]));
    // The restarted server has the base that they hold: only the overlay travels.
    assert_eq!(bases(&live), before);
}

/// How often Envoy took a new base.
fn base_updates(envoy: &Envoy) -> u64 {
    let stats = envoy.stats(r"extension_config_discovery.*keystile-base.config_reload$");
    stats.values().sum()
}

#[test]
fn an_envoy_that_is_killed_and_comes_back_knows_every_revocation() {
    let mut live = Live::start();
    let (key, id) = live.server.issue(&["acme"]);
    let (other, _) = live.server.issue(&["acme"]);
    live.is_open(&key);
    live.is_open(&other);
    drop(live.envoys.remove(1));
    let revoked = live.server.output(&["key", "revoke", &id, "--wait=1s"]);
    let said = String::from_utf8_lossy(&revoked.stderr).into_owned();
    assert_eq!(
        revoked.status.code(),
        Some(1),
        "it may be cut off, and serve on"
    );
    assert!(
        said.contains("edge-2") && said.contains("fleet forget"),
        "{said}"
    );
    let envoy = live.envoy(NODES[1]);
    live.envoys.push(envoy);
    // From the first request on: it does not listen before it has base and overlay.
    assert_eq!(live.answers(&key), HashSet::from([401]));
    assert_eq!(live.answers(&other), HashSet::from([200]));
    // Its former process may be cut off, and serve on: that takes a minute's silence.
    let output = live.server.output(&["fleet", "--wait=1s"]);
    assert_eq!(output.status.code(), Some(1));
    live.server.json(&["fleet", "--wait=100s"]);
}

#[test]
fn envoys_that_share_a_node_id_each_prove_a_revocation() {
    let mut live = Live::start();
    let twins = [live.envoy(NODES[0]), live.envoy(NODES[0])];
    live.envoys.extend(twins);
    let (key, id) = live.server.issue(&["acme"]);
    live.is_open(&key);
    live.revoke(&id);
    assert_eq!(live.answers(&key), HashSet::from([401]));

    let (key, id) = live.server.issue(&["acme"]);
    live.is_open(&key);
    live.envoys[3].pause();
    let output = live.server.output(&["key", "revoke", &id, "--wait=2s"]);
    live.envoys[3].resume();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("3 Envoys report under this node id"),
        "{said}"
    );
    live.server.json(&["fleet", "--wait=60s"]);
    assert_eq!(live.answers(&key), HashSet::from([401]));
}

#[test]
fn revocations_under_load_lose_no_request_of_others() {
    let live = Live::start();
    let (survivor, _) = live.server.issue(&["acme"]);
    live.is_open(&survivor);
    let doomed: Vec<_> = (0..20).map(|_| live.server.issue(&["acme"])).collect();
    live.is_open(&doomed[19].0);
    let requests = vec![get("/v1/a").bearer(&survivor)];
    let loads: Vec<Load> = live
        .envoys
        .iter()
        .map(|e| Load::start(e.address(), 8, Duration::from_millis(2), requests.clone()))
        .collect();
    for (key, id) in &doomed {
        live.revoke(id);
        assert_eq!(live.answers(key), HashSet::from([401]));
    }
    for load in loads {
        load.another_round();
        let answers: Vec<Answer> = load.stop().into_iter().flatten().collect();
        assert!(answers.iter().all(|a| a.status() == Some(200)));
        let worst = answers.iter().map(|a| a.done - a.sent).max().unwrap();
        println!(
            "{} requests meanwhile, the worst took {} ms",
            answers.len(),
            worst.as_millis()
        );
    }
}

#[test]
fn the_server_killed_a_hundred_times_under_writing_load_loses_no_acknowledged_write() {
    let mut live = Live::start();
    let address = live.server.address().to_owned();
    let token = live.server.token().to_owned();
    let (dead, dead_id) = live.server.issue(&["acme"]);
    live.is_open(&dead);
    live.revoke(&dead_id);

    let stop = AtomicBool::new(false);
    let acknowledged = Mutex::new(Vec::new());
    let opened = Mutex::new(0usize);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (stop, acknowledged, address, token) = (&stop, &acknowledged, &address, &token);
            scope.spawn(move || {
                let mut i = 0;
                while !stop.load(Ordering::SeqCst) {
                    i += 1;
                    if let Some(id) = write(address, token, &format!("w{n}-{i}")) {
                        acknowledged.lock().unwrap().push(id);
                    }
                }
            });
        }
        for envoy in live.envoys.iter().map(Envoy::address) {
            let (stop, opened, dead) = (&stop, &opened, dead.as_str());
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let answer = Client::connect(envoy).send(&get("/v1/a").bearer(dead));
                    if answer.status == 200 {
                        *opened.lock().unwrap() += 1;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        for n in 0..100u64 {
            // Long enough to write something, at ever another moment.
            std::thread::sleep(Duration::from_millis(10 + n * 7 % 60));
            live.server.kill();
            live.server.restart();
        }
        stop.store(true, Ordering::SeqCst);
    });

    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= 100, "{} writes", acknowledged.len());
    let keys = live.server.json(&["key", "list", "--client", "acme"]);
    let known: HashSet<&str> = keys
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|k| k["id"].as_str())
        .collect();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|id| !known.contains(id.as_str()))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
    let verified = live.companion.json(&["audit", "verify"]);
    println!(
        "{} acknowledged writes over 100 kills, audit: {verified}",
        acknowledged.len()
    );
    assert_eq!(*opened.lock().unwrap(), 0, "a revoked key opened something");
    let (last, _) = live.server.issue(&["acme"]);
    live.is_open(&last);
}

/// Issues a key over the API; its id if the server said that it did.
fn write(address: &str, token: &str, name: &str) -> Option<String> {
    let mut client = Client::try_connect(address.parse().unwrap()).ok()?;
    let body = serde_json::json!({"client": "acme", "name": name}).to_string();
    let issue = request("POST", "/v1/keys")
        .bearer(token)
        .header("content-type", "application/json")
        .body(body);
    let answer = client.try_send(&issue).ok()?;
    if answer.status != 201 {
        return None;
    }
    let issued: Value = serde_json::from_slice(&answer.body).ok()?;
    Some(issued["id"].as_str()?.to_owned())
}

#[test]
fn a_worker_that_lost_its_base_denies_until_the_server_has_mended_it() {
    let companion = Companion::init(&fresh_dir(), POLICY);
    companion.run(&["client", "create", "acme"]);
    let wasm = write_broken(companion.dir(), fault::trapping);
    let live = Live::over(companion, |companion| {
        Server::delivering(companion, shell::named(&wasm))
    });
    let (key, _) = live.server.issue(&["acme"]);
    live.is_open(&key);
    // Both workers of the first Envoy, sooner or later.
    for _ in 0..12 {
        assert_eq!(live.envoys[0].send(&trapping(&key)).status, 503);
    }
    let denied = live.envoys[0].access_log();
    let reason = "keystile:keyset_unavailable:overlay_without_base";
    // From here on it denies, or is mended: it never lets in what it cannot check.
    let strange = live.answers("ks_live_nonsense");
    assert!(strange.is_subset(&HashSet::from([401, 503])), "{strange:?}");
    live.is_open(&key);
    println!(
        "{} requests of {} met a worker without its base",
        denied.iter().filter(|l| l["reason"] == reason).count(),
        denied.len()
    );
}
