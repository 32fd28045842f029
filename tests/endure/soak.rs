//! A steady mix of requests and a change each second, for long: nothing grows, nothing is lost,
//! nothing is decided by what is known to be old.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keystile_tests::database::Database;
use keystile_tests::proxy::Companion;

use crate::bed::{Bed, Filter};
use crate::judge::{Breach, Weather};
use crate::ledger::{Held, Ledger};
use crate::load::{Ground, Load, Tally};
use crate::memory::{self, Growth, Memory, Watched};
use crate::options::{Options, Where};
use crate::program::Host;
use crate::record::Recorder;
use crate::report::{self, Soaked};
use crate::seed::Dice;
use crate::usage;
use crate::writer::{Writer, lost, proof};
use crate::{console, limits};

/// Keys that are good from beginning to end.
const STEADY: usize = 40;
/// The limit of the key that has one, on each Envoy: what its bucket holds, and gets in a second.
pub const LIMIT: u32 = 4;

/// Whether all held.
pub fn run(options: &Options) -> bool {
    memory::can_fail();
    let seed = options.seed.unwrap_or_else(report::now_ms);
    let mut dice = Dice::new(seed);
    println!("endure: the seed is {seed}");
    let database = (options.store == Where::Postgres).then(Database::start);
    let mut bed = Bed::new(options.folder(), database, Ipv4Addr::LOCALHOST);
    let ledger = keys(&bed);
    bed.serve(Host::here("server-1"), Filter::Wasm, Vec::new());
    bed.follow(Host::here("edge-wasm"), Filter::Wasm, 0);
    if options.store == Where::Postgres {
        bed.serve(Host::here("server-2"), Filter::Module, Vec::new());
        bed.follow(Host::here("edge-module"), Filter::Module, 1);
    } else {
        // A server sends its Envoys one kind of filter, and a file has one server.
        bed.watch(Host::here("edge-module"), Filter::Module);
    }
    settled(&bed, &ledger);
    let ground = Ground {
        ledger,
        recorder: Arc::new(Recorder::new()),
        weather: Weather::Fair,
    };
    let soaked = soak(options, &ground, Arc::new(bed), &mut dice, seed);
    report::soak(options, &ground, &soaked);
    ground.recorder.all_held()
}

/// Keys of four clients, made in the store itself.
pub fn keys(bed: &Bed) -> Arc<Ledger> {
    let issue = |arguments: &[&str]| {
        let (key, id) = bed.companion.issue(arguments);
        Held::new(&key, &id)
    };
    for n in 0..4 {
        bed.companion.run(&["client", "create", &format!("c{n}")]);
    }
    let client = |n: usize| format!("c{}", n % 4);
    let steady = (0..STEADY).map(|n| issue(&[&client(n), "--scope", "read"]));
    let steady = steady.collect();
    let limit = format!("{LIMIT}/1s");
    let limited = issue(&["c0", "--scope", "read", "--limit", &limit]);
    let other = bed.folder.join("other");
    std::fs::create_dir_all(&other).unwrap();
    let other = Companion::init(&other, crate::bed::POLICY);
    other.run(&["client", "create", "stranger"]);
    let (stranger, _) = other.issue(&["stranger", "--scope", "read"]);
    Arc::new(Ledger::new(steady, limited, stranger))
}

/// From here on, every key that there is has to be let in.
pub fn settled(bed: &Bed, ledger: &Ledger) {
    let began = Instant::now();
    while let Err(words) = proof(&bed.controls[0].api, Duration::from_secs(10)) {
        assert!(began.elapsed() < Duration::from_secs(60), "{words}");
    }
    for held in ledger.all() {
        let _ = held.open.set(Instant::now());
    }
}

fn soak(options: &Options, ground: &Ground, bed: Arc<Bed>, dice: &mut Dice, seed: u64) -> Soaked {
    let memory = Memory::watch(ground.recorder.began, watched(&bed));
    let began = Instant::now();
    let each = f64::from(options.rate) / bed.edges.len() as f64;
    let loads: Vec<Load> = bed
        .edges
        .iter()
        .map(|edge| Load::start(ground, edge.address, each, dice))
        .collect();
    let apis: Vec<_> = bed.controls.iter().map(|c| c.api.clone()).collect();
    let mut writer = Writer::new(ground, apis.clone(), dice.another());
    let pushed = Arc::clone(&bed);
    let recorder = Arc::clone(&ground.recorder);
    writer.push = Arc::new(move || {
        if let Err(words) = pushed.push() {
            recorder.breach(Breach::Failed, format!("push: {words}"));
        }
    });
    let stop = AtomicBool::new(false);
    let (changes, pages) = thread::scope(|scope| {
        let writing = scope.spawn(|| writer.run(&stop));
        let reading = scope.spawn(|| console::read(ground, &apis[0], &stop));
        while began.elapsed() < options.length {
            thread::sleep(Duration::from_millis(100));
        }
        stop.store(true, Ordering::Relaxed);
        (writing.join().unwrap(), reading.join().unwrap())
    });
    let tallies: Vec<Tally> = loads.into_iter().map(Load::stop).collect();
    let lasted = began.elapsed();
    let courses = memory.stop();
    let beyond = tallies
        .iter()
        .map(|t| limits::beyond(&t.through, f64::from(LIMIT), f64::from(LIMIT)))
        .fold(0.0, f64::max);
    if beyond > 0.0 {
        let words = format!("{beyond:.1} requests more than {LIMIT}/1s allows");
        ground.recorder.breach(Breach::Beyond, words);
    }
    let mut all = Tally::default();
    tallies.into_iter().for_each(|tally| all.merge(tally));
    let compared = usage::compare(ground, &apis[0], &bed.edges, &all.outcomes);
    let missing = lost(ground, &apis[0]);
    for (name, course) in &courses {
        if Growth::of_course(course).is_some_and(|g| g.is_growing()) {
            ground.recorder.breach(Breach::Grew, name.clone());
        }
    }
    Soaked {
        seed,
        lasted,
        all,
        beyond,
        changes,
        pages,
        compared,
        missing,
        courses,
    }
}

/// Every process but this one.
fn watched(bed: &Arc<Bed>) -> Vec<Watched> {
    let mut all: Vec<Watched> = Vec::new();
    for (n, control) in bed.controls.iter().enumerate() {
        let bed = Arc::clone(bed);
        let pid = move || bed.controls[n].program.pid();
        all.push((control.program.name.clone(), Box::new(pid)));
    }
    for (n, edge) in bed.edges.iter().enumerate() {
        let bed = Arc::clone(bed);
        let pid = move || bed.edges[n].program.pid();
        all.push((edge.program.name.clone(), Box::new(pid)));
    }
    if let Some(database) = &bed.database {
        let pid = database.pid();
        all.push(("postgres".to_owned(), Box::new(move || Some(pid))));
    }
    all
}
