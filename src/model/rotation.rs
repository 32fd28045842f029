//! When a key is due for rotation, and when its holder is warned. Pure: one key and one
//! instant in, at most one step out.

use crate::record::{Key, Status};

const DAY: u64 = 86_400;

/// How old a key grows where nobody says otherwise.
pub const EVERY: u64 = 90 * DAY;
/// How long the old key works on after a rotation that nobody asked for: long enough for
/// a weekend.
pub const GRACE: u64 = 7 * DAY;
/// Days before the end at which its holder is warned, the earliest first.
pub const WARNINGS: [u64; 3] = [30, 7, 1];

/// How a key is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Seconds after which it is replaced; `None` for never.
    pub every: Option<u64>,
    /// Seconds that the old one works on.
    pub grace: u64,
}

/// What is to be done about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its holder is told that it ends, or should be replaced, in so many days.
    Warn {
        /// One of [`WARNINGS`].
        days: u64,
        /// The instant meant, in seconds.
        deadline: u64,
        /// It ends then by itself; otherwise it is merely due.
        ends: bool,
    },
    /// Its successor is to be made ready, and its own end set.
    HandOver {
        /// Seconds that it works on.
        grace: u64,
    },
}

/// The next step for a key. `collected` says whether its holder can fetch a new secret by
/// himself; `warned` is the fewest days of a warning given for the same deadline.
pub fn step(
    key: &Key,
    schedule: Schedule,
    collected: bool,
    warned: Option<u64>,
    now: u64,
) -> Option<Step> {
    // A key that is being replaced needs no second replacement, and a dead one none at all.
    if key.status(now) != Status::Active {
        return None;
    }
    let due = schedule
        .every
        .map(|every| key.created.saturating_add(every));
    if collected && due.is_some_and(|due| due <= now) {
        return Some(Step::HandOver {
            grace: schedule.grace,
        });
    }
    let (deadline, ends) = deadline(key, due, collected)?;
    let days = WARNINGS
        .into_iter()
        .filter(|days| {
            let at = deadline.saturating_sub(days * DAY);
            // A key that was made for a week needs no warning a month ahead.
            at > key.created && at <= now
        })
        .min()?;
    (warned.is_none_or(|given| days < given)).then_some(Step::Warn {
        days,
        deadline,
        ends,
    })
}

/// The instant to warn of: its end, or, where nobody will replace it unasked, the day on
/// which it should have been.
fn deadline(key: &Key, due: Option<u64>, collected: bool) -> Option<(u64, bool)> {
    let end = key.ends();
    let due = due.filter(|_| !collected);
    match (end, due) {
        (Some(end), Some(due)) if due < end => Some((due, false)),
        (Some(end), _) => Some((end, true)),
        (None, Some(due)) => Some((due, false)),
        (None, None) => None,
    }
}
