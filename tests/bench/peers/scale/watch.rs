//! An Envoy watched through a push: what each thread did, and when the keys were in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cases::Running;
use crate::process::Process;
use crate::tables::PATIENCE;

/// What the filter wrote in Envoy's log when a VM had loaded something.
#[derive(Clone, Copy)]
pub struct Load {
    /// Seconds since the epoch.
    pub at: f64,
    pub thread: u32,
    /// How long the thread stood still for it.
    pub ms: f64,
    /// The VM's linear memory afterwards, which never shrinks.
    pub memory_kib: f64,
}

/// What one push did.
pub struct Pushed {
    /// Until the last worker had it, from the moment that the file was there.
    pub in_force_ms: f64,
    /// What the filter measured on each worker.
    pub worker_load_ms: Vec<f64>,
    /// CPU of each worker for all of it.
    pub worker_cpu_ms: Vec<f64>,
    /// CPU of the main thread for all of it.
    pub main_cpu_ms: f64,
    /// Of it, what the filter measured: in the canary, and in the VM of the main thread.
    pub main_load_ms: f64,
}

/// Every load so far.
pub fn loads(envoy: &Process) -> Vec<Load> {
    envoy.log().lines().filter_map(load).collect()
}

fn load(line: &str) -> Option<Load> {
    let number_after = |text: &str| {
        let rest = line.split_once(text)?.1;
        rest.split(' ').next()?.parse::<f64>().ok()
    };
    let mut words = line.split(' ');
    Some(Load {
        at: words.next()?.parse().ok()?,
        thread: words.next()?.parse().ok()?,
        ms: number_after("loaded in ")? / 1000.0,
        memory_kib: number_after("linear memory ")?,
    })
}

/// The threads that serve.
fn workers(envoy: &Process) -> BTreeSet<u32> {
    let all = envoy.threads().into_iter();
    all.filter(|(_, t)| t.name.starts_with("wrk:worker"))
        .map(|(id, _)| id)
        .collect()
}

/// Waits until every worker wrote of a load, beyond the first `before`.
pub fn until_loaded(running: &Running, before: usize) -> Vec<Load> {
    let envoy = &running.processes[0];
    let from = Instant::now();
    loop {
        let all = loads(envoy).split_off(before);
        let have: BTreeSet<u32> = all.iter().map(|l| l.thread).collect();
        let workers = workers(envoy);
        if !workers.is_empty() && workers.is_subset(&have) {
            return all;
        }
        assert!(from.elapsed() < PATIENCE, "not loaded:\n{}", envoy.log());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until no thread has anything to do: what went before is cleared away, too.
pub fn until_idle(envoy: &Process) {
    const QUIET: Duration = Duration::from_millis(40);
    let from = Instant::now();
    let mut before = envoy.cpu_ns();
    let mut quiet = 0;
    while quiet < 3 {
        std::thread::sleep(QUIET);
        let now = envoy.cpu_ns();
        quiet = match now - before < 1_000_000 {
            true => quiet + 1,
            false => 0,
        };
        before = now;
        assert!(from.elapsed() < PATIENCE, "never idle");
    }
}

/// Written beside and renamed, which is what Envoy notices; when it was renamed.
pub fn put(file: &Path, content: &[u8]) -> Instant {
    let beside = file.with_extension("new");
    fs::write(&beside, content).expect("the push");
    let now = Instant::now();
    fs::rename(&beside, file).expect("the push");
    now
}

/// An instant as Envoy's log tells the time: seconds since the epoch.
fn wall(at: Instant) -> f64 {
    let now = SystemTime::now() - at.elapsed();
    now.duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_secs_f64()
}

/// Pushes, and watches.
pub fn push(running: &Running, file: &Path, content: &[u8]) -> Pushed {
    let envoy = &running.processes[0];
    until_idle(envoy);
    let already = loads(envoy).len();
    let cpu = |threads: BTreeMap<u32, _>| -> BTreeMap<u32, f64> {
        let ms = |t: crate::process::Thread| t.cpu_ns as f64 / 1e6;
        threads.into_iter().map(|(id, t)| (id, ms(t))).collect()
    };
    let before = cpu(envoy.threads());
    let from = wall(put(file, content));
    until_loaded(running, already);
    until_idle(envoy);
    let after = cpu(envoy.threads());
    let loads = loads(envoy).split_off(already);
    let main = envoy.main_thread();
    let (of_main, of_workers): (Vec<Load>, Vec<Load>) =
        loads.into_iter().partition(|l| l.thread == main);
    let used = |id: u32| after.get(&id).unwrap_or(&0.0) - before.get(&id).unwrap_or(&0.0);
    let last = of_workers.iter().map(|l| l.at).fold(from, f64::max);
    Pushed {
        in_force_ms: (last - from) * 1000.0,
        worker_load_ms: of_workers.iter().map(|l| l.ms).collect(),
        worker_cpu_ms: workers(envoy).into_iter().map(used).collect(),
        main_cpu_ms: used(main),
        main_load_ms: of_main.iter().map(|l| l.ms).sum(),
    }
}
