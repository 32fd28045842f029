//! Ten million rows of usage, taken in by a running server: bytes of each, what a month of
//! a billion requests takes, and how long answers take.
//!
//!     cargo bench --profile release --bench usage [-- ROWS]
#![cfg_attr(target_family = "wasm", no_main)]
#![cfg(not(target_family = "wasm"))]
#![allow(dead_code)]

use std::time::{Duration, Instant};

use keystile_tests::fleet::{PART, ROUTES, Teller, now};
use keystile_tests::server::{Server, token};
use keystile_tests::support::{Home, word};

const KEYS: usize = 10_000;
const CLIENTS: usize = 100;

fn main() {
    let mut numbers = std::env::args().filter_map(|a| a.parse::<usize>().ok());
    let wanted = numbers.next_back().unwrap_or(10_000_000);
    let home = Home::new();
    let ids = issued(&home);
    let owner = token(&home, "owner");
    let server = Server::start(&home, &[]);
    let mut teller = Teller::new(&home);
    let hour = now() - now() % 3600;

    println!("{KEYS} keys of {CLIENTS} clients, {ROUTES} routes, one hour after the other");
    let began = Instant::now();
    let (mut rows, mut hours) = (0, 0);
    // By hour and by day alone: those by minute would be gone after two days.
    while rows < wanted {
        hours += 1;
        for part in ids.chunks(PART) {
            rows += teller.tell(&server, hour - (60 + hours) * 3600, part);
        }
    }
    let took = began.elapsed();
    let bytes = size(&home);
    println!(
        "{rows} rows by hour in {:.0} s, {:.0} a second; {} MB",
        took.as_secs_f64(),
        rows as f64 / took.as_secs_f64(),
        bytes >> 20
    );
    let row = bytes as f64 / rows as f64;
    // An hour's row is one of 24, which share a row by day.
    let day = row * 24.0 * ROUTES as f64;
    println!("{row:.1} bytes a row by hour, its share of days and of clients included");
    println!("{day:.0} bytes a key and day, used on {ROUTES} routes in every hour");
    // A billion a month is 23,148 a minute: at most so many rows by minute, of each key and
    // route one.
    let minutes = (KEYS * ROUTES).min(23_148) as f64 * row * 2.0 * 1440.0;
    let month = KEYS as f64 * day * 60.0 + minutes;
    println!(
        "a billion requests a month over {KEYS} keys, each on {ROUTES} routes in every hour: {:.1} GB when all that is kept is there",
        month / 1e9
    );

    println!("\nmilliseconds, the median of 9:");
    let key = &ids[1234];
    for path in [
        "/v1/usage?since=24h".to_owned(),
        "/v1/usage?since=7d&step=hour&by=outcome".to_owned(),
        "/v1/usage?since=14d&step=hour&by=route".to_owned(),
        "/v1/usage?since=30d&by=client".to_owned(),
        "/v1/usage?since=7d&step=hour&by=client".to_owned(),
        "/v1/usage?since=7d&by=key".to_owned(),
        "/v1/usage?client=c7&since=7d&step=hour&by=key".to_owned(),
        "/v1/usage?client=c7&since=14d&step=hour&by=route".to_owned(),
        format!("/v1/usage?key={key}&since=14d&step=hour&by=outcome"),
        format!("/v1/keys/{key}"),
        "/v1/usage/anomalies".to_owned(),
        "/v1/keys?unused=90d&limit=100".to_owned(),
    ] {
        let mut times: Vec<Duration> = (0..9)
            .map(|_| {
                let began = Instant::now();
                let url = format!("{}{path}", server.url());
                let asked = ureq::get(&url).header("authorization", format!("Bearer {owner}"));
                let mut answer = asked.call().unwrap();
                answer.body_mut().read_to_vec().unwrap();
                began.elapsed()
            })
            .collect();
        times.sort();
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        println!("{:8.1}  (worst {:.1})  {path}", ms(times[4]), ms(times[8]));
    }
}

fn issued(home: &Home) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..CLIENTS {
        let client = format!("c{n}");
        home.ok(&["client", "create", &client]);
        let count = (KEYS / CLIENTS).to_string();
        let issued = home.json(&["key", "issue", &client, "--count", &count]);
        ids.extend(issued.as_array().unwrap().iter().map(|k| word(k, "id")));
    }
    ids
}

/// Of the database and its log.
fn size(home: &Home) -> u64 {
    let of = |name: &str| std::fs::metadata(home.path(name)).map_or(0, |m| m.len());
    of("home/usage.db")
}
