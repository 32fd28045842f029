//! How long a revocation takes across three servers of one store in PostgreSQL: from the answer of
//! the first to the proof of an Envoy at the third, as the first server shows it; with a thousand
//! other streams of discovery spread over the three by a plain balancer.
//!
//!     KEYSTILE_PROFILE=release scripts/build && cargo bench --profile release --bench replicas
//!
//! Less of it, to see that it works: `--rounds 3 --streams 20`.
#![cfg_attr(target_family = "wasm", no_main)]
#![cfg(not(target_family = "wasm"))]

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keystile_render::proto::core::Node;
use keystile_render::proto::discovery::{DiscoveryRequest, DiscoveryResponse, ECDS_SOTW};
use keystile_tests::database::Database;
use keystile_tests::discovery_client as client;
use keystile_tests::door::{Door, Place};
use keystile_tests::proxy::{
    Client, Companion, Envoy, Server, Upstream, eventually, fresh_dir, get, request,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::transport::Endpoint;

const POLICY: &str = r#"
version: 1
not_after: 1d
report: { cluster: keystile-control, every: 10s }
routes:
  - { path: "/v1/{*rest}" }
"#;
const TYPE: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
/// What is asked of the 99th of a hundred.
const ASKED: Duration = Duration::from_millis(150);
/// How long all streams may take to be served first.
const SETTLED: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(1);

fn main() {
    let number = |name, usual| value_of(name).map_or(usual, |n| n.parse().expect("a number"));
    let (rounds, streams) = (number("--rounds", 200), number("--streams", 1_000));
    let bed = Bed::start(rounds, streams);
    println!(
        "3 servers, {streams} streams behind a balancer and an Envoy of 2 workers at the third"
    );
    println!("load of the machine before: {}", load());
    let mut found: Vec<[Duration; 3]> = (0..rounds).map(|n| bed.round(n)).collect();
    println!("load of the machine after: {}", load());
    println!("milliseconds                     median     p90     p99   worst");
    for (at, what) in SHOWN.iter().enumerate() {
        found.sort_by_key(|round| round[at]);
        let of = |percent: usize| found[(found.len() * percent).div_ceil(100).max(1) - 1][at];
        let shown = [50, 90, 99, 100].map(|p| format!("{:>8.1}", of(p).as_secs_f64() * 1000.0));
        println!("{what:<30}{}", shown.concat());
        if at == 1 {
            let verdict = if of(99) < ASKED { "met" } else { "missed" };
            println!(
                "    asked of the p99: less than {} ms: {verdict}",
                ASKED.as_millis()
            );
        }
    }
}

const SHOWN: [&str; 3] = [
    "asked to answered",
    "answered to proved by Envoy",
    "answered to the last stream",
];

/// What follows a word on the command line.
fn value_of(name: &str) -> Option<String> {
    std::env::args().skip_while(|a| a != name).nth(1)
}

fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Three servers, and who is connected to them.
struct Bed {
    servers: Vec<Server>,
    /// Ids of keys; a round revokes one.
    doomed: Vec<String>,
    streams: usize,
    /// How many messages the streams were sent.
    sent: Arc<AtomicUsize>,
    _envoy: Envoy,
    _companions: Vec<Companion>,
    _upstream: Upstream,
    _door: Door,
    _runtime: tokio::runtime::Runtime,
    _database: Database,
}

impl Bed {
    fn start(rounds: usize, streams: usize) -> Self {
        let database = Database::start();
        let first = Companion::init_in(database.address(), &fresh_dir(), POLICY);
        first.run(&["client", "create", "acme"]);
        let (key, _) = first.issue(&["acme"]);
        let doomed = (0..rounds).map(|_| first.issue(&["acme"]).1).collect();
        let more = || first.replica(database.address(), &fresh_dir());
        let (second, third) = (more(), more());
        let companions = vec![first, second, third];
        let most = (4 * streams + 100).to_string();
        let start = |c| Server::started(c, &["--max-streams", &most]);
        let servers: Vec<Server> = companions.iter().map(start).collect();
        // An Envoy that is turned away tries again after some seconds.
        for server in &servers {
            let mut client = Client::connect(server.address().parse().unwrap());
            eventually("the servers to publish a base", || {
                let answer = client.send(&get("/v1/fleet?limit=1").bearer(server.token()));
                let fleet: Value = serde_json::from_str(&answer.text()).unwrap();
                (fleet["version"] != 0).then_some(())
            });
        }
        let upstream = Upstream::start();
        let envoy = Envoy::start(servers[2].rendered(&companions[2], &upstream, "edge"));
        eventually("the key to open the Envoy", || {
            (envoy.send(&get("/v1/a").bearer(&key)).status == 200).then_some(())
        });
        let place = |s: &Server| Place::Port(s.discovery().parse().unwrap());
        let door = Door::to(servers.iter().map(place).collect());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let sent = Arc::new(AtomicUsize::new(0));
        for n in 0..streams {
            runtime.spawn(follow(door.address(), n, Arc::clone(&sent)));
        }
        let bed = Self {
            servers,
            doomed,
            streams,
            sent,
            _envoy: envoy,
            _companions: companions,
            _upstream: upstream,
            _door: door,
            _runtime: runtime,
            _database: database,
        };
        bed.settle();
        bed
    }

    /// Until every stream has base and overlay, and nothing more comes.
    fn settle(&self) {
        let began = Instant::now();
        while self.sent.load(Ordering::Relaxed) < self.streams {
            assert!(began.elapsed() < SETTLED, "the streams are not served");
            std::thread::sleep(LOOK);
        }
        let mut known = usize::MAX;
        loop {
            let sent = self.sent.load(Ordering::Relaxed);
            if sent == known {
                return;
            }
            known = sent;
            std::thread::sleep(Duration::from_secs(2));
        }
    }

    /// Answered, proved, and with the last stream.
    fn round(&self, n: usize) -> [Duration; 3] {
        let first = &self.servers[0];
        let mut client = Client::connect(first.address().parse().unwrap());
        let before = in_force(&mut client, first);
        let sent = self.sent.load(Ordering::Relaxed);
        let revoke = request("POST", format!("/v1/keys/{}/revoke", self.doomed[n]))
            .bearer(first.token())
            .header("content-type", "application/json")
            .body("{}");
        let from = Instant::now();
        let answer = client.send(&revoke);
        let answered = Instant::now();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut proved = None;
        let mut last = None;
        while proved.is_none() || last.is_none() {
            if proved.is_none() && in_force(&mut client, first) > before {
                proved = Some(answered.elapsed());
            }
            if last.is_none() && self.sent.load(Ordering::Relaxed) >= sent + self.streams {
                last = Some(answered.elapsed());
            }
            assert!(answered.elapsed() < Duration::from_secs(60), "round {n}");
            std::thread::sleep(LOOK);
        }
        [answered - from, proved.unwrap(), last.unwrap()]
    }
}

/// The version that all VMs of the Envoy at the third server have proved, as a server knows.
fn in_force(client: &mut Client, server: &Server) -> Option<u64> {
    let answer = client.send(&get("/v1/fleet?limit=1&cursor=edg").bearer(server.token()));
    let fleet: Value = serde_json::from_str(&answer.text()).unwrap();
    let node = &fleet["nodes"][0];
    assert_eq!(node["id"], "edge", "{fleet}");
    node["in_force"].as_u64()
}

/// Takes all that is sent, as an Envoy does.
async fn follow(door: SocketAddr, n: usize, sent: Arc<AtomicUsize>) {
    loop {
        if let Err(e) = stream(door, n, &sent).await {
            eprintln!("stream {n}: {e}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn stream(door: SocketAddr, n: usize, sent: &AtomicUsize) -> Result<(), Status> {
    let endpoint = Endpoint::from_shared(format!("http://{door}"));
    let endpoint = endpoint.map_err(|e| Status::internal(e.to_string()))?;
    let channel = endpoint.connect().await;
    let channel = channel.map_err(|e| Status::unavailable(e.to_string()))?;
    let (out, requests) = mpsc::channel(4);
    let names = || vec!["keystile-base".to_owned(), "keystile".to_owned()];
    let first = DiscoveryRequest {
        node: Some(Node {
            id: format!("stream-{n}"),
            cluster: "edge".to_owned(),
            user_agent_version_type: None,
        }),
        resource_names: names(),
        type_url: TYPE.to_owned(),
        ..DiscoveryRequest::default()
    };
    let _ = out.send(first).await;
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut responses = client::open(&channel, ECDS_SOTW, requests).await?;
    while let Some(response) = responses.message().await? {
        let response: DiscoveryResponse = response;
        sent.fetch_add(1, Ordering::Relaxed);
        let taken = DiscoveryRequest {
            version_info: response.version_info,
            response_nonce: response.nonce,
            resource_names: names(),
            type_url: TYPE.to_owned(),
            ..DiscoveryRequest::default()
        };
        if out.send(taken).await.is_err() {
            break;
        }
    }
    Ok(())
}
