//! What is seen, from all threads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::judge::Breach;

/// How many breaches of a kind are told in full.
const TOLD: usize = 20;

/// Collects what did not hold, and what happened when.
pub struct Recorder {
    pub began: Instant,
    breaches: Mutex<BTreeMap<Breach, Breaches>>,
    events: Mutex<Vec<(Duration, String)>>,
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
