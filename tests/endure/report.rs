//! What a run says about itself: Markdown and charts in `target/endure/`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keystile_tests::proxy::root;

use crate::chart;
use crate::console::Pages;
use crate::load::{Ground, Tally};
use crate::memory::{Course, Growth};
use crate::options::{Options, Where};
use crate::usage::Compared;
use crate::writer::Changes;

/// What a soak found.
pub struct Soaked {
    pub seed: u64,
    pub lasted: Duration,
    pub all: Tally,
    /// Requests beyond the limit of a key, at most.
    pub beyond: f64,
    pub changes: Changes,
    pub pages: Pages,
    pub compared: Compared,
    /// Acknowledged changes that are gone.
    pub missing: usize,
    pub courses: BTreeMap<String, Course>,
}

/// What chaos found.
pub struct Endured {
    pub seed: u64,
    /// The names of the Envoys.
    pub edges: BTreeMap<SocketAddr, String>,
    pub lasted: Duration,
    /// Whether this kernel can delay packets.
    pub has_delay: bool,
    /// Whether servers have clocks of their own.
    pub has_clocks: bool,
    pub all: Tally,
    /// Requests beyond the limit of a key, at most.
    pub beyond: f64,
    pub changes: Changes,
    /// Acknowledged changes that are gone.
    pub missing: usize,
    pub recoveries: Vec<Recovery>,
}

/// A fault, and how long it took to recover from it.
pub struct Recovery {
    pub fault: String,
    pub lasted: Duration,
    pub took: Duration,
}

/// Milliseconds since 1970: a seed that nobody had before.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_millis() as u64
}

/// Writes the report of a soak.
pub fn soak(options: &Options, ground: &Ground, soaked: &Soaked) {
    let mut text = heading(options, "Soak", soaked.seed, soaked.lasted);
    verdict(&mut text, ground);
    let all = &soaked.all;
    let seconds = soaked.lasted.as_secs_f64();
    let held = all.answered() as f64 / seconds;
    let store = match options.store {
        Where::File => {
            "SQLite: one server, which sends keysets to the Envoy with the WebAssembly filter; those of the Envoy with the native module are pushed to a file"
        }
        Where::Postgres => {
            "PostgreSQL: two servers, each of which sends keysets to one of the Envoys"
        }
    };
    let _ = writeln!(text, "The store is in {store}.\n");
    let _ = writeln!(text, "| | |\n| --- | --: |");
    let mut row = |what: &str, value: String| {
        let _ = writeln!(text, "| {what} | {value} |");
    };
    row("requests a second: asked", options.rate.to_string());
    row("requests a second: held", format!("{held:.0}"));
    row(
        "not sent, because the machine was behind",
        all.skipped.to_string(),
    );
    row("requests answered", all.answered().to_string());
    row("without an answer", all.unanswered.to_string());
    let compared = &soaked.compared;
    row(
        "requests counted by the server",
        compared.counted.to_string(),
    );
    let sums = format!(
        "{} keys, {} outcomes: {} mistakes",
        compared.keys, compared.outcomes, compared.mistakes
    );
    row("sums that were compared", sums);
    row(
        "acknowledged changes that are lost",
        soaked.missing.to_string(),
    );
    row(
        "requests beyond a key's limit, at most",
        format!("{:.1}", soaked.beyond),
    );
    proofs(&mut text, &soaked.changes);
    outcomes(&mut text, &all.outcomes);
    minutes(&mut text, options, all);
    memory(&mut text, options, &soaked.courses);
    pages(&mut text, &soaked.pages);
    write(options, &text);
}

/// Writes the report of chaos.
pub fn chaos(options: &Options, ground: &Ground, endured: &Endured) {
    let mut text = heading(options, "Chaos", endured.seed, endured.lasted);
    verdict(&mut text, ground);
    let all = &endured.all;
    let yes = |is: bool, no: &str| if is { "yes" } else { no }.to_owned();
    let _ = writeln!(text, "| | |\n| --- | --: |");
    let mut row = |what: &str, value: String| {
        let _ = writeln!(text, "| {what} | {value} |");
    };
    row("requests answered", all.answered().to_string());
    row("without an answer", all.unanswered.to_string());
    row("faults", endured.recoveries.len().to_string());
    row(
        "acknowledged changes that are lost",
        endured.missing.to_string(),
    );
    row(
        "requests beyond a key's limit, at most",
        format!("{:.1}", endured.beyond),
    );
    let queue = "no `netem` in this kernel: a slow link delays only by its queue";
    row("packets can be delayed", yes(endured.has_delay, queue));
    let clocks = "no: install libfaketime";
    row(
        "clocks of servers can be set",
        yes(endured.has_clocks, clocks),
    );
    recoveries(&mut text, &endured.recoveries);
    outages(&mut text, ground, &endured.edges);
    proofs(&mut text, &endured.changes);
    outcomes(&mut text, &all.outcomes);
    let _ = writeln!(text, "\n## What happened\n");
    for (at, words) in ground.recorder.events() {
        let _ = writeln!(text, "- {:.1} s: {words}", at.as_secs_f64());
    }
    write(options, &text);
}

fn outages(text: &mut String, ground: &Ground, edges: &BTreeMap<SocketAddr, String>) {
    let _ = writeln!(
        text,
        "\n## Outages\n\nTimes in which an Envoy answered 503, which lets nobody in.\n\n| Envoy | from s | to s | answers |\n| --- | --: | --: | --: |"
    );
    for outage in ground.recorder.outages() {
        let (from, until) = (outage.from.as_secs_f64(), outage.until.as_secs_f64());
        let (edge, answers) = (&edges[&outage.edge], outage.answers);
        let _ = writeln!(text, "| {edge} | {from:.1} | {until:.1} | {answers} |");
    }
}

fn recoveries(text: &mut String, recoveries: &[Recovery]) {
    let _ = writeln!(
        text,
        "\n## Recovery\n\n| fault | times | longest s | recovered from in s, at most |\n| --- | --: | --: | --: |"
    );
    let mut all: BTreeMap<&str, (u64, Duration, Duration)> = BTreeMap::new();
    for recovery in recoveries {
        let row = all.entry(&recovery.fault).or_default();
        row.0 += 1;
        row.1 = row.1.max(recovery.lasted);
        row.2 = row.2.max(recovery.took);
    }
    for (fault, (times, lasted, took)) in all {
        let (lasted, took) = (lasted.as_secs(), took.as_secs_f64());
        let _ = writeln!(text, "| {fault} | {times} | {lasted} | {took:.1} |");
    }
}

/// What was run, when, where.
pub fn heading(options: &Options, title: &str, seed: u64, lasted: Duration) -> String {
    let said = |program: &str, arguments: &[&str]| -> String {
        let mut command = Command::new(program);
        let output = command.args(arguments).current_dir(root()).output();
        let output = output.map(|o| o.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).trim().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!(
        "# {title}: {}\n\n{}, {cores} cores, {}, Envoy {}, {:.0} s, seed {seed}; load of the machine at the end: {}.\n\n",
        options.name(),
        said("date", &["-u", "+%F %H:%M"]),
        said("git", &["rev-parse", "--short", "HEAD"]),
        keystile_tests::proxy::version(),
        lasted.as_secs_f64(),
        load.join(" "),
    )
}

/// What did not hold, or that all did.
pub fn verdict(text: &mut String, ground: &Ground) {
    let breaches = ground.recorder.breaches();
    if breaches.is_empty() {
        let _ = writeln!(text, "**Everything held.**\n");
    }
    for (breach, found) in breaches {
        let _ = writeln!(text, "**{breach:?}: {} times.** The first:\n", found.count);
        for words in found.first {
            let _ = writeln!(text, "- {words}");
        }
        let _ = writeln!(text);
    }
}

/// Changes, and how long their proofs took.
pub fn proofs(text: &mut String, changes: &Changes) {
    let _ = writeln!(
        text,
        "\n## Changes\n\n| change | became | times |\n| --- | --- | --: |"
    );
    for ((what, became), n) in &changes.counts {
        let _ = writeln!(text, "| {what} | {became} | {n} |");
    }
    let mut took: Vec<f64> = changes
        .proved
        .iter()
        .map(|d| d.as_secs_f64() * 1e3)
        .collect();
    took.sort_by(f64::total_cmp);
    if let Some(worst) = took.last() {
        let of = |percent: usize| took[(took.len() * percent).div_ceil(100).max(1) - 1];
        let _ = writeln!(
            text,
            "\n{} proofs of every Envoy, in milliseconds after the answer: median {:.0}, 99th of a hundred {:.0}, worst {worst:.0}.",
            took.len(),
            of(50),
            of(99)
        );
    }
}

/// Answers by what they said.
pub fn outcomes(text: &mut String, outcomes: &BTreeMap<String, u64>) {
    let _ = writeln!(
        text,
        "\n## Answers\n\n| outcome | requests |\n| --- | --: |"
    );
    for (outcome, n) in outcomes {
        let _ = writeln!(text, "| {outcome} | {n} |");
    }
}

fn minutes(text: &mut String, options: &Options, all: &Tally) {
    let file = path(options, "latency.svg");
    let shown = [
        ("median", 500),
        ("90 %", 900),
        ("99 %", 990),
        ("99.9 %", 999),
    ];
    let line = |(name, of_1000): (&str, u64)| {
        let points = (0..).zip(&all.minutes);
        let points = points.map(|(n, m)| (f64::from(n) + 1.0, m.percentile(of_1000)));
        (name.to_owned(), points.collect())
    };
    chart::draw("Milliseconds by minute", &shown.map(line), &file);
    let name = file.file_name().unwrap().display();
    let _ = writeln!(
        text,
        "\n## Latency\n\nMilliseconds from when a request was to be sent to its answer, seen by the client, which shares the machine.\n\n![]({name})\n\n| minute | requests | median | 90 % | 99 % | 99.9 % | worst |\n| --: | --: | --: | --: | --: | --: | --: |"
    );
    for (n, minute) in (1..).zip(&all.minutes) {
        let of = |of_1000| minute.percentile(of_1000);
        let _ = writeln!(
            text,
            "| {n} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} |",
            minute.answers,
            of(500),
            of(900),
            of(990),
            of(999),
            minute.worst.as_secs_f64() * 1e3
        );
    }
}

fn memory(text: &mut String, options: &Options, courses: &BTreeMap<String, Course>) {
    let file = path(options, "memory.svg");
    let line = |(name, course): (&String, &Course)| {
        let points = course.iter().map(|(at, mb)| (at / 60.0, *mb));
        (name.clone(), points.collect())
    };
    let lines: Vec<_> = courses.iter().map(line).collect();
    chart::draw("Megabytes", &lines, &file);
    let name = file.file_name().unwrap().display();
    let _ = writeln!(
        text,
        "\n## Memory\n\n![]({name})\n\n| process | first MB | last MB | most MB | growth an hour, after the warm-up |\n| --- | --: | --: | --: | --: |"
    );
    for (name, course) in courses {
        let Some(growth) = Growth::of_course(course) else {
            continue;
        };
        let an_hour = match growth.an_hour {
            Some(percent) => format!("{percent:+.2} %"),
            None => "the run is too short to say".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {name} | {:.1} | {:.1} | {:.1} | {an_hour} |",
            growth.first, growth.last, growth.most
        );
    }
}

fn pages(text: &mut String, pages: &Pages) {
    let _ = writeln!(
        text,
        "\n## Console\n\n| page | read | median ms | worst ms |\n| --- | --: | --: | --: |"
    );
    for (page, took) in pages {
        let mut took = took.clone();
        took.sort_by(f64::total_cmp);
        let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
        let _ = writeln!(
            text,
            "| {page} | {} | {median:.0} | {worst:.0} |",
            took.len()
        );
    }
}

/// A file beside the report.
pub fn path(options: &Options, end: &str) -> PathBuf {
    let name = format!("{}-{end}", options.name());
    root().join("target/endure").join(name)
}

/// Writes it, and says where.
pub fn write(options: &Options, text: &str) {
    let file = root()
        .join("target/endure")
        .join(format!("{}.md", options.name()));
    std::fs::write(&file, text).unwrap();
    println!("endure: the report is target/endure/{}.md", options.name());
}
