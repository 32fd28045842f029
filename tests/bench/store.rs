//! The store and the companion at a million keys and ten million audit records: what issue,
//! list, rotation of all, a key's history and the audit's proof cost, and what they weigh.
//!
//!     cargo bench --profile release --bench store [-- --keys 1000000 --audit 10000000]
#![cfg_attr(target_family = "wasm", no_main)]
#![cfg(not(target_family = "wasm"))]
#![allow(dead_code)]

#[path = "store/fill.rs"]
mod fill;
#[path = "../serve/server.rs"]
mod server;
#[path = "../control/support.rs"]
mod support;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use server::{Server, token};
use support::{Home, word};

/// Keys whose history is asked for.
const ASKED: usize = 50;
/// The most keys that one command issues.
const AT_ONCE: usize = 1_000_000;

fn main() {
    let (keys, records) = sizes();
    let home = Home::new();
    println!("{keys} keys, {records} audit records; CPU is user and system of all threads\n");

    let issue = Cost::of(|| {
        for begun in (0..keys).step_by(AT_ONCE) {
            let count = AT_ONCE.min(keys - begun).to_string();
            quiet(&home, &["key", "issue", "acme", "--count", &count]);
        }
    });
    issue.print("key issue --count", Some((keys, "key")));
    let build = Cost::of(|| quiet(&home, &["keyset", "build", "--out", "keyset.json"]));
    build.print("keyset build", Some((keys, "key")));
    let rotate = Cost::of(|| quiet(&home, &["key", "rotate", "--all", "--out", "new.csv"]));
    rotate.print("key rotate --all", Some((keys, "key")));
    let new = fs::read_to_string(home.path("new.csv")).unwrap();
    let mut ids: Vec<String> = new
        .lines()
        .flat_map(|line| line.split(',').take(2).map(str::to_owned))
        .collect();
    assert_eq!(ids.len(), 2 * keys);
    ids.sort_unstable_by_key(|id| fill::number(id));
    weigh(&home, "keys and their history");

    let cost = Cost::of(|| fill::fill(&home, &ids, records));
    cost.print(
        "filled up, by rows of our own that `audit verify` accepts below",
        None,
    );
    weigh(&home, "all");

    // Apart from one another in the order of ids, so that they share no page.
    let asked: Vec<&String> = (0..ASKED).map(|n| &ids[n * ids.len() / ASKED]).collect();
    println!("\n{ASKED} different keys, milliseconds:");
    ask_server(&home, &ids, &asked);
    let mut each = Vec::new();
    let whole = Cost::of(|| {
        for id in &asked {
            let began = Instant::now();
            let found = home.json(&["audit", "list", "--subject", id, "--last", "100"]);
            each.push(began.elapsed());
            assert!(!found.as_array().unwrap().is_empty());
        }
    });
    say(
        "history of a key, `audit list --subject`, a process each",
        each,
        Some(whole.cpu),
    );

    let verify = Cost::of(|| {
        let found = home.json(&["audit", "verify"]);
        println!("\n{} records verify", found["records"]);
    });
    verify.print("audit verify", Some((records, "record")));
}

/// What follows `--keys` and `--audit`.
fn sizes() -> (usize, usize) {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str, usual| {
        let at = arguments.iter().position(|a| a == name);
        at.map_or(usual, |at| arguments[at + 1].parse().unwrap())
    };
    (after("--keys", 100_000), after("--audit", 1_000_000))
}

/// What the processes cost that were started, and ended, meanwhile.
struct Cost {
    wall: Duration,
    cpu: Duration,
}

impl Cost {
    fn of(work: impl FnOnce()) -> Self {
        let (began, before) = (Instant::now(), cpu());
        work();
        Self {
            wall: began.elapsed(),
            cpu: cpu() - before,
        }
    }

    fn print(&self, what: &str, each: Option<(usize, &str)>) {
        let (wall, cpu) = (self.wall.as_secs_f64(), self.cpu.as_secs_f64());
        print!("{what}: {wall:.2} s, {cpu:.2} s CPU");
        match each {
            Some((n, name)) => println!(
                ", {:.1} µs CPU a {name}, {:.0} a second",
                cpu * 1e6 / n as f64,
                n as f64 / wall
            ),
            None => println!(),
        }
    }
}

/// Of this process and of its children that have ended.
fn cpu() -> Duration {
    let of = |who| {
        let used = getrusage(who).unwrap();
        [used.user_time(), used.system_time()]
            .into_iter()
            .map(|t| Duration::from_micros((t.tv_sec() * 1_000_000 + t.tv_usec()) as u64))
            .sum::<Duration>()
    };
    of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN)
}

/// Runs the companion to a success; what it prints is measured and thrown away.
fn quiet(home: &Home, args: &[&str]) {
    let mut command = home.command(args);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "{args:?}");
}

fn weigh(home: &Home, what: &str) {
    let of = |name: &str| fs::metadata(home.path(name)).map_or(0, |m| m.len());
    let bytes = of("home/store.db") + of("home/store.db-wal");
    println!("on disk, {what}: {} MB", bytes / 1_000_000);
}

/// The store opened once: a running server.
fn ask_server(home: &Home, ids: &[String], asked: &[&String]) {
    let owner = token(home, "owner");
    let server = Server::start(home, &[]);
    let pid = child();
    let get = |path: &str| -> (Duration, Value) {
        let began = Instant::now();
        let url = format!("{}{path}", server.url());
        let asked = ureq::get(&url).header("authorization", format!("Bearer {owner}"));
        let text = asked.call().unwrap().body_mut().read_to_string().unwrap();
        (began.elapsed(), serde_json::from_str(&text).unwrap())
    };
    // What it does at its start is no part of an answer.
    get("/v1/keys?limit=1");
    settle(pid);
    let before = ticks(pid);
    let each = asked.iter().map(|id| {
        let (took, found) = get(&format!("/v1/audit?subject={id}&limit=100"));
        assert_eq!(word(&found["records"][0], "subject"), **id);
        took
    });
    let each = each.collect();
    let used = ticks(pid) - before;
    say("history of a key, a running server", each, Some(used));
    let first = (0..ASKED).map(|_| get("/v1/keys?limit=100").0).collect();
    say("first 100 keys, a running server", first, None);
    let near_end = &ids[ids.len() - 101];
    let last = (0..ASKED).map(|_| {
        let (took, found) = get(&format!("/v1/keys?limit=100&cursor={near_end}"));
        assert_eq!(found["keys"].as_array().unwrap().len(), 100);
        assert!(found["next"].is_null());
        took
    });
    let last = last.collect();
    say("last 100 keys, a running server", last, None);
    assert!(server.stop());
}

/// The one process that this one has started and that runs.
fn child() -> u32 {
    let own = std::process::id();
    let all = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
    all.trim().parse().unwrap()
}

/// Waits until a process has nothing to do.
fn settle(pid: u32) {
    let began = Instant::now();
    let mut before = ticks(pid);
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let used = ticks(pid);
        if used - before <= Duration::from_millis(10) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "never at rest");
        before = used;
    }
}

/// CPU of a running process, to ten milliseconds.
fn ticks(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let field = |n| fields.split_whitespace().nth(n).unwrap();
    let spent = |n| field(n).parse::<u64>().unwrap();
    Duration::from_millis((spent(11) + spent(12)) * 10)
}

fn say(what: &str, mut each: Vec<Duration>, cpu: Option<Duration>) {
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    each.sort();
    let (median, worst) = (each[each.len() / 2], each[each.len() - 1]);
    print!("{:8.2}  (worst {:.2}", ms(median), ms(worst));
    if let Some(cpu) = cpu {
        print!(", CPU {:.2} each", ms(cpu) / each.len() as f64);
    }
    println!(")  {what}");
}
