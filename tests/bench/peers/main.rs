//! Keystile beside its peers, in one interleaved run: CPU for each request, memory, time to
//! the first 200; and what grows with the number of keys: loading, pushes, revocation,
//! buckets, the store.
//!
//!     scripts/bench             everything; two hours or so
//!     scripts/bench --short     that it works, not how fast
//!
//! CPU is that of the threads that serve requests (Envoy's workers; of another program all),
//! from /proc, not time on the wall: the client and whatever else the machine does are not in
//! it. Where there are cores enough, servers and client keep to cores of their own. Every round
//! sends each case the same requests, the cases shuffled, Envoy without a filter twice among
//! them, and differences and ratios are made within a round. Writes Markdown, JSON and charts to `target/bench/`.
#![cfg_attr(target_family = "wasm", no_main)]
#![cfg(not(target_family = "wasm"))]

mod authz;
mod builds;
mod cases;
mod chart;
mod companion;
mod envoy;
mod figures;
mod load;
mod machine;
mod plans;
mod policies;
mod process;
mod proxies;
mod report;
mod scale;
mod sheet;
mod store;
mod tables;
mod targets;
mod upstream;

use std::fs;
use std::path::Path;

use builds::{Builds, Shell};
use cases::Case;
use clap::{Parser, ValueEnum};
use keystile_tests::{fixture, proxy as support};
use machine::Cores;
use report::Report;
use store::Store;
use tables::{CONNECTIONS, Pace};

#[derive(Parser)]
struct Settings {
    /// A small run that shows that everything works
    #[arg(long)]
    short: bool,
    /// What to measure
    #[arg(
        long,
        value_delimiter = ',',
        value_enum,
        default_value = "tables,scale,store"
    )]
    sections: Vec<Section>,
    /// Numbers of keys of the tables, and of the section on the store
    #[arg(long, value_delimiter = ',')]
    keys: Option<Vec<usize>>,
    /// Numbers of keys of the section on scale
    #[arg(long, value_delimiter = ',')]
    scale_keys: Option<Vec<usize>>,
    /// Rounds of each table
    #[arg(long)]
    rounds: Option<usize>,
    /// Requests of each case in a round
    #[arg(long)]
    requests: Option<u64>,
    /// Connections that requests take turns on: with many, each time that a worker wakes it has
    /// much to do, which is steadier on a busy machine
    #[arg(long)]
    connections: Option<u64>,
    /// Numbers of keys in turn, a table for each
    #[arg(long, value_delimiter = ',')]
    turns: Option<Vec<usize>>,
    /// Only tables whose title holds this, and of the section on scale the parts: companion,
    /// start and memory, pushes, revocation, buckets
    #[arg(long)]
    only: Option<String>,
    /// Only these cases, by their short names, beside Envoy without a filter
    #[arg(long, value_delimiter = ',', value_parser = Case::named)]
    cases: Option<Vec<Case>>,
    /// What our code runs in
    #[arg(long, value_delimiter = ',', value_enum, default_value = "wasm,module")]
    shell: Vec<Shell>,
    /// Where requests go that are let in
    #[arg(long, value_delimiter = ',', value_enum, default_value = "real,direct")]
    upstream: Vec<Upstream>,
    /// Another build of the filter, .wasm or lib*.so, to measure beside the one here; can be
    /// repeated
    #[arg(long, value_name = "LABEL=FILE")]
    wasm: Vec<String>,
    /// Given by Cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// CPU for each request, beside the peers
    Tables,
    /// What grows with the number of keys
    Scale,
    /// What the companion does with all keys, and answers about them
    Store,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Upstream {
    /// To a server of its own
    Real,
    /// Nowhere: the proxy answers
    Direct,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // Cargo begins in the package's folder; what is built lies below the project's.
    std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).expect("the project");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    // Servers that are measured with: this program again.
    match arguments.as_slice() {
        [_, verb, address, file] if verb == "authz" => {
            let address = address.parse().expect("an address");
            return runtime.block_on(authz::serve(address, file));
        }
        [_, verb, address] if verb == "upstream" => {
            let address = address.parse().expect("an address");
            return runtime.block_on(upstream::serve(address));
        }
        _ => {}
    }
    let settings = Settings::parse();
    let builds = Builds::with(&settings.shell, &settings.wasm).unwrap_or_else(|error| {
        eprintln!("bench: {error}");
        std::process::exit(2)
    });
    let here = std::env::current_dir().expect("a folder to be in");
    let out = here.join("target/bench");
    let work = out.join("work");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).expect("target/bench");

    let mut report = Report::new(&out, settings.short);
    if settings.sections.contains(&Section::Tables) {
        tables(&runtime, &settings, &builds, &work, &mut report);
    }
    if settings.sections.contains(&Section::Scale) {
        Cores::all().keep_to();
        scale::measure(&runtime, &settings, &work, &mut report);
    }
    if settings.sections.contains(&Section::Store) {
        Cores::all().keep_to();
        companion::measure(&settings, &mut report);
    }
    let _ = fs::remove_dir_all(&work);
    println!("{}", report.targets());
    println!("written to target/bench/: bench.md, bench.json, and charts");
    if settings.short {
        report.check();
    }
    if report.failed() {
        std::process::exit(1);
    }
}

fn tables(
    runtime: &tokio::runtime::Runtime,
    settings: &Settings,
    builds: &Builds,
    work: &Path,
    report: &mut Report,
) {
    let (rounds, requests) = match settings.short {
        true => (2, 500),
        false => (60, 4000),
    };
    let pace = Pace {
        rounds: settings.rounds.unwrap_or(rounds),
        requests: settings.requests.unwrap_or(requests),
        connections: settings.connections.unwrap_or(CONNECTIONS),
    };
    let plans = plans::plans(settings);
    let mut sizes: Vec<usize> = plans.iter().map(|p| p.keys).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        println!("making {size} keys");
        let store = Store::with(size, &work.join(format!("store-{size}")));
        Cores::of_client().keep_to();
        for (n, plan) in plans.iter().filter(|p| p.keys == size).enumerate() {
            println!("\n{}", plan.title());
            let dir = work.join(format!("{size}-{n}"));
            let (table, started) = tables::measure(runtime, plan, builds, &store, &dir, pace);
            println!("{}", table.markdown());
            report.table(table, started, &format!("cpu-{size}-{n}"));
            let _ = fs::remove_dir_all(&dir);
        }
    }
}
