//! Requests that readers understand differently, sent to the real Envoy without a key. What is let
//! in is read by others: nothing that any of them takes for protected may be among it.
//!
//! `KEYSTILE_READINGS_SCALE=10` sends ten times as many, `KEYSTILE_READINGS_SEED` others.

mod corpus;
mod edge;
mod policies;
mod readers;
mod recorder;
mod spellings;
mod wire;

use self::corpus::{Case, generate};
use self::edge::Door;
use self::policies::{NOBODY, Reading, Site, sites};
use self::readers::{Answer, Question};
use self::recorder::{Arrived, Recorder};
use self::wire::{Answers, Protocol};
use crate::support::Envoy;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// Requests for each policy, before they are sent in four ways.
const EACH: usize = 720;

/// Each case in HTTP/1.1 and HTTP/2, with paths settled by Envoy and as they come.
const WAYS: [(Protocol, bool); 4] = [
    (Protocol::Http1, false),
    (Protocol::Http1, true),
    (Protocol::Http2, false),
    (Protocol::Http2, true),
];

#[test]
fn nothing_that_another_reader_takes_for_protected_is_let_in_without_a_key() {
    let number = |name: &str, or: u64| {
        std::env::var(name).map_or(or, |value| value.parse().expect("a number"))
    };
    let seed = number("KEYSTILE_READINGS_SEED", 13);
    let scale = number("KEYSTILE_READINGS_SCALE", 1) as usize;
    let sites = sites();
    let cases = generate(&sites, seed, EACH * scale);
    println!(
        "readings: seed {seed}, {} policies, {} requests in {} ways",
        sites.len(),
        cases.len(),
        WAYS.len()
    );
    assert!(cases.len() >= 20_000);

    let from = Instant::now();
    let upstream = Recorder::start();
    let doors = sites.iter().enumerate();
    let doors: Vec<_> = doors
        .flat_map(|(n, site)| [false, true].map(|settles| Door::of(n, site, settles)))
        .collect();
    let envoy = edge::start(&doors, &upstream);
    println!(
        "readings: Envoy with {} listeners after {:?}",
        doors.len(),
        from.elapsed()
    );
    let answers = send_all(&envoy, &sites, &cases);
    let seen = upstream.seen();
    println!("readings: sent after {:?}", from.elapsed());
    print_counts("became", answers.values());
    assert_eq!(answers.len(), cases.len() * WAYS.len());

    let questions: BTreeSet<_> = seen
        .iter()
        .map(|(id, arrived)| question(&sites[cases[id / WAYS.len()].site], arrived))
        .collect();
    let readings = readers::read(&questions);
    println!(
        "readings: {} let in, {} different ones read after {:?}",
        seen.len(),
        questions.len(),
        from.elapsed()
    );
    let judged = judge(&sites, &cases, &seen, &readings);
    judged.print();
    println!("readings: judged after {:?}", from.elapsed());
    assert!(
        judged.failures.is_empty(),
        "let in without a key, though others read them as protected"
    );
}

fn send_all(envoy: &Envoy, sites: &[Site], cases: &[Case]) -> Answers {
    let mut tasks = Vec::new();
    for site in 0..sites.len() {
        for (way, (protocol, settles)) in WAYS.into_iter().enumerate() {
            let mine = cases
                .iter()
                .enumerate()
                .filter(|(_, case)| case.site == site);
            let mine: Vec<_> = mine.map(|(n, case)| (n * WAYS.len() + way, case)).collect();
            tasks.push((envoy.listener(&edge::name(site, settles)), protocol, mine));
        }
    }
    let tasks = Mutex::new(tasks);
    let answers = Mutex::new(Answers::new());
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some((to, protocol, cases)) = next(&tasks) {
                    let some = wire::send(to, protocol, &cases);
                    answers.lock().unwrap().extend(some);
                }
            });
        }
    });
    answers.into_inner().unwrap()
}

/// In a function of its own, so that the lock is held no longer.
fn next<T>(tasks: &Mutex<Vec<T>>) -> Option<T> {
    tasks.lock().unwrap().pop()
}

fn print_counts<'a>(what: &str, words: impl Iterator<Item = &'a String>) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    println!("readings: {what} {counts:?}");
}

fn question(site: &Site, arrived: &Arrived) -> Question {
    Question {
        host: arrived.host.clone(),
        target: arrived.target.clone(),
        named: site.hosts(),
    }
}

/// What the readers made of it.
#[derive(Default)]
struct Judged {
    /// Requests that each reader judged, and how many of them it takes for protected.
    by_reader: BTreeMap<String, (usize, usize)>,
    /// The shortest request for each policy, way and reader.
    failures: BTreeMap<(usize, String), String>,
    failed: usize,
    /// Protected only to somebody who takes the host from one reader and the path from another.
    mixed: usize,
    mixed_examples: BTreeMap<usize, String>,
}

fn judge(
    sites: &[Site],
    cases: &[Case],
    seen: &HashMap<usize, Arrived>,
    readings: &HashMap<&Question, Vec<Answer>>,
) -> Judged {
    let mut judged = Judged::default();
    let mut ids: Vec<_> = seen.keys().copied().collect();
    ids.sort_by_key(|id| {
        let case = &cases[id / WAYS.len()];
        (case.target.len() + case.authority.len(), *id)
    });
    for id in ids {
        let case = &cases[id / WAYS.len()];
        let site = &sites[case.site];
        let arrived = &seen[&id];
        let answers = &readings[&question(site, arrived)];
        judged.request(site, case, id, arrived, answers);
    }
    judged
}

impl Judged {
    fn request(
        &mut self,
        site: &Site,
        case: &Case,
        id: usize,
        arrived: &Arrived,
        answers: &[Answer],
    ) {
        let chosen = match arrived.domain.as_str() {
            "*" => NOBODY.to_owned(),
            domain => domain.replace('*', "representative"),
        };
        let protects = |host: &str, answer: &Answer| {
            let path = Reading {
                path: &answer.path,
                escaped: answer.escaped,
            };
            site.protects(host, &arrived.method, &path)
        };
        let mut readers: BTreeMap<&str, Option<String>> = BTreeMap::new();
        for answer in answers {
            let own = answer.host.as_deref().unwrap_or(&arrived.host);
            let by_envoy = ["envoy's virtual host", &answer.reader].join(" + ");
            for (reader, host) in [(answer.reader.clone(), own), (by_envoy, &chosen)] {
                let found = protects(host, answer)
                    .then(|| format!("{reader}: host {host:?} path {:?}", answer.path));
                let name = if reader.contains('+') {
                    "envoy's virtual host"
                } else {
                    &answer.reader
                };
                let known = readers.entry(name).or_default();
                if known.is_none() {
                    *known = found;
                }
            }
        }
        let mut failed = false;
        for (reader, found) in readers {
            let (judged, protected) = self.by_reader.entry(reader.to_owned()).or_default();
            *judged += 1;
            let Some(found) = found else { continue };
            *protected += 1;
            failed = true;
            let (protocol, settles) = WAYS[id % WAYS.len()];
            let shown = format!(
                "{}, {protocol:?}, settled {settles}: {} {} at {} {}-> {found}",
                site.name,
                case.method,
                case.target.escape_ascii(),
                case.authority.escape_ascii(),
                case.host
                    .as_ref()
                    .map(|h| format!("and {} ", h.escape_ascii()))
                    .unwrap_or_default(),
            );
            self.failures
                .entry((case.site, reader.to_owned()))
                .or_insert(shown);
        }
        self.failed += usize::from(failed);
        if !failed {
            self.mix(site, case, id, arrived, answers, protects);
        }
    }

    fn mix(
        &mut self,
        site: &Site,
        case: &Case,
        id: usize,
        arrived: &Arrived,
        answers: &[Answer],
        protects: impl Fn(&str, &Answer) -> bool,
    ) {
        let hosts = answers
            .iter()
            .map(|answer| answer.host.as_deref().unwrap_or(&arrived.host));
        let hosts: BTreeSet<_> = hosts.collect();
        let found = hosts.into_iter().find_map(|host| {
            let answer = answers.iter().find(|answer| protects(host, answer))?;
            Some(format!(
                "host {host:?}, path {:?} of {}",
                answer.path, answer.reader
            ))
        });
        if let Some(found) = found {
            self.mixed += 1;
            let shown = format!(
                "{}, {:?}: {} {} at {} -> {found}",
                site.name,
                WAYS[id % WAYS.len()],
                case.method,
                case.target.escape_ascii(),
                case.authority.escape_ascii()
            );
            self.mixed_examples.entry(case.site).or_insert(shown);
        }
    }

    fn print(&self) {
        for (reader, (judged, protected)) in &self.by_reader {
            println!("readings: {reader}: judged {judged}, takes {protected} for protected");
        }
        println!(
            "readings: {} requests that some reader takes for protected; {} more only to hosts of one and paths of another",
            self.failed, self.mixed
        );
        for shown in self.failures.values() {
            println!("  {shown}");
        }
        for shown in self.mixed_examples.values() {
            println!("  mixed: {shown}");
        }
    }
}
