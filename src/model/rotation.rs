//! When a key is due for rotation, and when its holder is warned. Pure: one key and one time in, at
//! most one step out.

use crate::record::{Key, Status};

const DAY: u64 = 86_400;

/// The default age at which a key is replaced.
pub const EVERY: u64 = 90 * DAY;
/// How long the old key goes on working after an automatic rotation: long enough for a weekend.
pub const GRACE: u64 = 7 * DAY;
/// Days before the deadline at which the holder is warned, earliest first.
pub const WARNINGS: [u64; 3] = [30, 7, 1];

/// The rotation rules of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Seconds after which it is replaced; `None` for never.
    pub every: Option<u64>,
    /// Seconds for which the old key goes on working.
    pub grace: u64,
}

/// What to do about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationStep {
    /// Warn its holder that it expires, or should be replaced, in this many days.
    Warn {
        /// One of [`WARNINGS`].
        days: u64,
        /// The deadline, in seconds.
        deadline: u64,
        /// It stops working then; otherwise it is only due.
        expires: bool,
    },
    /// Make its successor available, and set its own end.
    HandOver {
        /// Seconds for which it goes on working.
        grace: u64,
    },
}

/// The next step for a key. `collected` says whether its holder can fetch a new secret; `warned` is
/// the fewest days of a warning already given for the same deadline.
pub fn step(
    key: &Key,
    schedule: Schedule,
    collected: bool,
    warned: Option<u64>,
    now: u64,
) -> Option<RotationStep> {
    // A key that is being replaced needs no second replacement, and one that no longer works needs
    // none at all.
    if key.status(now) != Status::Active {
        return None;
    }
    let due = schedule
        .every
        .map(|every| key.created.saturating_add(every));
    if collected && due.is_some_and(|due| due <= now) {
        return Some(RotationStep::HandOver {
            grace: schedule.grace,
        });
    }
    let (deadline, expires) = deadline(key, due, collected)?;
    let days = WARNINGS
        .into_iter()
        .filter(|days| {
            let at = deadline.saturating_sub(days * DAY);
            // A key that is valid for a week needs no warning a month ahead.
            at > key.created && at <= now
        })
        .min()?;
    (warned.is_none_or(|given| days < given)).then_some(RotationStep::Warn {
        days,
        deadline,
        expires,
    })
}

/// The deadline to warn of: its expiry or, if it is not replaced automatically, the day on which it
/// is due.
fn deadline(key: &Key, due: Option<u64>, collected: bool) -> Option<(u64, bool)> {
    let end = key.effective_expiry();
    let due = due.filter(|_| !collected);
    match (end, due) {
        (Some(end), Some(due)) if due < end => Some((due, false)),
        (Some(end), _) => Some((end, true)),
        (None, Some(due)) => Some((due, false)),
        (None, None) => None,
    }
}
