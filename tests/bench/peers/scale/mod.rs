//! What grows with the number of keys: the companion's work, loading, memory, pushes,
//! revocation, buckets.
//!
//! All of it on whatever cores there are, as in operation.

mod buckets;
mod keys;
mod loading;
mod revoke;
mod starts;
mod watch;

use std::path::Path;
use std::time::Instant;

use tokio::runtime::Runtime;

use super::Settings;
use super::cases::Running;
use super::load::{Http, Keys, Sends, Target};
use super::plans::counted;
use super::process;
use super::report::Report;
use super::sheet::{Figure, Sheet};
use super::store::Store;
use super::targets;

/// The filter as `scripts/build` made it.
const WASM: &str = "target/dist/keystile.wasm";
/// More keys than the companion is measured with: it takes minutes to issue them.
const MOST_ISSUED: usize = 1_000_000;
/// What targets are held against.
const MILLION: usize = 1_000_000;

pub fn measure(runtime: &Runtime, settings: &Settings, work: &Path, report: &mut Report) {
    let default = match settings.short {
        true => vec![2000],
        false => vec![100_000, 1_000_000, 3_000_000],
    };
    let sizes = settings.scale_keys.clone().unwrap_or(default);
    let times = if settings.short { 2 } else { 5 };
    // The companion first: the server that it becomes has the same keys.
    let issued: Vec<usize> = sizes
        .iter()
        .copied()
        .filter(|n| *n <= MOST_ISSUED)
        .collect();
    let wanted = |part: &str| {
        let only = settings.only.as_deref();
        only.is_none_or(|only| part.contains(only))
    };
    let mut stores: Vec<Store> = Vec::new();
    if wanted("companion") {
        report.attempt("the companion", |report| {
            stores = companion(&issued, times, work, report);
        });
    }
    if wanted("start and memory") {
        report.attempt("start and memory", |report| {
            starts::starts(runtime, &settings.shell, (&sizes, times), work, report);
        });
    }
    if wanted("pushes") {
        report.attempt("pushes", |report| {
            loading::pushes(&sizes, times, work, report);
        });
    }
    if wanted("revocation") {
        report.attempt("revocation", |report| {
            revoke::measure(&sizes, &stores, times, work, report);
        });
    }
    drop(stores);
    if wanted("buckets") {
        report.attempt("buckets", |report| {
            buckets::measure(runtime, &issued, work, report);
        });
    }
}

fn companion(sizes: &[usize], times: usize, work: &Path, report: &mut Report) -> Vec<Store> {
    let mut sheet = Sheet::new(
        "Version of keystilectl",
        "Whole processes: the store is opened, and what is made is written. Seconds on the wall, and of CPU.",
        &[
            "keys",
            "issued, s",
            "keyset built, s",
            "pushed to a file, s",
            "CPU of a push, s",
            "file, MB",
        ],
    );
    let mut stores = Vec::new();
    for &size in sizes {
        let dir = work.join(format!("scale-store-{size}"));
        let store = Store::with(size, &dir);
        let timed = |f: &dyn Fn()| {
            let from = Instant::now();
            f();
            from.elapsed().as_secs_f64()
        };
        let json = dir.join("keyset.json").display().to_string();
        let file = dir.join("ecds.pb");
        let built =
            (0..times).map(|_| timed(&|| drop(store.run(&["keyset", "build", "--out", &json]))));
        let built: Vec<f64> = built.collect();
        let mut cpu = Vec::new();
        let pushed = (0..times).map(|_| {
            let before = process::cpu_of_ended();
            let wall = timed(&|| store.push_again(&file));
            cpu.push(process::cpu_of_ended() - before);
            wall
        });
        let pushed: Vec<f64> = pushed.collect();
        let (built, pushed) = (Figure::of(built), Figure::of(pushed));
        if size == MILLION {
            let seconds = pushed.middle().unwrap_or(f64::NAN);
            report.target(targets::Target::new(
                "a keyset of 1 M keys built, s",
                3.0,
                seconds,
            ));
        }
        let issued = Figure::One(store.issued_in.as_secs_f64());
        let mb = file.metadata().map_or(0.0, |m| m.len() as f64 / 1e6);
        let figures = vec![issued, built, pushed, Figure::of(cpu), Figure::One(mb)];
        sheet.row(counted(size), figures);
        stores.push(store);
    }
    report.sheet(sheet);
    stores
}

/// Each of these keys, none unknown.
fn one_each(texts: &[String]) -> Keys {
    Keys {
        turn: 0,
        known: texts.to_vec().into(),
        unknown: Vec::new().into(),
        unknown_percent: 0,
    }
}

fn target(running: &Running, connections: u64) -> Target {
    Target {
        address: running.address,
        path: keys::PATH,
        sends: Sends::Keys,
        http: Http::One,
        connections,
    }
}
