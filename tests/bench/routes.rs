//! Whether finding a route costs more among 1,000 than among 5: `cargo bench --bench routes`.
//!
//! Each round measures the two in turn, in an order that alternates, so that a noisy minute meets
//! both; what counts is the median of the rounds' ratios. What remains above 1 is memory: the
//! nodes of 1,000 routes do not fit into the first cache, so that row `the same few` asks for 5
//! of the 1,000 alone.

use std::hint::black_box;
use std::time::Instant;

use keystile_core::request::route::{Comparison, Places, Router, Template};

const ROUNDS: usize = 201;
const LOOKUPS: usize = 2_000;
const FEW: usize = 5;
const MANY: usize = 1_000;

/// A kind of route: its name, template and a path of it; `{n}` stands for a number.
const KINDS: [(&str, &str, &str); 8] = [
    ("text", "/v1/kind-{n}/list", "/v1/kind-{n}/list"),
    ("parameter", "/v1/kind-{n}/{id}", "/v1/kind-{n}/4711"),
    (
        "text behind, one place",
        "/v1/jobs/{id}:do-{n}",
        "/v1/jobs/4711:do-{n}",
    ),
    (
        "text behind, many places",
        "/v1/kind-{n}/{id}.json",
        "/v1/kind-{n}/4711.json",
    ),
    (
        "text before and between",
        "/v1/{n}-{base}...{head}",
        "/v1/{n}-main...next",
    ),
    (
        "text between alone",
        "/v1/{base}-{n}-{head}",
        "/v1/main-{n}-next",
    ),
    ("capitals", "/V1/Kind{n}/{id}.json", "/V1/Kind{n}/4711.json"),
    ("hosts", "/v1/list", "/v1/list"),
];

struct Site {
    router: Router,
    /// Hosts and paths.
    asked: Vec<(String, String)>,
}

impl Site {
    fn new(kind: (&str, &str, &str), routes: usize) -> Self {
        let (name, template, path) = kind;
        let filled = |text: &str, i: usize| text.replace("{n}", &format!("{i:04}"));
        let mut router = Router::default();
        let mut asked = Vec::new();
        for i in 0..routes {
            let host = format!("h{i:04}.example.com");
            let hosts: Vec<_> = keystile_core::request::route::HostPattern::parse(&host)
                .into_iter()
                .filter(|_| name == "hosts")
                .collect();
            let places = Places {
                hosts: &hosts,
                virtual_hosts: &[],
            };
            let template = Template::parse(&filled(template, i)).unwrap();
            router.insert(i, places, &template, &[]).unwrap();
            asked.push((host, filled(path, i)));
        }
        Self { router, asked }
    }

    /// Nanoseconds for each of many lookups of the first so many paths.
    fn measure(&self, paths: usize, comparison: Comparison) -> f64 {
        let mut i = 0;
        let from = Instant::now();
        for _ in 0..LOOKUPS {
            i = (i + 7) % paths;
            let (host, path) = black_box(&self.asked[i]);
            let found = self.router.find_as(comparison, host, b"GET", path);
            assert_eq!(black_box(found), Some(i));
        }
        from.elapsed().as_nanos() as f64 / LOOKUPS as f64
    }
}

/// Lower quartile, median, upper quartile.
fn quartiles(mut all: Vec<f64>) -> [f64; 3] {
    all.sort_by(f64::total_cmp);
    [1, 2, 3].map(|q| all[(all.len() - 1) * q / 4])
}

fn main() {
    // `cargo test --benches` only wants to see it run.
    let rounds = match std::env::args().any(|a| a == "--bench") {
        true => ROUNDS,
        false => 3,
    };
    println!("lookups in ns (quartiles), {FEW} routes and {MANY}, {rounds} rounds of {LOOKUPS}");
    for kind in KINDS {
        let (few, many) = (Site::new(kind, FEW), Site::new(kind, MANY));
        for (comparison, word) in [
            (Comparison::Usual, ""),
            (Comparison::IgnoresCase, ", ignoring case"),
        ] {
            for (row, paths) in [("all of them", MANY), ("the same few", FEW)] {
                let mut times = [Vec::new(), Vec::new()];
                let mut ratios = Vec::new();
                for round in 0..rounds {
                    let mut pair = [0.0; 2];
                    for turn in [round % 2, 1 - round % 2] {
                        let (site, paths) = [(&few, FEW), (&many, paths)][turn];
                        pair[turn] = site.measure(paths, comparison);
                    }
                    times[0].push(pair[0]);
                    times[1].push(pair[1]);
                    ratios.push(pair[1] / pair[0]);
                }
                let [few, many] = times.map(quartiles);
                let [low, ratio, high] = quartiles(ratios);
                println!(
                    "{:<44} {row:<13} {:>4.0} ({:.0}–{:.0})  {:>4.0} ({:.0}–{:.0})  ratio {ratio:.2} ({low:.2}–{high:.2})",
                    format!("{}{word}", kind.0),
                    few[1],
                    few[0],
                    few[2],
                    many[1],
                    many[0],
                    many[2],
                );
            }
        }
    }
}
