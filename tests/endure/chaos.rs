//! One fault after the other, while requests and changes go on: whatever happens, nobody is let in
//! who should not be, nothing that was acknowledged is lost, and everything recovers by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keystile_tests::database::Database;
use keystile_tests::door::Door;
use keystile_tests::proxy::{Client, get};
use serde_json::json;

use crate::bed::{Bed, Filter};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::faults::{Fault, Site};
use crate::judge::{Breach, Weather};
use crate::ledger::Held;
use crate::limits::{self, Through};
use crate::load::{Ground, Load, Tally};
use crate::network::Network;
use crate::options::{Options, Where};
use crate::record::Recorder;
use crate::report::{self, Endured, Recovery};
use crate::seed::Dice;
use crate::soak::{LIMIT, keys, settled};
use crate::wire::Api;
use crate::writer::{Writer, lost, proof};

/// What does not recover by then is waited for so long, so that the next fault meets a sound site.
const PATIENCE: Duration = Duration::from_secs(120);
/// After so long, a change counts as unanswered: it may have been made or not.
const UNHEARD: Duration = Duration::from_secs(3);
/// Times of a fault, in seconds.
const SHORTEST: usize = 4;
const LONGEST: usize = 16;

/// Whether all held.
pub fn run(options: &Options) -> bool {
    let seed = options.seed.unwrap_or_else(report::now_ms);
    let mut dice = Dice::new(seed);
    println!("endure: the seed is {seed}");
    let mut network = Network::new();
    let folder = options.folder();
    let database = (options.store == Where::Postgres).then(Database::with_standby);
    let disk = database
        .is_none()
        .then(|| Disk::mount(&folder.join("store")));
    let mut bed = Bed::new(folder, database, network.here());
    let ledger = keys(&bed);
    let (clocks, door) = build(&mut bed, &mut network);
    settled(&bed, &ledger);
    let restarts = bed.edges.iter().map(|_| Vec::new()).collect();
    let mut site = Site {
        network,
        disk,
        clocks,
        door,
        has_failed_over: false,
        restarts,
    };
    let ground = Ground {
        ledger,
        recorder: Arc::new(Recorder::new()),
        weather: Weather::Foul,
    };
    let endured = endure(options, &ground, &bed, &mut site, &mut dice, seed);
    report::chaos(options, &ground, &endured);
    ground.recorder.all_held()
}

/// Servers and Envoys on hosts of their own. Servers reach the database over the network.
fn build(bed: &mut Bed, network: &mut Network) -> (Vec<Option<Clock>>, Option<Door>) {
    let mut clocks = Vec::new();
    let mut serve = |bed: &mut Bed, network: &mut Network, name: &str, filter| {
        let clock = Clock::new(&bed.folder, name);
        let environment = clock.as_ref().map(Clock::environment).unwrap_or_default();
        bed.serve(network.host(name), filter, environment);
        clocks.push(clock);
    };
    let places = bed.database.as_ref().map(|d| vec![d.socket()]);
    let door = places.map(|places| Door::at(network.here(), places));
    bed.reached = bed
        .database
        .as_ref()
        .zip(door.as_ref())
        .map(|(d, door)| d.behind(door));
    serve(bed, network, "server-1", Filter::Wasm);
    bed.follow(network.host("edge-wasm"), Filter::Wasm, 0);
    if bed.database.is_some() {
        serve(bed, network, "server-2", Filter::Module);
        serve(bed, network, "server-3", Filter::Wasm);
        bed.follow(network.host("edge-module"), Filter::Module, 1);
    } else {
        // The one server sends one kind of filter; and nobody pushes without TLS to another host.
        bed.follow(network.host("edge-second"), Filter::Wasm, 0);
    }
    (clocks, door)
}

fn endure(
    options: &Options,
    ground: &Ground,
    bed: &Bed,
    site: &mut Site,
    dice: &mut Dice,
    seed: u64,
) -> Endured {
    let began = Instant::now();
    let each = f64::from(options.rate) / bed.edges.len() as f64;
    let start = |edge: &crate::bed::Edge| Load::start(ground, edge.address, each, dice);
    let loads: Vec<Load> = bed.edges.iter().map(start).collect();
    let apis: Vec<Api> = bed.controls.iter().map(|c| c.api.clone()).collect();
    let impatient = |api: &Api| Api {
        patience: UNHEARD,
        ..api.clone()
    };
    let servers = apis.iter().map(impatient).collect();
    let mut writer = Writer::new(ground, servers, dice.another());
    writer.has_clock = false;
    let stop = AtomicBool::new(false);
    let mut recoveries = Vec::new();
    let changes = thread::scope(|scope| {
        let writing = scope.spawn(|| writer.run(&stop));
        // Programs end with the thread that started them: faults are made here.
        while began.elapsed() < options.length {
            if !round(options, ground, bed, site, dice, &mut recoveries, began) {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        writing.join().unwrap()
    });
    let tallies: Vec<Tally> = loads.into_iter().map(Load::stop).collect();
    let beyond = beyond(&tallies, &site.restarts);
    if beyond > 0.0 {
        let words = format!("{beyond:.1} requests more than {LIMIT}/1s allows");
        ground.recorder.breach(Breach::Beyond, words);
    }
    let missing = lost(ground, &apis[0]);
    let mut all = Tally::default();
    tallies.into_iter().for_each(|tally| all.merge(tally));
    let edges = bed.edges.iter();
    let edges = edges
        .map(|edge| (edge.address, edge.host.name.clone()))
        .collect();
    Endured {
        seed,
        edges,
        lasted: began.elapsed(),
        has_delay: site.network.has_delay,
        has_clocks: site.clocks.iter().all(Option::is_some),
        all,
        beyond,
        changes,
        missing,
        recoveries,
    }
}

/// All faults once and some two at a time, in an order of chance, as long as there is time; whether
/// there were any.
fn round(
    options: &Options,
    ground: &Ground,
    bed: &Bed,
    site: &mut Site,
    dice: &mut Dice,
    recoveries: &mut Vec<Recovery>,
    began: Instant,
) -> bool {
    let blows = blows(options, bed, site, dice);
    for blow in &blows {
        let lasts = Duration::from_secs((SHORTEST + dice.below(LONGEST - SHORTEST)) as u64);
        if began.elapsed() + lasts >= options.length && !recoveries.is_empty() {
            break;
        }
        let name = name(blow, bed);
        ground
            .recorder
            .event(format!("{name} for {} s", lasts.as_secs()));
        blow.iter().for_each(|fault| fault.begin(bed, site));
        // What was broken last is mended first: an Envoy may start while its server is cut off.
        for fault in blow.iter().rev() {
            thread::sleep(lasts / blow.len() as u32);
            fault.end(bed, site);
        }
        let bound = blow.iter().map(Fault::bound).max().unwrap_or_default();
        let took = recover(ground, bed, &name, bound);
        recoveries.push(Recovery {
            fault: name,
            lasted: lasts,
            took,
        });
    }
    !blows.is_empty()
}

/// What is broken at the same time.
type Blow = Vec<Fault>;

/// Those that were asked for; otherwise every fault, and half as many pairs.
fn blows(options: &Options, bed: &Bed, site: &Site, dice: &mut Dice) -> Vec<Blow> {
    let all = Fault::all(bed, site);
    let mut blows: Vec<Blow> = all.iter().map(|fault| vec![*fault]).collect();
    if options.faults.is_empty() {
        for _ in 0..all.len() / 2 {
            blows.push(vec![*dice.pick(&all), *dice.pick(&all)]);
        }
    } else {
        let named = |words: &str| all.iter().copied().find(|fault| fault.name(bed) == words);
        let asked = options.faults.iter();
        blows = asked
            .map(|words| words.split('+').filter_map(named).collect())
            .collect();
        blows.retain(|blow| !blow.is_empty());
    }
    dice.shuffle(&mut blows);
    blows
}

fn name(blow: &[Fault], bed: &Bed) -> String {
    let names: Vec<String> = blow.iter().map(|fault| fault.name(bed)).collect();
    names.join("+")
}

/// Until everything works again; how long that took.
fn recover(ground: &Ground, bed: &Bed, fault: &str, bound: Duration) -> Duration {
    let began = Instant::now();
    let mut said = None;
    while let Err(words) = works(ground, bed) {
        if began.elapsed() > bound && said.is_none() {
            ground
                .recorder
                .breach(Breach::Slow, format!("{fault}: {words}"));
            said = Some(());
        }
        assert!(began.elapsed() < PATIENCE, "{fault}: no recovery: {words}");
        thread::sleep(Duration::from_millis(100));
    }
    let took = began.elapsed();
    let words = format!("{fault} was recovered from in {:.1} s", took.as_secs_f64());
    ground.recorder.event(words);
    took
}

/// Whether good keys are let in everywhere, and every server takes a change that every Envoy proves.
fn works(ground: &Ground, bed: &Bed) -> Result<(), String> {
    for edge in &bed.edges {
        for held in ground.ledger.steady.iter().take(4) {
            let status = ask(edge.address, held)?;
            if status != 200 {
                return Err(format!("{}: {status}", edge.host.name));
            }
        }
    }
    for control in &bed.controls {
        let name = &control.host.name;
        let mut api = control.api.clone();
        api.patience = Duration::from_secs(6);
        let id = &ground.ledger.steady[0].id;
        let body = json!({"labels": {"sound": report::now_ms().to_string()}});
        match api.call("PATCH", &format!("/v1/keys/{id}"), &body) {
            Ok((200, _)) => {}
            other => return Err(format!("{name}: {other:?}")),
        }
        proof(&api, Duration::from_secs(5)).map_err(|words| format!("{name}: {words}"))?;
    }
    Ok(())
}

fn ask(address: std::net::SocketAddr, held: &Held) -> Result<u16, String> {
    let told = |error: std::io::Error| format!("{address}: {error}");
    let mut client = Client::within(address, Duration::from_secs(2)).map_err(told)?;
    let answer = client.try_send(&get("/v1/sound").bearer(&held.key));
    answer.map(|answer| answer.status).map_err(told)
}

/// Each start of an Envoy begins with full buckets.
fn beyond(tallies: &[Tally], restarts: &[Vec<Instant>]) -> f64 {
    let (burst, a_second) = (f64::from(LIMIT), f64::from(LIMIT));
    let mut most: f64 = 0.0;
    for (tally, restarts) in tallies.iter().zip(restarts) {
        let mut rest = tally.through.clone();
        for restart in restarts {
            let (before, after): (Vec<Through>, Vec<Through>) =
                rest.into_iter().partition(|t| t.done < *restart);
            most = most.max(limits::beyond(&before, burst, a_second));
            rest = after;
        }
        most = most.max(limits::beyond(&rest, burst, a_second));
    }
    most
}
