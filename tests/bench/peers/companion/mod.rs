//! The store and the companion at a million keys and ten million audit records: what issue,
//! rotation of all, list, a key's history and the audit's proof cost, and what they weigh.

mod fill;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use keystile_tests::server::{Server, token};
use keystile_tests::support::{self, Home, word};
use serde_json::Value;

use super::Settings;
use super::figures::Spread;
use super::plans::counted;
use super::process::{self, cpu_of_ended};
use super::report::Report;
use super::sheet::{Figure, Sheet};
use super::targets::Target;

/// The most keys that one command issues.
const AT_ONCE: usize = 1_000_000;
/// What targets are held against.
const MILLION: usize = 1_000_000;
/// Records of the audit log to each key.
const RECORDS: usize = 10;
/// Keys to a page of a list, and records to a page of a history.
const PAGE: usize = 100;

pub fn measure(settings: &Settings, report: &mut Report) {
    let (usual, asked) = match settings.short {
        true => (500, 5),
        false => (MILLION, 50),
    };
    let sizes = settings.keys.clone().unwrap_or(vec![usual]);
    let mut work = Sheet::new(
        "The store: work on all keys",
        format!(
            "Whole processes of `keystilectl`, what they print thrown away. Every key is issued and then rotated; then the audit log is made {RECORDS} times as long as there were keys, by rows of our own that `audit verify` accepts. CPU is of all threads; the disk's size is that after it."
        ),
        &[
            "keys, what",
            "s",
            "CPU, s",
            "µs of CPU each",
            "each second",
            "on disk, MB",
        ],
    );
    let mut answers = Sheet::new(
        "The store: answers",
        format!(
            "{asked} of each, about keys that lie apart from one another, in the store that the work on all keys left: twice the keys, {RECORDS} records to each that was issued. Milliseconds on the wall. A history is a key's last {PAGE} audit records."
        ),
        &["keys, what", "ms", "the slowest, ms", "CPU each, ms"],
    );
    for size in sizes {
        report.attempt("the store", |report| {
            of_size(size, asked, &mut work, &mut answers, report);
        });
    }
    report.sheet(work);
    report.sheet(answers);
}

fn of_size(keys: usize, asked: usize, work: &mut Sheet, answers: &mut Sheet, report: &mut Report) {
    let home = Home::new();
    let mut row = |what: &str, each: usize, cost: Cost| {
        let (wall, cpu) = (cost.wall.as_secs_f64(), cost.cpu);
        work.row(
            format!("{}, {what}", counted(keys)),
            vec![
                Figure::One(wall),
                Figure::One(cpu),
                Figure::One(cpu * 1e6 / each as f64),
                Figure::One(each as f64 / wall),
                Figure::One(on_disk(&home)),
            ],
        );
        wall
    };
    let issued = Cost::of(|| {
        for begun in (0..keys).step_by(AT_ONCE) {
            let count = AT_ONCE.min(keys - begun).to_string();
            quiet(&home, &["key", "issue", "acme", "--count", &count]);
        }
    });
    row("key issue --count", keys, issued);
    let built = Cost::of(|| quiet(&home, &["keyset", "build", "--out", "keyset.json"]));
    row("keyset build", keys, built);
    let rotated = Cost::of(|| quiet(&home, &["key", "rotate", "--all", "--out", "new.csv"]));
    let wall = row("key rotate --all", keys, rotated);
    if keys == MILLION {
        report.target(Target::new("1 M keys rotated at once, s", 60.0, wall));
    }
    let ids = ids(&home, keys);
    let records = keys * RECORDS;
    fill::fill(&home, &ids, records);

    // Apart from one another in the order of ids, so that they share no page.
    let some: Vec<&String> = (0..asked).map(|n| &ids[n * ids.len() / asked]).collect();
    ask_server(&home, keys, &ids, &some, answers);
    let mut each = Vec::new();
    let whole = Cost::of(|| {
        for id in &some {
            let began = Instant::now();
            let last = PAGE.to_string();
            let found = home.json(&["audit", "list", "--subject", id, "--last", &last]);
            each.push(began.elapsed());
            assert!(!found.as_array().expect("records").is_empty());
        }
    });
    say(
        answers,
        keys,
        "history of a key, a process each",
        &each,
        Some(whole.cpu),
    );
    let verified = Cost::of(|| quiet(&home, &["audit", "verify"]));
    row("audit verify, each a record", records, verified);
}

/// Those of all keys, old and new, in their order.
fn ids(home: &Home, keys: usize) -> Vec<String> {
    let new = fs::read_to_string(home.path("new.csv")).expect("the new keys");
    let both = |line: &str| -> Vec<String> { line.split(',').take(2).map(str::to_owned).collect() };
    let mut ids: Vec<String> = new.lines().flat_map(both).collect();
    assert_eq!(ids.len(), 2 * keys, "keys rotated");
    ids.sort_unstable_by_key(|id| fill::number(id));
    ids
}

/// What the processes cost that were started, and ended, meanwhile.
struct Cost {
    wall: Duration,
    /// Seconds.
    cpu: f64,
}

impl Cost {
    fn of(work: impl FnOnce()) -> Self {
        let (began, before) = (Instant::now(), cpu_of_ended());
        work();
        Self {
            wall: began.elapsed(),
            cpu: cpu_of_ended() - before,
        }
    }
}

/// Runs the companion to a success; what it prints is measured and thrown away.
fn quiet(home: &Home, args: &[&str]) {
    let mut command = home.command(args);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.expect("keystilectl").success(), "{args:?}");
}

/// Megabytes of the store.
fn on_disk(home: &Home) -> f64 {
    let of = |name: &str| fs::metadata(home.path(name)).map_or(0, |m| m.len());
    (of("home/store.db") + of("home/store.db-wal")) as f64 / 1e6
}

/// The store opened once: a running server.
fn ask_server(home: &Home, keys: usize, ids: &[String], some: &[&String], answers: &mut Sheet) {
    let owner = token(home, "owner");
    let server = Server::start(home, &[]);
    let pid = server.pid();
    let get = |path: &str| -> (Duration, Value) {
        let began = Instant::now();
        let url = format!("{}{path}", server.url());
        let asked = ureq::get(&url).header("authorization", format!("Bearer {owner}"));
        let mut answer = asked.call().expect("an answer");
        let text = answer.body_mut().read_to_string().expect("text");
        (began.elapsed(), serde_json::from_str(&text).expect("JSON"))
    };
    let cpu = || process::cpu_of(pid) as f64 / 1e9;
    // What it does at its start is no part of an answer.
    get("/v1/keys?limit=1");
    settle(cpu);
    let mut ask = |what: &str, one: &dyn Fn(&String) -> Duration| {
        let before = cpu();
        let each: Vec<Duration> = some.iter().map(|id| one(id)).collect();
        say(answers, keys, what, &each, Some(cpu() - before));
    };
    ask("history of a key, a running server", &|id| {
        let (took, found) = get(&format!("/v1/audit?subject={id}&limit={PAGE}"));
        assert_eq!(word(&found["records"][0], "subject"), *id);
        took
    });
    ask("the first keys, a running server", &|_| {
        get(&format!("/v1/keys?limit={PAGE}")).0
    });
    let near_end = &ids[ids.len() - PAGE - 1];
    ask("the last keys, a running server", &|_| {
        let (took, found) = get(&format!("/v1/keys?limit={PAGE}&cursor={near_end}"));
        assert_eq!(found["keys"].as_array().expect("keys").len(), PAGE);
        assert!(found["next"].is_null());
        took
    });
    assert!(server.stop(), "the server did not stop");
}

/// Waits until a process has nothing to do.
fn settle(cpu: impl Fn() -> f64) {
    let began = Instant::now();
    let mut before = cpu();
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let used = cpu();
        if used - before <= 0.01 {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "never at rest");
        before = used;
    }
}

fn say(answers: &mut Sheet, keys: usize, what: &str, each: &[Duration], cpu: Option<f64>) {
    let ms: Vec<f64> = each.iter().map(|d| d.as_secs_f64() * 1000.0).collect();
    let slowest = ms.iter().copied().fold(0.0, f64::max);
    let cpu = cpu.map_or(Figure::None, |s| {
        Figure::Difference(s * 1000.0 / ms.len() as f64)
    });
    let median = Spread::of(ms).map_or(Figure::None, Figure::Many);
    let name = format!("{}, {what}", counted(keys));
    answers.row(name, vec![median, Figure::One(slowest), cpu]);
}
