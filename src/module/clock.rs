//! Both clocks for the price of one: the wall clock is the monotonic one plus a difference that is
//! measured at every tick.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use keystile_core::decide::Clocks;

/// Nanoseconds. The first reading is well above zero, so that earlier instants can be subtracted.
const FIRST: u64 = 3_600_000_000_000;

static START: LazyLock<Instant> = LazyLock::new(instant);
/// The wall clock minus the monotonic clock, in nanoseconds; zero if not measured yet.
static AHEAD: AtomicU64 = AtomicU64::new(0);

#[expect(
    clippy::disallowed_methods,
    reason = "the module's one look at the monotonic clock"
)]
fn instant() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the module's one look at the wall clock"
)]
fn wall_ns() -> Option<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

/// The monotonic clock, in nanoseconds.
pub fn monotonic() -> u64 {
    let since = instant().saturating_duration_since(*START);
    let since = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    since.saturating_add(FIRST)
}

/// When this process began to report, in nanoseconds of the wall clock.
pub fn started() -> u64 {
    static STARTED: LazyLock<u64> = LazyLock::new(|| wall_ns().unwrap_or(FIRST));
    *STARTED
}

/// The time of a request. If the wall clock is set, requests see it within a second; if it shows a
/// time before 1970, everything that expires has expired.
pub fn now() -> Clocks {
    let monotonic = monotonic();
    let ahead = match AHEAD.load(Ordering::Relaxed) {
        0 => measured(monotonic),
        ahead => Some(ahead),
    };
    let wall = ahead.and_then(|ahead| ahead.checked_add(monotonic));
    Clocks {
        wall: wall.map_or(u64::MAX, |ns| ns / 1_000_000_000),
        monotonic,
    }
}

/// The wall clock, in seconds.
pub fn wall() -> u64 {
    now().wall
}

/// Once a second, and with every configuration.
pub fn tick() {
    measured(monotonic());
}

fn measured(monotonic: u64) -> Option<u64> {
    let ahead = wall_ns().and_then(|wall| wall.checked_sub(monotonic));
    AHEAD.store(ahead.unwrap_or(0), Ordering::Relaxed);
    ahead
}
