//! Keystile beside its peers, in one interleaved run: CPU for each request, memory, time to
//! the first 200, time to revoke.
//!
//!     scripts/bench             everything; an hour or so
//!     scripts/bench --short     that it works, not how fast
//!
//! CPU is that of all processes of a server, from /proc, not time on the wall: the client
//! and whatever else the machine does are not in it. Every round takes each case in turn,
//! Envoy without a filter first and last, and differences and ratios are made within a
//! round. Writes Markdown, JSON and charts to `target/bench/`.
#![cfg_attr(target_family = "wasm", no_main)]
#![cfg(not(target_family = "wasm"))]

mod authz;
mod cases;
mod chart;
mod figures;
mod load;
mod process;
mod store;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cases::{Case, Running};
use clap::Parser;
use figures::{Slice, Table};
use load::{Http, Keys};
use serde_json::json;
use store::Store;

/// How long a server may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(120);
/// Keys that take turns.
const TURNS: usize = 1000;
const CONNECTIONS: u64 = 8;

#[derive(Parser)]
struct Settings {
    /// A small run that shows that everything works
    #[arg(long)]
    short: bool,
    /// Numbers of keys
    #[arg(long, value_delimiter = ',')]
    keys: Option<Vec<usize>>,
    /// Rounds of each table
    #[arg(long)]
    rounds: Option<usize>,
    /// Milliseconds of each case in a round
    #[arg(long)]
    slice: Option<u64>,
    /// Only tables whose title holds this
    #[arg(long)]
    only: Option<String>,
    /// Given by Cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// One table to be.
struct Plan {
    keys: usize,
    workers: usize,
    http: Http,
    unknown_percent: u64,
    /// Over all keys rather than [`TURNS`].
    all_keys: bool,
    cases: Vec<Case>,
}

impl Plan {
    fn title(&self) -> String {
        let keys = match self.keys {
            n if n >= 1_000_000 => format!("{} M", n / 1_000_000),
            n if n >= 1000 => format!("{} k", n / 1000),
            n => n.to_string(),
        };
        format!(
            "{keys} keys, {} worker{}, HTTP/{}, {} % unknown{}",
            self.workers,
            if self.workers == 1 { "" } else { "s" },
            if self.http == Http::One { "1.1" } else { "2" },
            self.unknown_percent,
            if self.all_keys {
                ", all keys in turn"
            } else {
                ""
            },
        )
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if let [_, verb, address, file] = arguments.as_slice()
        && verb == "authz"
    {
        let address = address.parse().expect("an address");
        return runtime.block_on(authz::serve(address, file));
    }
    let settings = Settings::parse();
    let here = std::env::current_dir().expect("a folder to be in");
    let out = here.join("target/bench");
    let work = out.join("work");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).expect("target/bench");

    let (rounds, slice) = match settings.short {
        true => (2, 150),
        false => (15, 1000),
    };
    let rounds = settings.rounds.unwrap_or(rounds);
    let slice = Duration::from_millis(settings.slice.unwrap_or(slice));
    let mut tables = Vec::new();
    let mut starts = Vec::new();
    let plans = plans(&settings);
    let mut sizes: Vec<usize> = plans.iter().map(|p| p.keys).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        println!("making {size} keys");
        let store = Store::with(size, &work.join(format!("store-{size}")));
        for (n, plan) in plans.iter().filter(|p| p.keys == size).enumerate() {
            println!("\n{}", plan.title());
            let dir = work.join(format!("{size}-{n}"));
            let (table, started) = measure(&runtime, plan, &store, &dir, rounds, slice);
            println!("{}", table.markdown());
            chart::draw(&table, &out.join(format!("cpu-{}-{n}.svg", size))).expect("a chart");
            tables.push(table);
            starts.extend(started);
            let _ = fs::remove_dir_all(&dir);
        }
    }
    let report = report(&tables, &starts);
    fs::write(out.join("bench.md"), &report).expect("target/bench/bench.md");
    let all = json!({"tables": tables, "starts": starts, "machine": machine()});
    fs::write(out.join("bench.json"), format!("{all:#}\n")).expect("target/bench/bench.json");
    let _ = fs::remove_dir_all(&work);
    println!("written to target/bench/: bench.md, bench.json, and a chart for each table");
}

fn plans(settings: &Settings) -> Vec<Plan> {
    let default = match settings.short {
        true => vec![10, 1000],
        false => vec![10, 100_000, 1_000_000],
    };
    let sizes = settings.keys.clone().unwrap_or(default);
    let some = vec![
        Case::Floor,
        Case::Empty,
        Case::Identity,
        Case::OneLimit,
        Case::Native,
        Case::NativeLimit,
        Case::Lua,
        Case::Authz,
        Case::Nginx,
        Case::Haproxy,
        Case::FloorAgain,
    ];
    let main = |keys: usize| Plan {
        keys,
        workers: 1,
        http: Http::One,
        unknown_percent: 0,
        all_keys: false,
        cases: match keys < 1_000_000 {
            true => Case::ALL.to_vec(),
            false => some.clone(),
        },
    };
    let mut all: Vec<Plan> = sizes.iter().map(|n| main(*n)).collect();
    // The middle size shows what else there is.
    if let Some(&middle) = sizes.get(sizes.len() / 2) {
        let varied = || Plan {
            cases: some.clone(),
            ..main(middle)
        };
        for unknown_percent in [10, 100] {
            all.push(Plan {
                unknown_percent,
                ..varied()
            });
        }
        all.push(Plan {
            all_keys: true,
            ..varied()
        });
        all.push(Plan {
            workers: 2,
            ..varied()
        });
        let two = some.iter().copied();
        all.push(Plan {
            http: Http::Two,
            cases: two
                .filter(|c| !matches!(c, Case::Nginx | Case::Haproxy))
                .collect(),
            ..varied()
        });
    }
    if let Some(only) = &settings.only {
        all.retain(|p| p.title().contains(only.as_str()));
    }
    all
}

/// How a case started, and what it holds.
#[derive(serde::Serialize)]
struct Started {
    keys: usize,
    workers: usize,
    case: &'static str,
    first_200_ms: f64,
    resident_mb: f64,
    /// Over Envoy without a filter, for each key and thread that holds them; 0 where that
    /// says nothing.
    bytes_per_key: f64,
}

fn measure(
    runtime: &tokio::runtime::Runtime,
    plan: &Plan,
    store: &Store,
    dir: &Path,
    rounds: usize,
    slice: Duration,
) -> (Table, Vec<Started>) {
    let turns = match plan.all_keys {
        true => store.keys.len(),
        false => TURNS.min(store.keys.len()),
    };
    // Spread over the store, not its first ones.
    let stride = store.keys.len() / turns;
    let known = store.keys.iter().step_by(stride.max(1)).take(turns);
    let keys = Keys {
        known: known.cloned().collect::<Vec<_>>().into(),
        unknown: unknown(turns.max(TURNS)).into(),
        unknown_percent: plan.unknown_percent,
    };
    let one = Keys {
        unknown_percent: 0,
        ..keys.clone()
    };
    let mut running = Vec::new();
    let mut started = Vec::new();
    for case in &plan.cases {
        let from = Instant::now();
        let Some(mut server) = cases::start(*case, store, plan.workers, dir) else {
            println!("{}: not installed, left out", case.name());
            continue;
        };
        // What the companion does before the server starts is not in it.
        let launched = server.launched.max(from);
        first_answer(runtime, &mut server, plan.http, &one);
        let first_200_ms = launched.elapsed().as_secs_f64() * 1000.0;
        started.push(Started {
            keys: plan.keys,
            workers: plan.workers,
            case: case.name(),
            first_200_ms,
            resident_mb: 0.0,
            bytes_per_key: 0.0,
        });
        running.push(server);
    }
    let mut slices = Vec::new();
    for round in 0..=rounds {
        for server in &running {
            let before = server.cpu_ns();
            let tally = runtime.block_on(load::run(
                server.address,
                plan.http,
                &keys,
                CONNECTIONS,
                slice,
            ));
            let cpu = server.cpu_ns() - before;
            check(server.case, plan, &tally);
            // The first round warms up.
            if round > 0 {
                slices.push(Slice {
                    case: server.case,
                    round,
                    cpu_us: cpu as f64 / 1000.0 / tally.requests as f64,
                    requests_per_second: tally.requests as f64 / tally.took.as_secs_f64(),
                });
            }
        }
    }
    let floor = running.iter().find(|s| s.case == Case::Floor);
    let floor = floor.map_or(0, Running::resident);
    for (start, server) in started.iter_mut().zip(&running) {
        let resident = server.resident();
        start.resident_mb = resident as f64 / 1e6;
        // Too few keys say nothing beside what the program itself takes.
        if plan.keys >= 10_000 && server.case.checks() {
            start.bytes_per_key = resident.saturating_sub(floor) as f64 / plan.keys as f64;
        }
    }
    (Table::of(plan.title(), &slices), started)
}

/// That each case did what it is measured for.
fn check(case: Case, plan: &Plan, tally: &load::Tally) {
    assert!(tally.requests > 0, "{}: no answer at all", case.name());
    assert_eq!(tally.other, 0, "{}: {tally:?}", case.name());
    match (case.checks(), plan.unknown_percent) {
        (true, 100) => assert_eq!(tally.ok, 0, "{}: {tally:?}", case.name()),
        (true, 1..) => assert!(
            tally.refused > 0 && tally.ok > 0,
            "{}: {tally:?}",
            case.name()
        ),
        _ => assert_eq!(tally.refused, 0, "{}: {tally:?}", case.name()),
    }
}

fn first_answer(runtime: &tokio::runtime::Runtime, server: &mut Running, http: Http, keys: &Keys) {
    let from = Instant::now();
    loop {
        let ended = server.processes.iter_mut().any(process::Process::has_ended);
        assert!(
            !ended,
            "{} ended; see target/bench/work",
            server.case.name()
        );
        assert!(from.elapsed() < PATIENCE, "{}: no 200", server.case.name());
        if std::net::TcpStream::connect(server.address).is_ok() {
            let few = load::run(server.address, http, keys, 1, Duration::from_millis(1));
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
            let fresh = keystile::key::generate(&brand, &live, getrandom::fill).expect("a key");
            fresh.text.expose_secret().to_owned()
        })
        .collect()
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split(':').nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores", model.unwrap_or("?").trim())
}

fn report(tables: &[Table], starts: &[Started]) -> String {
    let version = std::env::var("KEYSTILE_ENVOY_VERSION").unwrap_or_else(|_| "1.40.0".into());
    let mut text = format!(
        "# Keystile beside its peers\n\n{}; Envoy {version}; {} UTC. CPU is that of all processes of the server, from /proc; every case answers 200 itself; {CONNECTIONS} connections, {TURNS} keys in turn.\n\n",
        machine(),
        jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M"),
    );
    for table in tables {
        text.push_str(&table.markdown());
    }
    text.push_str("### Start and memory\n\n| keys | workers | case | first 200, ms | resident, MB | bytes a key, all threads |\n| --: | --: | --- | --: | --: | --: |\n");
    for s in starts {
        let bytes = match s.bytes_per_key {
            b if b > 0.0 => format!("{b:.0}"),
            _ => String::new(),
        };
        text.push_str(&format!(
            "| {} | {} | {} | {:.0} | {:.0} | {bytes} |\n",
            s.keys, s.workers, s.case, s.first_200_ms, s.resident_mb
        ));
    }
    text
}
