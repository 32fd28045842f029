//! Token buckets: the generic cell rate algorithm over one `u64`.
//!
//! What is stored is the *theoretical arrival time*: the monotonic instant, in
//! nanoseconds, at which the bucket will be full again. Source: ITU-T I.371, annex A; the
//! virtual scheduling form.
//!
//! A bucket is identified by its rule: the subject, the route, and the figures of the limit. Two
//! rules never share a level.

use core::hash::{Hash, Hasher};

mod charge;
mod kept;
mod key;
mod kin;
mod levels;
mod sole;
mod take;

pub(crate) use charge::is_leasable;
pub use charge::{Charge, Kin, TakeOutcome};
pub use kept::Buckets;
pub use levels::{Levels, MAX_RULES, Members};
pub use sole::{ChangeLevel, Sole, SoleLevel};

pub use crate::limit::memory::MemoryBuckets;
pub(crate) use key::joined;
pub use key::{BucketKey, Subject};
pub use take::{give_back, look, take_all, take_looked};

/// The most limits that one list (a plan's, a key's) may hold.
pub const MAX_LIMITS: usize = 8;

const SECOND: u64 = 1_000_000_000;

/// A bucket of `burst` tokens that refills at `requests` per `per` seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    requests: u64,
    per: u64,
    /// Nanoseconds that refill one token, rounded up: never faster than asked for.
    interval: u64,
    /// Nanoseconds from empty to full.
    tolerance: u64,
}

impl Hash for Bucket {
    /// Hashes one number only: in a table of buckets, few keys have two quotas.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let figures = self.requests ^ self.per.rotate_left(24) ^ self.tolerance.rotate_left(40);
        state.write_u64(figures);
    }
}

/// A take that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What to store.
    pub stored: u64,
    /// Whole tokens left.
    pub remaining: u64,
    /// Nanoseconds until the bucket is full.
    pub full_in: u64,
}

/// A take that did not: no token was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Nanoseconds until the same take would succeed, were nothing else taken.
    pub wait: u64,
    /// Whole tokens left.
    pub remaining: u64,
}

impl Refused {
    /// `Retry-After` (RFC 9110 section 10.2.3): whole seconds, rounded up, at least 1.
    pub fn retry_after(self) -> u64 {
        seconds_up(self.wait).max(1)
    }
}

/// Nanoseconds as whole seconds, rounded up.
pub fn seconds_up(ns: u64) -> u64 {
    ns.div_ceil(SECOND)
}

impl Bucket {
    /// `None` if a figure is zero, or if the bucket would take more than a hundred years to fill or
    /// refill faster than once a nanosecond.
    pub fn new(requests: u64, per_seconds: u64, burst: u64) -> Option<Self> {
        let per = per_seconds.checked_mul(SECOND)?;
        if requests == 0 || per == 0 || burst == 0 || requests > per {
            return None;
        }
        let interval = per.div_ceil(requests);
        let tolerance = interval.checked_mul(burst)?;
        (tolerance <= 100 * 366 * 86_400 * SECOND).then_some(Self {
            requests,
            per: per_seconds,
            interval,
            tolerance,
        })
    }

    /// Whether these are its figures.
    fn is(&self, requests: u64, per: u64, burst: u64) -> bool {
        // A multiplication is faster than a division.
        self.requests == requests
            && self.per == per
            && self.interval.checked_mul(burst) == Some(self.tolerance)
    }

    /// Takes `cost` tokens at the monotonic instant `now`.
    ///
    /// # Errors
    /// [`Refused`] if fewer are left.
    pub fn take(&self, cost: u64, stored: u64, now: u64) -> Result<Taken, Refused> {
        let full = now.saturating_add(self.tolerance);
        let arrival = stored.max(now);
        let after = arrival.saturating_add(self.interval.saturating_mul(cost));
        if after > full {
            return Err(Refused {
                wait: after.saturating_sub(full),
                remaining: full.saturating_sub(arrival) / self.interval,
            });
        }
        Ok(Taken {
            stored: after,
            remaining: full.saturating_sub(after) / self.interval,
            full_in: after.saturating_sub(now),
        })
    }

    /// Tokens of a full bucket.
    pub fn burst(&self) -> u64 {
        self.tolerance / self.interval
    }

    /// Nanoseconds that refill one token.
    pub fn interval(&self) -> u64 {
        self.interval
    }

    /// What to store after taking `tokens` more, or as many as there are. Tokens that workers have
    /// already taken in advance are theirs: the bucket does not lose them twice and is never
    /// emptier than empty, so that no caller waits longer than it was told.
    fn less(&self, stored: u64, tokens: u64, now: u64) -> u64 {
        let taken = stored.saturating_add(self.interval.saturating_mul(tokens));
        taken.min(now.saturating_add(self.tolerance))
    }

    /// What to store for a bucket that holds this many tokens.
    fn holding(&self, tokens: u64, now: u64) -> u64 {
        let missing = self.burst().saturating_sub(tokens);
        now.saturating_add(self.interval.saturating_mul(missing))
    }

    /// What to store to undo a take of `cost` tokens.
    pub fn give_back(&self, cost: u64, stored: u64) -> u64 {
        stored.saturating_sub(self.interval.saturating_mul(cost))
    }
}

/// Swapping the stored value failed too often, because others kept changing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contended;

#[cfg(test)]
mod tests;
