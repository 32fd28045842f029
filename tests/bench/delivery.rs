//! How long a revocation takes through a running server, with 100,000 keys loaded: from
//! the call to the last request that the key opened, and the worst request meanwhile.
//! Two Envoys with two workers each.
//!
//!     scripts/build && cargo bench --profile release --bench delivery
#![cfg_attr(target_family = "wasm", no_main)]
#![cfg(not(target_family = "wasm"))]
#![allow(dead_code, unused_imports)]

use std::time::{Duration, Instant};

use keystile_tests::proxy::{
    Client, Companion, Envoy, Load, Server, Upstream, eventually, fresh_dir, get, request,
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
    let companion = Companion::init(&fresh_dir(), POLICY);
    companion.run(&["client", "create", "acme"]);
    let (survivor, _) = companion.issue(&["acme"]);
    let doomed: Vec<_> = (0..ROUNDS).map(|_| companion.issue(&["acme"])).collect();
    let others = KEYS - 1 - ROUNDS;
    companion.json(&["key", "issue", "acme", "--count", &others.to_string()]);
    let server = Server::start(&companion);
    let upstream = Upstream::start();
    let envoys =
        ["edge-1", "edge-2"].map(|node| Envoy::start(server.rendered(&companion, &upstream, node)));
    eventually("the keys to open every Envoy", || {
        let opens = |e: &Envoy| e.send(&get("/v1/a").bearer(&survivor)).status == 200;
        envoys.iter().all(opens).then_some(())
    });

    println!("{KEYS} keys, 2 Envoys of 2 workers, 8 connections each; milliseconds");
    println!("round   answered  last 200  proved  worst request");
    let mut rounds = Vec::new();
    for (round, (key, id)) in doomed.iter().enumerate() {
        let requests = [key.as_str(), &survivor].map(|k| get("/v1/a").bearer(k));
        let pace = Duration::from_millis(2);
        let start = |e: &Envoy| Load::start(e.address(), 8, pace, requests.to_vec());
        let loads: Vec<Load> = envoys.iter().map(start).collect();
        loads.iter().for_each(Load::another_round);
        let from = Instant::now();
        let answered = revoke(&server, id).duration_since(from);
        server.json(&["fleet", "--wait=10s"]);
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
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        println!(
            "{round:>5} {:>10.1} {:>9.1} {:>7.1} {:>14.1}",
            ms(answered),
            ms(last),
            ms(proved),
            ms(worst)
        );
        rounds.push((ms(last), ms(worst)));
    }
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        let at = |n: usize| values.get(n).copied().unwrap_or_default();
        (at(0), at(values.len() / 2), at(values.len() - 1))
    };
    let (low, median, high) = middle(rounds.iter().map(|r| r.0).collect());
    println!("last 200:      median {median:.1}, {low:.1} to {high:.1}");
    let (low, median, high) = middle(rounds.iter().map(|r| r.1).collect());
    println!("worst request: median {median:.1}, {low:.1} to {high:.1}");
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
