//! Tables: CPU for each request of each case, round by round.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::builds::{Builds, Subject};
use super::cases::{self, Case, Layout, Running};
use super::figures::{Slice, Table};
use super::load::{self, Http, Keys, Sends, Target};
use super::machine::Cores;
use super::plans::{Plan, TURNS};
use super::process::{Process, free_port};
use super::store::Store;

/// How long a server may take to answer for the first time.
pub const PATIENCE: Duration = Duration::from_secs(300);
pub const CONNECTIONS: u64 = 8;

/// How a case started, and what it holds.
#[derive(serde::Serialize)]
pub struct Started {
    pub keys: usize,
    pub workers: usize,
    pub case: String,
    pub first_200_ms: f64,
    pub resident_mb: f64,
    /// Over Envoy without a filter, for each key and thread that holds them; 0 where that
    /// says nothing.
    pub bytes_per_key: f64,
}

/// How often each case is measured, over how many requests on how many connections.
#[derive(Clone, Copy)]
pub struct Pace {
    pub rounds: usize,
    pub requests: u64,
    pub connections: u64,
}

struct Server {
    subject: Subject,
    name: String,
    running: Running,
}

impl Server {
    fn target(&self, plan: &Plan, pace: Pace) -> Target {
        Target {
            address: self.running.address,
            path: self.subject.case.path(),
            sends: self.subject.case.sends(),
            http: plan.http,
            connections: pace.connections,
        }
    }
}

pub fn measure(
    runtime: &tokio::runtime::Runtime,
    plan: &Plan,
    builds: &Builds,
    store: &Store,
    dir: &Path,
    pace: Pace,
) -> (Table, Vec<Started>) {
    let mut keys = keys(plan, store);
    let upstream = plan.has_upstream.then(|| upstream(dir));
    let layout = Layout {
        workers: plan.workers,
        upstream: upstream.as_ref().map(|(address, _)| *address),
    };
    let mut servers = Vec::new();
    let mut started = Vec::new();
    for subject in builds.of(&plan.cases) {
        let name = builds.name(subject);
        let Some(running) = cases::start(subject, builds, store, layout, dir) else {
            println!("{name}: not installed, left out");
            continue;
        };
        let launched = running.launched;
        let mut server = Server {
            subject,
            name,
            running,
        };
        first_answer(runtime, &mut server, (plan, pace), &keys);
        started.push(Started {
            keys: plan.keys,
            workers: plan.workers,
            case: server.name.clone(),
            // What the companion does before the server starts is not in it.
            first_200_ms: launched.elapsed().as_secs_f64() * 1000.0,
            resident_mb: 0.0,
            bytes_per_key: 0.0,
        });
        servers.push(server);
    }
    let slices = slices(runtime, plan, &servers, &mut keys, pace);
    let floor = servers.iter().find(|s| s.subject.case == Case::Floor);
    let floor = floor.map_or(0, |s| s.running.resident());
    for (start, server) in started.iter_mut().zip(&servers) {
        let resident = server.running.resident();
        start.resident_mb = resident as f64 / 1e6;
        // Too few keys say nothing beside what the program itself takes.
        if plan.keys >= 10_000 && server.subject.case.checks() {
            start.bytes_per_key = resident.saturating_sub(floor) as f64 / plan.keys as f64;
        }
    }
    let mut table = Table::of(plan.title(), &slices, builds);
    (table.keys, table.turns) = (plan.keys, plan.turns);
    table.has_upstream = plan.has_upstream;
    (table.requests, table.connections) = (pace.requests, pace.connections);
    table.unknown_percent = plan.unknown_percent;
    table.is_plain = plan.workers == 1 && plan.http == Http::One;
    (table, started)
}

/// The upstream, on the client's cores: what it takes is in no figure.
fn upstream(dir: &Path) -> (std::net::SocketAddr, Process) {
    let address = free_port();
    let program = std::env::current_exe().expect("this program");
    let mut command = Cores::of_client().command(program);
    command.args(["upstream", &address.to_string()]);
    std::fs::create_dir_all(dir).expect("a folder");
    (address, Process::start(command, dir, "upstream"))
}

/// Each server in each round.
fn slices(
    runtime: &tokio::runtime::Runtime,
    plan: &Plan,
    servers: &[Server],
    keys: &mut Keys,
    pace: Pace,
) -> Vec<Slice> {
    let mut slices = Vec::new();
    for round in 0..=pace.rounds {
        for server in in_turn(servers, round) {
            let to = server.target(plan, pace);
            // What lay idle while others ran is warm again.
            let first = pace.requests.div_ceil(10);
            keys.turn = round as u64 * (first + pace.requests);
            runtime.block_on(load::run(to, keys, first));
            keys.turn += first;
            let before = server.running.serving_ns();
            let tally = runtime.block_on(load::run(to, keys, pace.requests));
            let cpu = server.running.serving_ns() - before;
            check(server, plan, &tally);
            // The first round warms up.
            if round > 0 {
                slices.push(Slice {
                    subject: server.subject,
                    round,
                    cpu_us: cpu as f64 / 1000.0 / tally.requests as f64,
                    requests_per_second: tally.requests as f64 / tally.took.as_secs_f64(),
                });
            }
        }
    }
    slices
}

/// Shuffled anew for each round, and in every run alike.
fn in_turn(servers: &[Server], round: usize) -> Vec<&Server> {
    let mut all: Vec<&Server> = servers.iter().collect();
    all.sort_by_cached_key(|server| {
        let mut place = DefaultHasher::new();
        (round, &server.name).hash(&mut place);
        place.finish()
    });
    all
}

fn keys(plan: &Plan, store: &Store) -> Keys {
    let turns = plan.turns.min(store.keys.len());
    // Spread over the store, not its first ones.
    let stride = (store.keys.len() / turns).max(1);
    let known = store.keys.iter().step_by(stride).take(turns);
    Keys {
        turn: 0,
        known: known.cloned().collect::<Vec<_>>().into(),
        unknown: unknown(turns.max(TURNS)).into(),
        unknown_percent: plan.unknown_percent,
    }
}

/// That each case did what it is measured for.
fn check(server: &Server, plan: &Plan, tally: &load::Tally) {
    let name = &server.name;
    assert!(tally.requests > 0, "{name}: no answer at all");
    assert_eq!(tally.other, 0, "{name}: {tally:?}");
    let case = server.subject.case;
    let unknown = match case {
        Case::Open => 0,
        Case::Missing | Case::Unknown => 100,
        _ => plan.unknown_percent,
    };
    match (case.checks(), unknown) {
        (true, 100) => assert_eq!(tally.ok, 0, "{name}: {tally:?}"),
        (true, 1..) => assert!(tally.refused > 0 && tally.ok > 0, "{name}: {tally:?}"),
        _ => assert_eq!(tally.refused, 0, "{name}: {tally:?}"),
    }
}

fn first_answer(
    runtime: &tokio::runtime::Runtime,
    server: &mut Server,
    (plan, pace): (&Plan, Pace),
    keys: &Keys,
) {
    let keys = Keys {
        unknown_percent: 0,
        ..keys.clone()
    };
    let to = Target {
        connections: 1,
        sends: Sends::Keys,
        ..server.target(plan, pace)
    };
    until_open(runtime, &mut server.running, to, &keys, &server.name);
}

/// Until a server lets a key in for the first time.
pub fn until_open(
    runtime: &tokio::runtime::Runtime,
    running: &mut Running,
    to: Target,
    keys: &Keys,
    name: &str,
) {
    let from = Instant::now();
    loop {
        let ended = running.processes.iter_mut().any(Process::has_ended);
        assert!(!ended, "{name} ended; see target/bench/work");
        assert!(from.elapsed() < PATIENCE, "{name}: no 200");
        if std::net::TcpStream::connect(to.address).is_ok() {
            let few = load::run(to, keys, 1);
            if runtime.block_on(few).ok > 0 {
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Keys in the right form that no store issued.
fn unknown(count: usize) -> Vec<String> {
    let (brand, live) = (
        "ks".parse().expect("a name"),
        "live".parse().expect("a name"),
    );
    (0..count)
        .map(|_| {
            let fresh =
                keystile_core::key::generate(&brand, &live, getrandom::fill).expect("a key");
            fresh.text.expose_secret().to_owned()
        })
        .collect()
}
