//! Both clocks for the price of one: the wall clock is the monotonic one plus a difference
//! that is measured anew with every tick.

use std::cell::Cell;

use super::host;
use keystile_core::decide::Clocks;

thread_local! {
    /// Nanoseconds of the wall clock less those of the monotonic one.
    static AHEAD: Cell<Option<u64>> = const { Cell::new(None) };
    /// The latest reading of the monotonic clock.
    static LATEST: Cell<u64> = const { Cell::new(0) };
}

/// The time of a request. Where the wall clock is set, requests learn of it within a second;
/// where a clock fails, everything that expires has expired, and buckets do not refill. The
/// monotonic clock stands still at its latest reading rather than go back.
pub fn now() -> Clocks {
    let (wall, monotonic) = match host::monotonic() {
        Some(monotonic) => {
            let ahead = AHEAD.get().or_else(|| measured(monotonic));
            (
                ahead.and_then(|ahead| ahead.checked_add(monotonic)),
                monotonic,
            )
        }
        None => (host::wall_ns(), 0),
    };
    let monotonic = LATEST.get().max(monotonic);
    LATEST.set(monotonic);
    Clocks {
        wall: wall.map_or(u64::MAX, |ns| ns / 1_000_000_000),
        monotonic,
    }
}

/// Once a second, and with every configuration.
pub fn tick() {
    AHEAD.set(None);
    if let Some(monotonic) = host::monotonic() {
        measured(monotonic);
    }
}

fn measured(monotonic: u64) -> Option<u64> {
    // Before the monotonic one only if it was set to the year it began in.
    let ahead = host::wall_ns().and_then(|wall| wall.checked_sub(monotonic));
    AHEAD.set(ahead);
    ahead
}
