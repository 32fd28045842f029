//! From requests through real Envoys to the numbers of the real server: what
//! `keystilectl usage` and the console's pages say is what was sent.

mod sorts;

use crate::fixture::Keys;
use crate::support::{
    Answer, Companion, Envoy, Load, Request, Server, Upstream, burst, count, eventually, fresh_dir,
    get,
};
use crate::usage_shown::{self, Shown};
use serde_json::Value;
use sorts::{Sort, sorts};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Requests by name of a key, a route or an outcome; without one, under `-`.
pub type Sums = BTreeMap<String, u64>;

const COUNTED: &str = r#"
version: 1
report: { cluster: keystile-control, every: 1s }
plans:
  small: { limits: [{ requests: 7, per: 1d }] }
routes:
  - { path: /healthz, auth: none }
  - { path: "/v1/{*rest}", methods: [GET] }
  - { path: /closed, scopes: [admin] }
"#;

/// What was sent and how it was answered, told apart as the server tells it apart.
#[derive(Default)]
pub struct Sent(BTreeMap<Kind, u64>);

/// Requests that nothing is told apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub key: Option<String>,
    pub route: Option<&'static str>,
    pub outcome: String,
}

/// What requests are told apart by; `-` is none.
pub fn of_route(kind: &Kind) -> String {
    kind.route.unwrap_or("-").to_owned()
}

pub fn of_outcome(kind: &Kind) -> String {
    kind.outcome.clone()
}

pub fn of_key(kind: &Kind) -> String {
    kind.key.as_deref().unwrap_or("-").to_owned()
}

impl Sent {
    fn load(&mut self, sorts: &[Sort], connections: &[Vec<Answer>]) {
        for answer in connections.iter().flatten() {
            let response = answer.outcome.as_ref().expect("an answer");
            let sort = &sorts[answer.request];
            let kind = Kind {
                key: sort.key.clone(),
                route: sort.route,
                outcome: response.code().unwrap_or_else(|| "ok".to_owned()),
            };
            *self.0.entry(kind).or_default() += 1;
        }
    }

    /// Those that are asked for, by name.
    pub fn sums(&self, which: impl Fn(&Kind) -> bool, name: impl Fn(&Kind) -> String) -> Sums {
        let mut sums = Sums::new();
        for (kind, requests) in self.0.iter().filter(|(kind, _)| which(kind)) {
            *sums.entry(name(kind)).or_default() += requests;
        }
        sums
    }

    fn all(&self) -> u64 {
        self.0.values().sum()
    }

    fn keys(&self) -> Vec<&str> {
        let keys: BTreeSet<&str> = self.0.keys().filter_map(|k| k.key.as_deref()).collect();
        keys.into_iter().collect()
    }

    /// Each question, to the server, and what it should say.
    fn compare(&self, server: &Server) {
        let ask = |of: Option<&str>, by, sums: Sums| {
            let mut arguments = vec!["usage"];
            arguments.extend(of);
            arguments.extend(["--by", by]);
            let told = server.json(&arguments);
            assert_eq!(grouped(&told), sums, "{arguments:?}");
            assert_eq!(told["others"], Value::Null);
            assert_eq!(told["uncounted"], 0);
        };
        let whose = self.keys().into_iter().map(Some);
        for of in whose.chain([None]) {
            let which = |kind: &Kind| of.is_none() || kind.key.as_deref() == of;
            ask(of, "route", self.sums(which, of_route));
            ask(of, "outcome", self.sums(which, of_outcome));
        }
        ask(None, "key", self.sums(|kind| kind.key.is_some(), of_key));
    }
}

fn grouped(told: &Value) -> Sums {
    let groups = told["groups"].as_array().unwrap().iter();
    let name = |g: &Value| g["name"].as_str().unwrap_or("-").to_owned();
    groups
        .map(|g| (name(g), g["requests"].as_u64().unwrap()))
        .collect()
}

fn sum(envoys: &[Envoy], gauge: &str) -> u64 {
    let each = envoys.iter().flat_map(|e| e.stats(gauge).into_values());
    each.sum()
}

/// Until the server has confirmed whatever the Envoys counted.
fn confirmed(envoys: &[Envoy], server: &Server, all: u64) {
    let mut last = 0;
    let arrived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("the server to have counted", || {
            std::thread::sleep(Duration::from_millis(50));
            last = server.json(&["usage"])["requests"].as_u64().unwrap();
            // Too many would only become more.
            (last >= all).then_some(())
        });
    }));
    assert!(arrived.is_ok(), "{all} were sent, {last} are counted");
    eventually("every Envoy to have every receipt", || {
        (sum(envoys, "usage_waiting_batches") == 0).then_some(())
    });
    // What would be counted twice has come by then.
    assert_eq!(server.json(&["usage"])["requests"], all);
    assert_eq!(sum(envoys, "usage_dropped"), 0);
}

fn two_envoys(server: &Server, companion: &Companion, upstream: &Upstream) -> [Envoy; 2] {
    ["edge-1", "edge-2"].map(|node| Envoy::start(server.rendered(companion, upstream, node)))
}

fn spell(time: Duration) {
    let began = Instant::now();
    while let Some(left) = time.checked_sub(began.elapsed()) {
        std::thread::sleep(left);
    }
}

#[test]
fn the_server_and_its_pages_show_exactly_what_two_envoys_were_sent_though_it_was_killed_for_half_a_minute()
 {
    let companion = Companion::init(&fresh_dir(), COUNTED);
    for client in ["acme", "globex"] {
        companion.run(&["client", "create", client]);
    }
    let mut server = Server::start(&companion);
    let upstream = Upstream::start();
    let (plain, plain_id) = server.issue(&["acme"]);
    let (admin, admin_id) = server.issue(&["globex", "--scope", "admin"]);
    let (small, small_id) = server.issue(&["globex", "--plan", "small"]);
    let (dead, dead_id) = server.issue(&["acme"]);
    server.json(&["key", "revoke", &dead_id]);
    let stranger = Keys::new(COUNTED).issue("nobody");

    let sorts = sorts(
        [&plain, &admin, &small, &dead, &stranger],
        [&plain_id, &admin_id, &small_id, &dead_id],
    );
    let envoys = two_envoys(&server, &companion, &upstream);

    let requests: Vec<Request> = sorts.iter().map(|s| s.request.clone()).collect();
    // So many connections that the kernel gives each worker some of them.
    let pace = Duration::from_millis(160);
    let loads = [0, 1].map(|i: usize| Load::start(envoys[i].address(), 16, pace, requests.clone()));
    // Wherever batches just are: a few short deaths, and a long one.
    short_deaths(&mut server);
    server.kill();
    spell(Duration::from_secs(30));
    for envoy in &envoys {
        assert!(envoy.log().contains("usage for cluster `keystile-control`"));
    }
    assert!(sum(&envoys, "usage_waiting_batches") > 0);
    server.restart();
    eventually("one batch to be taken again", || {
        let again = |e: &Envoy| e.log().contains("usage reaches cluster");
        envoys.iter().all(again).then_some(())
    });
    let mut sent = Sent::default();
    for load in loads {
        sent.load(&sorts, &load.stop());
    }
    confirmed(&envoys, &server, sent.all());
    sent.compare(&server);
    let codes = sent.sums(|_| true, of_outcome);
    assert_eq!(
        codes.keys().map(String::as_str).collect::<Vec<_>>(),
        [
            "insufficient_scope",
            "missing_api_key",
            "ok",
            "rate_limited",
            "revoked_api_key",
            "route_denied",
            "unknown_api_key"
        ]
    );
    for envoy in &envoys {
        let workers = envoy.connections();
        assert!(workers.iter().all(|n| *n > 0), "{workers:?}");
    }
    usage_shown::compare(
        &Shown {
            server: &server,
            sent: &sent,
            clients: [
                ("acme", vec![&plain_id, &dead_id]),
                ("globex", vec![&admin_id, &small_id]),
            ],
        },
        &envoys,
    );
    println!("{} requests, all of them counted, and once", sent.all());
}

fn short_deaths(server: &mut Server) {
    for alive in [1500, 1100, 700] {
        spell(Duration::from_millis(alive));
        server.kill();
        server.restart();
    }
}

#[test]
fn a_rotation_of_signing_keys_while_batches_wait_loses_none_and_envoys_go_on_as_they_are() {
    let companion = Companion::init(&fresh_dir(), COUNTED);
    companion.run(&["client", "create", "acme"]);
    let mut server = Server::start(&companion);
    let upstream = Upstream::start();
    let (key, _) = server.issue(&["acme"]);
    let envoys = two_envoys(&server, &companion, &upstream);
    let mut all = 0;
    let mut round = || {
        for envoy in &envoys {
            let answers = burst(envoy.address(), 6, 5, &get("/v1/a").bearer(&key));
            assert_eq!(count(&answers, 200), 30);
            all += 30;
        }
        all
    };
    round();
    server.kill();
    round();
    eventually("batches to wait", || {
        let waits = |e: &Envoy| e.stats("usage_waiting_batches").values().any(|n| *n > 0);
        envoys.iter().all(waits).then_some(())
    });
    let rotated = companion.json(&["signing-key", "rotate"]);
    server.restart();
    round();
    // Their environment still holds the former key alone.
    confirmed(&envoys, &server, round());

    // One Envoy is started anew with both, as a roll-out does it; the other stays.
    let [stays, old] = envoys;
    drop(old);
    let fresh = Envoy::start(server.rendered(&companion, &upstream, "edge-2"));
    let envoys = [stays, fresh];
    for envoy in &envoys {
        let answers = burst(envoy.address(), 6, 5, &get("/v1/a").bearer(&key));
        assert_eq!(count(&answers, 200), 30);
        all += 30;
    }
    confirmed(&envoys, &server, all);
    assert_ne!(rotated["active"], rotated["accepted"]);
}

/// A day that does not end while the test runs, in Tokyo.
fn quota_policy(requests: u64) -> String {
    let hour = (crate::fixture::now() / 3600 + 9 + 12) % 24;
    let quota = format!(
        "{{ requests: {requests}, per: day, time_zone: Asia/Tokyo, rolls_over: {{ hour: {hour} }} }}"
    );
    format!(
        "
version: 1
report: {{ cluster: keystile-control, every: 1s }}
rate_limit_fields: always
plans:
  daily: {{ quota: {quota} }}
routes:
  - {{ path: \"/v1/{{*rest}}\" }}
"
    )
}

#[test]
fn a_quota_is_exact_on_one_envoy_and_over_two_bounded_by_a_period_and_the_way_of_the_receipt() {
    const QUOTA: u64 = 600;
    /// `every`, a tenth more, and the tick that it falls to.
    const PERIOD: f64 = 2.1;
    /// From a batch to the receipt, on a machine that others use as well.
    const WAY: f64 = 1.0;
    let companion = Companion::init(&fresh_dir(), &quota_policy(QUOTA));
    companion.run(&["client", "create", "acme"]);
    let server = Server::start(&companion);
    let upstream = Upstream::start();
    let [alone, shared, little] = [0; 3].map(|_| server.issue(&["acme", "--plan", "daily"]));
    let envoys = two_envoys(&server, &companion, &upstream);
    let ask = |(key, _): &(String, String)| get("/v1/a").bearer(key);

    let answers = burst(envoys[0].address(), 40, 20, &ask(&alone));
    assert_eq!((count(&answers, 200), count(&answers, 429)), (600, 200));
    let refused = answers.iter().find(|a| a.status == 429).unwrap();
    assert_eq!(refused.code().as_deref(), Some("quota_exceeded"));
    assert_eq!(
        count(&burst(envoys[0].address(), 5, 2, &ask(&little)), 200),
        10
    );

    // Both let through at the same pace until both refuse.
    let pace = Duration::from_millis(50);
    let began = Instant::now();
    let loads =
        [0, 1].map(|i: usize| Load::start(envoys[i].address(), 2, pace, vec![ask(&shared)]));
    let refuses = |i: usize| envoys[i].send(&ask(&shared)).status == 429;
    let mut probed = 0;
    eventually("both Envoys to refuse", || {
        std::thread::sleep(Duration::from_millis(100));
        let refused = [refuses(0), refuses(1)];
        probed += refused.iter().filter(|r| !**r).count() as u64;
        refused.iter().all(|r| *r).then_some(())
    });
    let answers: Vec<Answer> = loads.into_iter().flat_map(Load::stop).flatten().collect();
    let through: Vec<&Answer> = answers.iter().filter(|a| a.status() == Some(200)).collect();
    let total = through.len() as u64 + probed;
    let last = through.iter().map(|a| a.done).max().unwrap();
    let rate = total as f64 / last.duration_since(began).as_secs_f64();
    let beyond = total - QUOTA;
    println!("{beyond} beyond a quota of {QUOTA}, at {rate:.0} a second over two Envoys");
    assert!(beyond as f64 <= rate * (PERIOD + WAY), "{beyond} at {rate}");
    // Had they not heard of each other, each would have let through all of it.
    assert!(beyond < QUOTA);

    // Requests are told of once a second.
    spell(Duration::from_secs(2));
    let decided = sum(&envoys, "keystile_requests_total");
    confirmed(&envoys, &server, decided);
    let left = |(_, id): &(String, String)| server.json(&["usage", "quota", id]);
    let numbers = |told: &Value| ["requests", "used", "remaining"].map(|n| told[n].as_u64());
    assert_eq!(numbers(&left(&alone)), [QUOTA, QUOTA, 0].map(Some));
    assert_eq!(numbers(&left(&shared)), [QUOTA, total, 0].map(Some));
    assert_eq!(numbers(&left(&little)), [QUOTA, 10, QUOTA - 10].map(Some));

    // The window of the plan's clocks on both sides: what the server says of it, the Envoy that
    // did not let those ten through takes over.
    let mut own = 0;
    eventually("the second Envoy to hear of the first", || {
        let answer = envoys[1].send(&ask(&little));
        assert_eq!(answer.status, 200);
        own += 1;
        std::thread::sleep(Duration::from_millis(100));
        let left = answer.header("ratelimit")?.split(';').nth(1)?;
        let left: u64 = left.strip_prefix("r=")?.parse().ok()?;
        (left + own == QUOTA - 10).then_some(())
    });
}
