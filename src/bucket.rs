//! Token buckets: the generic cell rate algorithm over one `u64`.
//!
//! What is stored is the *theoretical arrival time*: the monotonic instant, in
//! nanoseconds, at which the bucket will be full again. Source: ITU-T I.371, annex A; the
//! virtual scheduling form.
//!
//! The identity of a bucket is its rule: whose it is, on which route, and the limit's own
//! figures. Two rules never share a level.

use core::hash::{Hash, Hasher};
use std::collections::BTreeMap;

mod levels;

pub use levels::{Levels, MAX_RULES};

use crate::lease::{Held, Leases};
use crate::quota::{Counts, Tallies, TallyKey};

/// The most limits that one list (a plan's, a key's) may hold.
pub const MAX_LIMITS: usize = 8;

const SECOND: u64 = 1_000_000_000;

/// A bucket of `burst` tokens that refills at `requests` per `per` seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    requests: u64,
    per: u64,
    /// Nanoseconds that refill one token, rounded up: never faster than asked for.
    interval: u64,
    /// Nanoseconds from empty to full.
    tolerance: u64,
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

impl Quota {
    /// `None` if a figure is zero, or if the bucket would take more than a hundred
    /// years to fill, or refill faster than once a nanosecond.
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

    /// Takes `cost` tokens at the monotonic instant `now`.
    ///
    /// # Errors
    /// [`Refused`] if fewer are left.
    pub fn take(&self, cost: u64, stored: u64, now: u64) -> Result<Taken, Refused> {
        let full = now.saturating_add(self.tolerance);
        let arrival = stored.clamp(now, full);
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

    /// What to store to undo a take of `cost` tokens.
    pub fn give_back(&self, cost: u64, stored: u64) -> u64 {
        stored.saturating_sub(self.interval.saturating_mul(cost))
    }
}

/// Names the place of a subject's buckets on a route, for as long as the subject lives: over
/// pushes, keyset versions, reordered policies and VM crashes. Which rule a bucket there is
/// under, its [`Levels`] say. Begins with our own prefix, because Istio gives all plugins one
/// name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketKey([u8; BUCKET_KEY_BYTES]);

const BUCKET_KEY_BYTES: usize = 36;
const BUCKET_PREFIX: &[u8; 11] = b"keystile/b/";

/// Whose tokens a bucket counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A key and those that it was rotated from or to.
    Key(u64),
    /// All keys of a client.
    Client(u32),
}

impl BucketKey {
    /// The buckets of `subject` in store `store`; `route` is the stable id of the route whose
    /// own limit it is, zero for the limits of a plan or a key.
    pub fn new(store: [u8; 8], subject: Subject, route: u64) -> Self {
        let (kind, number) = match subject {
            Subject::Key(id) => (b'k', id),
            Subject::Client(n) => (b'c', u64::from(n)),
        };
        Self(joined(&[
            BUCKET_PREFIX,
            &store,
            &[kind],
            &number.to_be_bytes(),
            &route.to_be_bytes(),
        ]))
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Hash for BucketKey {
    /// By what sets the buckets of a store apart.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let numbers = self.0.last_chunk::<16>().into_iter();
        for number in numbers.flat_map(|numbers| numbers.as_chunks::<8>().0) {
            state.write_u64(u64::from_le_bytes(*number));
        }
    }
}

/// Parts one after another, which together fill `N` bytes.
#[inline]
pub(crate) fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut all = [0; N];
    let mut rest = all.as_mut_slice();
    for part in parts {
        if let Some((head, tail)) = core::mem::take(&mut rest).split_at_mut_checked(part.len()) {
            head.copy_from_slice(part);
            rest = tail;
        }
    }
    all
}

/// Swapping the stored value failed too often, because others kept changing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contended;

/// Where buckets are kept: a map in tests, shared data in Envoy.
pub trait Buckets {
    /// Gives `f` the levels that are stored (none at all, at first) and stores what it makes of
    /// them, if it returns `true`. Atomic: where another changed them in between, `f` is asked
    /// again with the new ones.
    ///
    /// # Errors
    /// [`Contended`] after a bounded number of lost swaps; nothing was stored.
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended>;

    /// Calls `f` with the tokens that this worker has taken in advance; `None` where every
    /// take goes to the bucket itself.
    fn with_leases<R>(&mut self, f: impl FnOnce(&mut Leases) -> R) -> Option<R> {
        let _ = f;
        None
    }
}

/// Buckets and tallies in memory: for `explain`, tests and benchmarks.
#[derive(Clone, Debug, Default)]
pub struct MemoryBuckets {
    buckets: BTreeMap<BucketKey, Levels>,
    tallies: BTreeMap<TallyKey, Counts>,
}

impl Buckets for MemoryBuckets {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        let mut levels = self.buckets.get(key).cloned().unwrap_or_default();
        if f(&mut levels) {
            self.buckets.insert(*key, levels);
        }
        Ok(())
    }
}

impl Tallies for MemoryBuckets {
    fn update_tally(
        &mut self,
        key: &TallyKey,
        f: &mut dyn FnMut(&mut Counts) -> bool,
    ) -> Result<(), Contended> {
        let mut counts = self.tallies.get(key).cloned().unwrap_or_default();
        if f(&mut counts) {
            self.tallies.insert(*key, counts);
        }
        Ok(())
    }
}

/// One bucket that a request must pay into.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// Where the bucket lies.
    pub key: BucketKey,
    /// Its rule: which of the buckets there it is, and its size and refill.
    pub quota: Quota,
    /// Tokens to take.
    pub cost: u64,
}

/// How several takes together came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All were taken. `tightest` is the charge with the fewest tokens left.
    Taken {
        /// Position of that charge.
        tightest: usize,
        /// Its state.
        state: Taken,
    },
    /// None was taken: the charge at `by` refused; of several, the one that makes
    /// the caller wait longest.
    Refused {
        /// Position of that charge.
        by: usize,
        /// Why, and for how long.
        refused: Refused,
    },
    /// None was taken: the bucket at `by` is too contended to tell.
    Contended {
        /// Position of that charge.
        by: usize,
    },
}

/// Takes from all buckets or from none.
///
/// All are looked at before any is changed. Where another worker empties one between
/// the look and the take, what was taken meanwhile is given back; a request racing
/// with that moment may be refused one token early, never admitted one too many.
pub fn take_all(buckets: &mut impl Buckets, charges: &[Charge], now: u64) -> Option<Outcome> {
    let leased = buckets.with_leases(|leases| leases.take(charges, now));
    if let Some(outcome) = leased.flatten() {
        return Some(outcome);
    }
    if charges.len() > 1
        && let Some(refusal) = look(buckets, charges, now)
    {
        return Some(refusal);
    }
    pay_all(buckets, charges, true, now)
}

/// The second half of [`take_all`], for a caller that has called [`look`], and takes from
/// leases never: it needs none, and tokens in one would be missing in the bucket.
pub fn take_looked(buckets: &mut impl Buckets, charges: &[Charge], now: u64) -> Option<Outcome> {
    pay_all(buckets, charges, false, now)
}

fn pay_all(
    buckets: &mut impl Buckets,
    charges: &[Charge],
    may_lease: bool,
    now: u64,
) -> Option<Outcome> {
    let mut tightest: Option<(usize, Taken)> = None;
    let mut paid = [None; MAX_LIMITS + 1];
    for ((i, charge), paid_here) in charges.iter().enumerate().zip(&mut paid) {
        let mut held = held(buckets, charge, now);
        held.is_hot &= may_lease;
        let (swapped, result) = pay(buckets, charges, charge, held, now);
        let refusal = match (swapped, result) {
            (Ok(()), Ok((taken, leased))) => {
                buckets.with_leases(|leases| leases.renew(charge, taken, leased, now));
                *paid_here = Some(taken.stored);
                if tightest.is_none_or(|(_, t)| taken.remaining < t.remaining) {
                    tightest = Some((i, taken));
                }
                continue;
            }
            (Ok(()), Err(refused)) => Outcome::Refused { by: i, refused },
            (Err(Contended), _) => Outcome::Contended { by: i },
        };
        for (charge, stored) in charges.iter().zip(paid) {
            if let Some(stored) = stored {
                undo(buckets, charge, stored);
            }
        }
        return Some(refusal);
    }
    tightest.map(|(tightest, state)| Outcome::Taken { tightest, state })
}

fn held(buckets: &mut impl Buckets, charge: &Charge, now: u64) -> Held {
    let held = buckets.with_leases(|leases| leases.held(charge, now));
    held.unwrap_or_default()
}

/// The level of a charge's bucket, as if this worker's lease were given back, and whether the
/// bucket exists. One that does not begins as [`Levels::begin`] says.
fn level(
    levels: &mut Levels,
    charges: &[Charge],
    charge: &Charge,
    held: Held,
    now: u64,
) -> Result<(u64, bool), Refused> {
    if let Some(stored) = levels.get(&charge.quota) {
        return Ok((held.given_back(&charge.quota, stored), true));
    }
    let is_beside = |quota: &Quota| {
        let mut others = charges.iter();
        others.any(|other| other.key == charge.key && other.quota == *quota)
    };
    let start = levels.begin(&charge.quota, is_beside, now);
    start.map(|start| (start, false)).map_err(|room| Refused {
        wait: room.saturating_sub(now),
        remaining: 0,
    })
}

/// Takes from one bucket, and, where that is wanted, tokens in advance; gives the state of
/// the bucket after both, and the number of the latter.
///
/// A refusal stores nothing, what this worker holds of the bucket least of all: the tokens
/// stay in its lease, and would be counted twice. But a bucket that refuses the first request
/// is made all the same: it refills under its own rule from then on.
fn pay(
    buckets: &mut impl Buckets,
    charges: &[Charge],
    charge: &Charge,
    held: Held,
    now: u64,
) -> (Result<(), Contended>, Result<(Taken, u64), Refused>) {
    let quota = &charge.quota;
    let mut result = Err(Refused {
        wait: SECOND,
        remaining: 0,
    });
    let swapped = buckets.update(&charge.key, &mut |levels| {
        let (level, exists) = match level(levels, charges, charge, held, now) {
            Ok(found) => found,
            Err(refused) => {
                result = Err(refused);
                return false;
            }
        };
        result = quota.take(charge.cost, level, now).map(|taken| {
            let leased = if held.is_hot {
                quota.leasable(&taken)
            } else {
                0
            };
            let reserved = quota.interval.saturating_mul(leased);
            let taken = Taken {
                stored: taken.stored.saturating_add(reserved),
                remaining: taken.remaining.saturating_sub(leased),
                full_in: taken.full_in.saturating_add(reserved),
            };
            (taken, leased)
        });
        match result {
            Ok((taken, _)) => levels.set(quota, taken.stored),
            Err(_) => !exists && levels.set(quota, level),
        }
    });
    (swapped, result)
}

/// Undoes a take that left `stored`, and gives up the lease that came with it. If others have
/// taken since, what was taken stays so: a lease of theirs may lie above it, and the caller
/// is one token poorer, which is the safe side. So it is where that is lost to contention.
fn undo(buckets: &mut impl Buckets, charge: &Charge, stored: u64) {
    let leased = buckets.with_leases(|leases| leases.forget(charge));
    let cost = charge.cost.saturating_add(leased.unwrap_or(0));
    let _ = give_back_top(buckets, &charge.key, &charge.quota, stored, cost);
}

/// Gives `tokens` back to a bucket that still stores `top`: nobody has taken since.
pub(crate) fn give_back_top(
    buckets: &mut impl Buckets,
    key: &BucketKey,
    quota: &Quota,
    top: u64,
    tokens: u64,
) -> Result<(), Contended> {
    buckets.update(key, &mut |levels| {
        levels.get(quota) == Some(top) && levels.set(quota, quota.give_back(tokens, top))
    })
}

/// Whether one of the buckets would refuse. Takes nothing, but makes buckets that do not exist:
/// they refill under their own rule from the first request on.
pub fn look(buckets: &mut impl Buckets, charges: &[Charge], now: u64) -> Option<Outcome> {
    let mut worst: Option<(usize, Refused)> = None;
    for (i, charge) in charges.iter().enumerate() {
        let held = held(buckets, charge, now);
        let mut result = None;
        let read = buckets.update(&charge.key, &mut |levels| {
            let quota = &charge.quota;
            match level(levels, charges, charge, held, now) {
                Ok((level, exists)) => {
                    result = quota.take(charge.cost, level, now).err();
                    !exists && levels.set(quota, level)
                }
                Err(refused) => {
                    result = Some(refused);
                    false
                }
            }
        });
        if read.is_err() {
            return Some(Outcome::Contended { by: i });
        }
        if let Some(refused) = result
            && worst.is_none_or(|(_, w)| refused.wait > w.wait)
        {
            worst = Some((i, refused));
        }
    }
    worst.map(|(by, refused)| Outcome::Refused { by, refused })
}

#[cfg(test)]
mod tests;
