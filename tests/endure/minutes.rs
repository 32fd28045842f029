//! How long answers took, minute by minute.

use std::time::Duration;

/// Each bucket is so much wider than the one before: percentiles are that exact.
const STEP: f64 = 1.05;
/// The first one ends here, in microseconds.
const LEAST: f64 = 20.0;
/// The last one holds whatever took longer than half a minute or so.
const BUCKETS: usize = 300;

/// The answers of a minute.
#[derive(Clone)]
pub struct Minute {
    buckets: Vec<u32>,
    pub answers: u64,
    pub worst: Duration,
}

impl Default for Minute {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            answers: 0,
            worst: Duration::ZERO,
        }
    }
}

impl Minute {
    pub fn add(&mut self, took: Duration) {
        let us = took.as_secs_f64() * 1e6;
        let at = (us / LEAST).max(1.0).log(STEP) as usize;
        self.buckets[at.min(BUCKETS - 1)] += 1;
        self.answers += 1;
        self.worst = self.worst.max(took);
    }

    pub fn merge(&mut self, other: &Self) {
        for (all, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *all += more;
        }
        self.answers += other.answers;
        self.worst = self.worst.max(other.worst);
    }

    /// Milliseconds that so many of a thousand took at most.
    pub fn percentile(&self, of_1000: u64) -> f64 {
        let rank = (self.answers * of_1000).div_ceil(1000).max(1);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return LEAST * STEP.powi(at as i32 + 1) / 1000.0;
            }
        }
        0.0
    }
}
