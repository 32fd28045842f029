//! Both clocks for the price of one: the wall clock is the monotonic clock plus a difference that
//! is measured at every tick.

use std::cell::Cell;

use super::host;
use keystile_core::decide::Clocks;

thread_local! {
    /// The wall clock minus the monotonic clock, in nanoseconds.
    static AHEAD: Cell<Option<u64>> = const { Cell::new(None) };
    /// The latest reading of the monotonic clock.
    static LATEST: Cell<u64> = const { Cell::new(0) };
}

/// The time of a request. If the wall clock is set, requests see it within a second; if a clock
/// fails, everything that expires has expired, and buckets do not refill. The monotonic clock stays
/// at its latest reading rather than going back.
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
    // Earlier than the monotonic clock only if it was set to its first year.
    let ahead = host::wall_ns().and_then(|wall| wall.checked_sub(monotonic));
    AHEAD.set(ahead);
    ahead
}
