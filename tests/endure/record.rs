//! What is seen, from all threads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::judge::Breach;

/// How many breaches of a kind are told in full.
const TOLD: usize = 20;
/// Refusals that are further apart are two outages.
const APART: Duration = Duration::from_secs(1);

/// Collects what did not hold, and what happened when.
pub struct Recorder {
    pub began: Instant,
    breaches: Mutex<BTreeMap<Breach, Breaches>>,
    events: Mutex<Vec<(Duration, String)>>,
    outages: Mutex<Vec<Outage>>,
}

/// A time in which an Envoy refused whatever it was asked.
#[derive(Clone)]
pub struct Outage {
    pub edge: SocketAddr,
    pub from: Duration,
    pub until: Duration,
    pub answers: u64,
}

/// Those of a kind.
#[derive(Clone, Default)]
pub struct Breaches {
    pub count: u64,
    pub first: Vec<String>,
}

impl Recorder {
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            breaches: Mutex::default(),
            events: Mutex::default(),
            outages: Mutex::default(),
        }
    }

    /// Something did not hold.
    pub fn breach(&self, breach: Breach, words: String) {
        let at = self.began.elapsed().as_secs_f64();
        let mut breaches = self.breaches.lock().unwrap();
        let of_kind = breaches.entry(breach).or_default();
        of_kind.count += 1;
        if of_kind.first.len() < TOLD {
            eprintln!("endure: {at:.1} s: {breach:?}: {words}");
            of_kind.first.push(format!("{at:.1} s: {words}"));
        }
    }

    /// Something happened that the report tells.
    pub fn event(&self, words: String) {
        let at = self.began.elapsed();
        println!("endure: {:.1} s: {words}", at.as_secs_f64());
        self.events.lock().unwrap().push((at, words));
    }

    /// An Envoy answered 503.
    pub fn unavailable(&self, edge: SocketAddr) {
        let now = self.began.elapsed();
        let mut outages = self.outages.lock().unwrap();
        let mut known = outages.iter_mut().rev();
        match known.find(|o| o.edge == edge && now < o.until + APART) {
            Some(outage) => {
                outage.until = now.max(outage.until);
                outage.answers += 1;
            }
            None => outages.push(Outage {
                edge,
                from: now,
                until: now,
                answers: 1,
            }),
        }
    }

    pub fn outages(&self) -> Vec<Outage> {
        self.outages.lock().unwrap().clone()
    }

    pub fn events(&self) -> Vec<(Duration, String)> {
        self.events.lock().unwrap().clone()
    }

    pub fn breaches(&self) -> BTreeMap<Breach, Breaches> {
        self.breaches.lock().unwrap().clone()
    }

    /// Whether all held so far.
    pub fn all_held(&self) -> bool {
        self.breaches.lock().unwrap().is_empty()
    }
}
