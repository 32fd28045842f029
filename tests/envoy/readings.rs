//! Requests that readers understand differently, sent to the real Envoy without a key. What is let
//! in is read by others: nothing that any of them takes for protected may be among it.
//!
//! `KEYSTILE_READINGS_SCALE=10` sends ten times as many, `KEYSTILE_READINGS_SEED` others.

mod corpus;
mod edge;
mod honest;
mod judge;
mod policies;
mod readers;
mod recorder;
mod spellings;
mod wire;

use self::corpus::{Case, generate};
use self::edge::Door;
use self::honest::Document;
use self::judge::{Judged, judge, question};
use self::policies::{Site, sites};
use self::recorder::{Arrived, Recorder};
use self::wire::{Answers, Protocol};
use crate::fixture::Keys;
use crate::support::{Companion, Envoy, fresh_dir};
use keystile_core::policy::RawPolicy;
use std::collections::{BTreeMap, BTreeSet};
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
    // Readers that read nothing would find nothing.
    assert!(judged.least() > seen.len() / 2);
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

/// What the review of the filter found, as it arrived: policy, virtual host, host, target.
const FOUND: [(&str, &str, &str, &str); 18] = [
    (
        "corp protected, all else open",
        "*.corp.example.com",
        "x:1.corp.example.com",
        "/x",
    ),
    (
        "corp protected, all else open",
        "*.corp.example.com",
        "[x].corp.example.com",
        "/x",
    ),
    (
        "corp protected, all else open",
        "*.corp.example.com",
        "x:80@a.corp.example.com",
        "/x",
    ),
    (
        "www open, all else protected",
        "*",
        "www.example.com:81",
        "/x",
    ),
    (
        "www open, all else protected",
        "*",
        "www.example.com.",
        "/x",
    ),
    (
        "www open, all else protected",
        "*",
        "[www.example.com]",
        "/x",
    ),
    (
        "www open, all else protected",
        "*",
        "www.example.com:x",
        "/x",
    ),
    (
        "api protected, all else open",
        "*",
        "api.example.com:81",
        "/x",
    ),
    ("admin beside an open catch-all", "*", "h", "/admin;x=1/x"),
    ("admin beside an open catch-all", "*", "h", "/;/admin/x"),
    ("admin beside an open catch-all", "*", "h", "/admin;/x"),
    ("admin beside an open catch-all", "*", "h", "/..%3B/admin/x"),
    ("admin beside an open catch-all", "*", "h", "//admin/x"),
    ("admin beside an open catch-all", "*", "h", "/ADMIN/x"),
    (
        "admin beside an open catch-all",
        "*",
        "h",
        "/x/..%2Fadmin/x",
    ),
    (
        "admin beside an open catch-all",
        "*",
        "h",
        "/x\\..\\admin/x",
    ),
    ("open within private", "*", "h", "/private/a/../../healthz"),
    (
        "open paths beside a protected catch-all",
        "*",
        "h",
        "/x/../healthz",
    ),
];

#[test]
fn the_readers_find_what_the_review_found() {
    let sites = sites();
    let found = FOUND.map(|(name, domain, host, target)| {
        let site = sites.iter().find(|site| site.name == name).unwrap();
        let arrived = Arrived {
            method: "GET".into(),
            target: target.into(),
            host: host.into(),
            domain: domain.into(),
        };
        (site, arrived)
    });
    let questions: BTreeSet<_> = found.iter().map(|(site, a)| question(site, a)).collect();
    let readings = readers::read(&questions);
    for (site, arrived) in &found {
        let mut judged = Judged::default();
        let answers = &readings[&question(site, arrived)];
        judged.request(site, "as found", 1, arrived, answers);
        assert!(!judged.failures.is_empty(), "{}: {arrived:?}", site.name);
    }
}

#[test]
fn no_plain_request_of_an_openapi_document_is_ambiguous() {
    let companion = Companion::init(&fresh_dir(), "version: 1\nroutes: []\n");
    let upstream = Recorder::start();
    for document in honest::documents(&companion) {
        let answers = ask(&document, &upstream);
        let ambiguous = answers
            .iter()
            .filter(|(_, word)| word.starts_with("ambiguous"));
        let ambiguous: BTreeSet<_> = ambiguous
            .map(|(id, word)| (&document.requests[id / HONEST_WAYS], word))
            .collect();
        println!(
            "readings: {}: {} plain requests, {} of {} different ones ambiguous",
            document.name,
            answers.len(),
            ambiguous.len(),
            document.requests.len()
        );
        print_counts("became", answers.values());
        assert!(ambiguous.is_empty(), "{}: {ambiguous:?}", document.name);
        assert!(
            answers.values().any(|word| word == "in"),
            "{}",
            document.name
        );
    }
}

/// Two policies, each in four ways.
const HONEST_WAYS: usize = 2 * WAYS.len();

/// Every request of a document with a key that may do all of it.
fn ask(document: &Document, upstream: &Recorder) -> Answers {
    let mut doors = Vec::new();
    let mut keys = Vec::new();
    for (number, policy) in document.policies().iter().enumerate() {
        let mut issued = Keys::new(policy);
        keys.push(issued.issue_with("caller", |row| row.scopes = scopes(policy)));
        doors.extend([false, true].map(|settles| Door {
            name: edge::name(number, settles),
            settles,
            ports_ignored: policy.contains("host_ports: ignore"),
            domains: vec!["*".into()],
            policy: policy.clone(),
            rows: issued.content.rows.clone(),
        }));
    }
    let envoy = edge::start(&doors, upstream);
    let mut answers = Answers::new();
    for (number, key) in keys.iter().enumerate() {
        let cases = document.cases(key);
        for (way, (protocol, settles)) in WAYS.into_iter().enumerate() {
            let id = |n: usize| n * HONEST_WAYS + number * WAYS.len() + way;
            let cases = cases.iter().enumerate();
            let cases: Vec<_> = cases.map(|(n, case)| (id(n), case)).collect();
            let to = envoy.listener(&edge::name(number, settles));
            answers.extend(wire::send(to, protocol, &cases));
        }
    }
    answers
}

/// Every scope that a drafted policy names.
fn scopes(policy: &str) -> Vec<String> {
    let read: RawPolicy = serde_saphyr::from_str(policy).unwrap();
    let routes = read.routes.iter();
    let mut scopes: Vec<String> = routes
        .flat_map(|r| r.scopes.iter().chain(&r.any_scope).cloned())
        .collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes
}
