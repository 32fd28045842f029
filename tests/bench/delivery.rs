//! How long a revocation takes through a running server, with 100,000 keys loaded: from
//! the call to the last request that the key opened, and the worst request meanwhile.
//! Two Envoys with two workers each.
//!
//!     KEYSTILE_PROFILE=release scripts/build && cargo bench --profile release --bench delivery
//!
//! Another build in the same run, round by round; its folder holds `keystilectl` and
//! `keystile.wasm`:
//!
//!     cargo bench --profile release --bench delivery -- --beside FOLDER
//!
//! Less of it, to see that it works: `--rounds 2 --keys 1000`.
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
/// What is asked of this build, in what the other one took.
const ASKED: f64 = 2.0 / 3.0;

fn main() {
    let number = |name, usual| value_of(name).map_or(usual, |n| n.parse().expect("a number"));
    let (rounds, keys) = (number("--rounds", 15), number("--keys", 100_000));
    let here = root().join("target/dist");
    let beside = value_of("--beside").map(PathBuf::from);
    let beds: Vec<Bed> = [Some(here), beside]
        .into_iter()
        .flatten()
        .map(|build| Bed::start(build, rounds, keys))
        .collect();
    println!("{keys} keys, 2 Envoys of 2 workers, 8 connections each; milliseconds");
    println!("round   answered  last 200  proved  worst request");
    let mut found: Vec<Vec<Round>> = beds.iter().map(|_| Vec::new()).collect();
    for n in 0..rounds {
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
    for (bed, rounds) in beds.iter().zip(&found) {
        println!("{}", bed.name);
        for (what, at) in SHOWN {
            let [low, median, high] = spread(rounds, at);
            println!("{what:<14} median {median:.1}, {low:.1} to {high:.1}");
        }
    }
    if let [here, beside] = found.as_slice() {
        targets(here, beside);
    }
}

/// What follows a word on the command line.
fn value_of(name: &str) -> Option<String> {
    std::env::args().skip_while(|a| a != name).nth(1)
}

const SHOWN: [(&str, usize); 2] = [("last 200:", 1), ("worst request:", 3)];

/// The least, the median and the most.
fn spread(rounds: &[Round], at: usize) -> [f64; 3] {
    let mut all: Vec<f64> = rounds.iter().map(|round| round[at]).collect();
    all.sort_by(f64::total_cmp);
    [0, all.len() / 2, all.len() - 1].map(|n| all[n])
}

fn targets(here: &[Round], beside: &[Round]) {
    for (what, at) in SHOWN {
        let [_, median, _] = spread(here, at);
        let [_, other, _] = spread(beside, at);
        let measured = median / other;
        let verdict = if measured <= ASKED { "met" } else { "missed" };
        println!("{what:<14} asked {ASKED:.2} of the other's, measured {measured:.2}: {verdict}");
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
    fn start(build: PathBuf, rounds: usize, keys: usize) -> Self {
        let companion = Companion::init_by(&build, &fresh_dir(), POLICY);
        companion.run(&["client", "create", "acme"]);
        let (survivor, _) = companion.issue(&["acme"]);
        let doomed: Vec<_> = (0..rounds).map(|_| companion.issue(&["acme"])).collect();
        let others = keys - 1 - rounds;
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
