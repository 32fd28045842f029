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

mod kin;
mod levels;
mod sole;

pub use kin::Kin;
pub use levels::{Levels, MAX_RULES, Members};
pub use sole::{Alone, Change, Sole};

use crate::limit::lease::Leases;
use crate::limit::quota::{Counts, Tallies, TallyKey};
use kin::Asked;

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
    /// By one number, for a table of buckets of whose key few have two limits.
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

    /// Whether these are its figures.
    fn is(&self, requests: u64, per: u64, burst: u64) -> bool {
        // A product is quicker than a quotient.
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

    /// What to store of `stored` after `tokens` more were taken, or all that there are. Those
    /// that workers took in advance before are theirs: the bucket does not lack them twice, and
    /// is never emptier than empty, so that no caller waits for more than it is told.
    fn less(&self, stored: u64, tokens: u64, now: u64) -> u64 {
        let taken = stored.saturating_add(self.interval.saturating_mul(tokens));
        taken.min(now.saturating_add(self.tolerance))
    }

    /// What is stored of a bucket that holds so many tokens.
    fn holding(&self, tokens: u64, now: u64) -> u64 {
        let missing = self.burst().saturating_sub(tokens);
        now.saturating_add(self.interval.saturating_mul(missing))
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
/// Changed with the form of what is stored there: a process may outlive a version of the filter.
const BUCKET_PREFIX: &[u8; 11] = b"keystile/l/";
const CLIENT: u8 = b'c';

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
            Subject::Client(n) => (CLIENT, u64::from(n)),
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

    /// Whether all keys of a client share these buckets.
    fn is_of_client(&self) -> bool {
        self.0.get(BUCKET_PREFIX.len() + 8) == Some(&CLIENT)
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

    /// The same, but a bucket that lies alone is given to `change` instead, without its levels
    /// being read.
    ///
    /// # Errors
    /// [`Contended`] as above.
    fn update_sole(
        &mut self,
        key: &BucketKey,
        sole: Sole<'_>,
        change: &mut Change<'_>,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        self.update(key, &mut |levels| match sole.change_of(levels, change) {
            Some(is_changed) => is_changed,
            None => f(levels),
        })
    }

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
    pub bucket: Bucket,
    /// Tokens that the request costs; a bucket that never holds so many gives all that it holds.
    pub cost: u64,
    /// Who pays, and where its buckets would lie if the limit were the other subject's.
    pub kin: Option<Kin>,
}

impl Charge {
    /// Tokens to take. A request dearer than the whole bucket takes the whole bucket: it stays
    /// possible, and `Retry-After` stays true.
    pub(crate) fn tokens(&self) -> u64 {
        self.cost.min(self.bucket.burst())
    }

    /// Whether all keys of a client share the bucket.
    pub(crate) fn is_of_client(&self) -> bool {
        self.key.is_of_client()
    }
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
    let (mut few, mut many) = ([None; MAX_LIMITS + 1], Vec::new());
    let paid: &mut [Option<u64>] = match charges.len() <= few.len() {
        true => &mut few,
        // Of two policies.
        false => {
            many.resize(charges.len(), None);
            &mut many
        }
    };
    for ((i, charge), paid_here) in charges.iter().enumerate().zip(paid.iter_mut()) {
        let refusal = match pay(buckets, charges, charge, may_lease, now) {
            Ok(Ok(Paid {
                taken,
                leased,
                members,
            })) => {
                buckets.with_leases(|leases| leases.renew(charge, taken, leased, members, now));
                *paid_here = Some(taken.stored);
                if tightest.is_none_or(|(_, t)| taken.remaining < t.remaining) {
                    tightest = Some((i, taken));
                }
                continue;
            }
            Ok(Err(refused)) => Outcome::Refused { by: i, refused },
            Err(Contended) => Outcome::Contended { by: i },
        };
        for (charge, stored) in charges.iter().zip(paid) {
            if let Some(stored) = stored {
                undo(buckets, charge, *stored);
            }
        }
        return Some(refusal);
    }
    tightest.map(|(tightest, state)| Outcome::Taken { tightest, state })
}

/// Whether tokens of these buckets may be taken in advance, and from what was so taken: only where
/// each of them gives all that the request costs, and all the same. The payer's other buckets took
/// over what was in advance as it was told: by its number.
pub(crate) fn is_leasable(charges: &[Charge]) -> bool {
    let cost = charges.first().map_or(0, |charge| charge.cost);
    charges
        .iter()
        .all(|charge| charge.cost == cost && charge.tokens() == cost)
}

/// What a take left behind.
struct Paid {
    taken: Taken,
    /// Tokens taken in advance.
    leased: u64,
    /// The keys that a lease of it serves.
    members: Members,
}

/// Takes from one bucket, and, where that is wanted, tokens in advance; gives the state of
/// the bucket after both.
///
/// A refusal stores nothing, what this worker holds of the bucket least of all: the tokens
/// stay in its lease, and would be counted twice. But a bucket that refuses the first request
/// is made all the same: it refills under its own rule from then on.
fn pay(
    buckets: &mut impl Buckets,
    charges: &[Charge],
    charge: &Charge,
    may_lease: bool,
    now: u64,
) -> Result<Result<Paid, Refused>, Contended> {
    let bucket = &charge.bucket;
    let asked = Asked::new(charges, charge, now);
    let mut elsewhere = None;
    let may_lease = may_lease && is_leasable(charges);
    // The state after a take from this level, and the tokens taken in advance.
    let take = |level, may_lease: bool| {
        let taken = bucket.take(charge.tokens(), level, now)?;
        let leased = match may_lease {
            true => bucket.leasable(&taken),
            false => 0,
        };
        let reserved = bucket.interval.saturating_mul(leased);
        let taken = Taken {
            stored: taken.stored.saturating_add(reserved),
            remaining: taken.remaining.saturating_sub(leased),
            full_in: taken.full_in.saturating_add(reserved),
        };
        Ok((taken, leased))
    };
    // Beside a bucket that lies alone there is nothing else to charge.
    let from_sole = |alone: Alone<'_>, level, is_hot: bool| {
        let paid = take(level, is_hot && may_lease).map(|(taken, leased)| Paid {
            taken,
            leased,
            members: match leased {
                0 => Members::default(),
                _ => alone.served(),
            },
        });
        (paid.as_ref().ok().map(|paid| paid.taken.stored), paid)
    };
    let paid = asked.ask(buckets, from_sole, &mut |levels, found, is_hot| {
        elsewhere = None;
        let may_lease = is_hot && may_lease && !asked.counts_elsewhere(levels);
        let (taken, leased) = match take(found.level, may_lease) {
            Ok(taken) => taken,
            Err(refused) => return (found.keep(levels, charge), Err(refused)),
        };
        let is_set = levels.set(&charge.bucket, taken.stored);
        elsewhere = asked.took(levels, leased);
        let members = match leased {
            0 => Members::default(),
            _ => levels.served(bucket, charge.kin.map(|kin| kin.lineage)),
        };
        let paid = Paid {
            taken,
            leased,
            members,
        };
        (is_set, Ok(paid))
    })?;
    if let Some(kin) = elsewhere {
        // Where that fails nothing is let in, and the caller is poorer: the safe side.
        asked.pass_on(buckets, kin)?;
    }
    Ok(paid)
}

/// Undoes a take that left `stored`, and gives up the lease that came with it. If others have
/// taken since, what was taken stays so: a lease of theirs may lie above it, and the caller
/// is one token poorer, which is the safe side. So it is where that is lost to contention.
fn undo(buckets: &mut impl Buckets, charge: &Charge, stored: u64) {
    let leased = buckets.with_leases(|leases| leases.forget(charge));
    let cost = charge.tokens().saturating_add(leased.unwrap_or(0));
    let _ = give_back_top(buckets, &charge.key, &charge.bucket, stored, cost);
}

/// Gives `tokens` back to a bucket that still stores `top`: nobody has taken since.
pub(crate) fn give_back_top(
    buckets: &mut impl Buckets,
    key: &BucketKey,
    bucket: &Bucket,
    top: u64,
    tokens: u64,
) -> Result<(), Contended> {
    let payer = None;
    let from_sole =
        &mut |alone: Alone<'_>| (alone.stored == top).then(|| bucket.give_back(tokens, top));
    buckets.update_sole(key, Sole { bucket, payer }, from_sole, &mut |levels| {
        levels.get(bucket) == Some(top) && levels.set(bucket, bucket.give_back(tokens, top))
    })
}

/// Whether one of the buckets would refuse. Takes nothing, but makes buckets that do not exist:
/// they refill under their own rule from the first request on.
pub fn look(buckets: &mut impl Buckets, charges: &[Charge], now: u64) -> Option<Outcome> {
    let mut worst: Option<(usize, Refused)> = None;
    for (i, charge) in charges.iter().enumerate() {
        let asked = Asked::new(charges, charge, now);
        let look = |level| charge.bucket.take(charge.tokens(), level, now).map(|_| ());
        let from_sole = |_: Alone<'_>, level, _| (None, look(level));
        let looked = asked.ask(buckets, from_sole, &mut |levels, found, _| {
            (found.keep(levels, charge), look(found.level))
        });
        let Ok(result) = looked else {
            return Some(Outcome::Contended { by: i });
        };
        if let Err(refused) = result
            && worst.is_none_or(|(_, w)| refused.wait > w.wait)
        {
            worst = Some((i, refused));
        }
    }
    worst.map(|(by, refused)| Outcome::Refused { by, refused })
}

#[cfg(test)]
mod tests;
