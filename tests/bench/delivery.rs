//! How long a revocation takes through a running server, with 100,000 keys loaded: from
//! the call to the last request that the key opened, and the worst request meanwhile.
//! Two Envoys with two workers each.
//!
//!     scripts/build && cargo bench --profile release --bench delivery
//!
//! Another build in the same run, round by round; its folder holds `keystilectl` and
//! `keystile.wasm`:
//!
//!     cargo bench --profile release --bench delivery -- --beside FOLDER
#![cfg_attr(target_family = "wasm", no_main)]
#![cfg(not(target_family = "wasm"))]
#![allow(dead_code, unused_imports)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use keystile_tests::proxy::{
    Client, Companion, Envoy, Load, Server, Upstream, eventually, fresh_dir, get, request, root,
};

const POLICY: &str = r#"
version: 1
not_after: 1d
report: { cluster: keystile-control, every: 10s }
routes:
  - { path: "/v1/{*rest}" }
"#;
const KEYS: usize = 100_000;
const ROUNDS: usize = 15;

fn main() {
    let mut arguments = std::env::args().skip_while(|a| a != "--beside");
    let beside = arguments.nth(1).map(PathBuf::from);
    let here = root().join("target/dist");
    let beds: Vec<Bed> = [Some(here), beside]
        .into_iter()
        .flatten()
        .map(Bed::start)
        .collect();
    println!("{KEYS} keys, 2 Envoys of 2 workers, 8 connections each; milliseconds");
    println!("round   answered  last 200  proved  worst request");
    let mut found: Vec<Vec<Round>> = beds.iter().map(|_| Vec::new()).collect();
    for n in 0..ROUNDS {
        for (bed, rounds) in beds.iter().zip(&mut found) {
            let round = bed.round(n);
            let [answered, last, proved, worst] = round;
            println!(
                "{n:>5} {answered:>10.1} {last:>9.1} {proved:>7.1} {worst:>14.1}  {}",
                bed.name
            );
            rounds.push(round);
        }
    }
    for (bed, rounds) in beds.iter().zip(found) {
        println!("{}", bed.name);
        for (what, at) in [("last 200:     ", 1), ("worst request:", 3)] {
            let mut all: Vec<f64> = rounds.iter().filter_map(|r| r.get(at).copied()).collect();
            all.sort_by(f64::total_cmp);
            let at = |n: usize| all.get(n).copied().unwrap_or_default();
            let (low, median, high) = (at(0), at(all.len() / 2), at(all.len() - 1));
            println!("{what} median {median:.1}, {low:.1} to {high:.1}");
        }
    }
}

/// Milliseconds: answered, the last 200, proved, the worst request.
type Round = [f64; 4];

/// A server of one build, and two Envoys that it delivers to.
struct Bed {
    name: String,
    server: Server,
    envoys: [Envoy; 2],
    /// Keys and their ids; a round revokes one.
    doomed: Vec<(String, String)>,
    survivor: String,
    _companion: Companion,
    _upstream: Upstream,
}

impl Bed {
    fn start(build: PathBuf) -> Self {
        let companion = Companion::init_by(&build, &fresh_dir(), POLICY);
        companion.run(&["client", "create", "acme"]);
        let (survivor, _) = companion.issue(&["acme"]);
        let doomed: Vec<_> = (0..ROUNDS).map(|_| companion.issue(&["acme"])).collect();
        let others = KEYS - 1 - ROUNDS;
        companion.json(&["key", "issue", "acme", "--count", &others.to_string()]);
        let server = Server::delivering(&companion, build.join("keystile.wasm"));
        let upstream = Upstream::start();
        let envoys = ["edge-1", "edge-2"]
            .map(|node| Envoy::start(server.rendered(&companion, &upstream, node)));
        eventually("the keys to open every Envoy", || {
            let opens = |e: &Envoy| e.send(&get("/v1/a").bearer(&survivor)).status == 200;
            envoys.iter().all(opens).then_some(())
        });
        Self {
            name: build.display().to_string(),
            server,
            envoys,
            doomed,
            survivor,
            _companion: companion,
            _upstream: upstream,
        }
    }

    fn round(&self, n: usize) -> Round {
        let (key, id) = &self.doomed[n];
        let requests = [key, &self.survivor].map(|k| get("/v1/a").bearer(k));
        let pace = Duration::from_millis(2);
        let start = |e: &Envoy| Load::start(e.address(), 8, pace, requests.to_vec());
        let loads: Vec<Load> = self.envoys.iter().map(start).collect();
        loads.iter().for_each(Load::another_round);
        let from = Instant::now();
        let answered = revoke(&self.server, id).duration_since(from);
        self.server.json(&["fleet", "--wait=10s"]);
        let proved = from.elapsed();
        loads.iter().for_each(Load::another_round);
        let answers: Vec<_> = loads.into_iter().flat_map(Load::stop).flatten().collect();
        let opened = answers
            .iter()
            .filter(|a| a.request == 0 && a.status() == Some(200));
        let last = opened.map(|a| a.done).max();
        let last = last.map_or(Duration::ZERO, |at| at.saturating_duration_since(from));
        let meanwhile = answers.iter().filter(|a| a.done >= from);
        let worst = meanwhile.map(|a| a.done - a.sent).max().unwrap_or_default();
        [answered, last, proved, worst].map(|d| d.as_secs_f64() * 1000.0)
    }
}

/// Over a connection of its own, so that starting a command is not measured.
fn revoke(server: &Server, id: &str) -> Instant {
    let mut client = Client::connect(server.address().parse().unwrap());
    let revoke = request("POST", format!("/v1/keys/{id}/revoke"))
        .bearer(server.token())
        .header("content-type", "application/json")
        .body("{}");
    let answer = client.send(&revoke);
    assert_eq!(answer.status, 200, "{}", answer.text());
    Instant::now()
}
