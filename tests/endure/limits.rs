//! Whether more was let through than a bucket of tokens allows, by nothing but when requests were
//! sent and answered.

use std::time::Instant;

/// A request that was let through.
#[derive(Clone, Copy)]
pub struct Through {
    pub sent: Instant,
    pub done: Instant,
}

/// The most that was let through beyond the bound, in any stretch of time that begins with a request
/// and is at most a minute long. Whatever was sent and answered within a stretch was decided within
/// it, and a bucket gives out at most what it holds and what it gets meanwhile.
pub fn beyond(all: &[Through], burst: f64, a_second: f64) -> f64 {
    let mut all = all.to_vec();
    all.sort_by_key(|t| t.sent);
    let mut most: f64 = 0.0;
    for (at, first) in all.iter().enumerate() {
        let mut done: Vec<Instant> = all[at..]
            .iter()
            .take_while(|t| (t.sent - first.sent).as_secs() < 60)
            .map(|t| t.done)
            .collect();
        done.sort();
        for (count, last) in (1..).zip(&done) {
            let seconds = (*last - first.sent).as_secs_f64();
            most = most.max(f64::from(count) - burst - a_second * seconds);
        }
    }
    most
}
