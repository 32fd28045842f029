//! What grows with the number of keys, on a store in a file and on one in PostgreSQL: issuing,
//! building the keyset, rotating every key, looking into the audit log.
//!
//!     KEYSTILE_PROFILE=release scripts/build && cargo bench --profile release --bench stores
//!
//! Less of it: `--keys 10000`. The database neither waits for its disk (`fsync=off`, as in all
//! tests) nor is tuned; the file's store waits for its own.
#![cfg_attr(target_family = "wasm", no_main)]
#![cfg(not(target_family = "wasm"))]

use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, Instant};

use keystile_tests::database::Database;
use keystile_tests::support::Home;
use nix::sys::resource::{UsageWho, getrusage};

/// The clients that share the keys.
const CLIENTS: usize = 10;

fn main() {
    let keys = value_of("--keys").map_or(1_000_000, |n| n.parse().expect("a number"));
    println!(
        "{keys} keys of {CLIENTS} clients; seconds. Load of the machine: {}",
        load()
    );
    println!(
        "{:<36}{:>10}{:>12}{:>14}",
        "", "file", "PostgreSQL", "its share"
    );
    let database = Database::start();
    let beds = [
        Bed::new(Home::empty()),
        Bed::new(Home::empty().in_database(database.address())),
    ];
    for (what, step) in STEPS {
        let [file, server] = [&beds[0], &beds[1]].map(|bed| {
            let from = Instant::now();
            step(bed, keys);
            from.elapsed()
        });
        shown(what, file, server);
    }
    for bed in &beds {
        bed.home.ok(&["audit", "verify"]);
    }
    println!("most memory of a command so far: {} MB", most_memory());
    println!("load of the machine: {}", load());
}

type BenchStep = fn(&Bed, usize);

const STEPS: [(&str, BenchStep); 7] = [
    ("issue all", Bed::issue),
    ("build the keyset", |bed, _| {
        bed.run(&["keyset", "build", "--out", "keyset.json"])
    }),
    ("rotate all", |bed, _| {
        bed.run(&[
            "key",
            "rotate",
            "--all",
            "--grace",
            "1h",
            "--out",
            "rotated.csv",
        ]);
    }),
    ("build the keyset of twice as many", |bed, _| {
        bed.run(&["keyset", "build", "--out", "keyset.json"]);
    }),
    ("the audit log, last 100", |bed, _| {
        bed.run(&["audit", "list", "--last", "100"])
    }),
    ("the same of one client's rotations", |bed, _| {
        let of = ["audit", "list", "--client", "c3", "--action", "key.rotate"];
        bed.run(&[&of[..], &["--last", "100"]].concat());
    }),
    ("verify the audit log", |bed, _| {
        bed.run(&["audit", "verify"])
    }),
];

/// What follows a word on the command line.
fn value_of(name: &str) -> Option<String> {
    std::env::args().skip_while(|a| a != name).nth(1)
}

fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn shown(what: &str, file: Duration, server: Duration) {
    let (file, server) = (file.as_secs_f64(), server.as_secs_f64());
    println!(
        "{what:<36}{file:>10.2}{server:>12.2}{:>12.1} x",
        server / file
    );
}

fn most_memory() -> i64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss() / 1024
}

struct Bed {
    home: Home,
}

impl Bed {
    fn new(home: Home) -> Self {
        home.ok(&["init"]);
        for n in 0..CLIENTS {
            home.ok(&["client", "create", &format!("c{n}")]);
        }
        Self { home }
    }

    fn issue(&self, keys: usize) {
        let each = (keys / CLIENTS).max(1).to_string();
        for n in 0..CLIENTS {
            self.run(&["key", "issue", &format!("c{n}"), "--count", &each]);
        }
    }

    /// Runs a command, whose output goes to a file.
    fn run(&self, args: &[&str]) {
        let _ = fs::remove_file(self.home.path("rotated.csv"));
        let [out, err] = ["out", "err"].map(|name| File::create(self.home.path(name)).unwrap());
        let mut command: Command = self.home.command(args);
        let status = command.stdout(out).stderr(err).status();
        let said = || fs::read_to_string(self.home.path("err")).unwrap();
        assert!(status.unwrap().success(), "{args:?}: {}", said());
    }
}
