//! Token buckets: the generic cell rate algorithm over one `u64`.
//!
//! What is stored is the *theoretical arrival time*: the monotonic instant, in
//! nanoseconds, at which the bucket will be full again; zero for a bucket never used.
//! Source: ITU-T I.371, annex A; the virtual scheduling form.

use core::hash::{Hash, Hasher};
use std::collections::BTreeMap;

use crate::lease::{Held, Leases};
use crate::quota::{Tallies, Tally, TallyKey};

/// The most limits that one list (a plan's, a key's) may hold.
pub const MAX_LIMITS: usize = 8;

const SECOND: u64 = 1_000_000_000;

/// A bucket of `burst` tokens that refills at `requests` per `per` seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
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
    /// What to store all the same, where a former, slower quota left more debt than an
    /// empty bucket of this one has: stored, it is paid off from now on.
    pub settled: Option<u64>,
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
                settled: (stored > full).then_some(full),
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

/// Names a bucket for as long as its subject lives: over pushes, keyset versions,
/// reordered policies and VM crashes. Begins with our own prefix, because Istio gives
/// all plugins one name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketKey([u8; BUCKET_KEY_BYTES]);

const BUCKET_KEY_BYTES: usize = 44;
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
    /// The bucket of `subject` in store `store`, for the limit over `per` seconds;
    /// `route` is the stable id of the route whose own limit it is, zero for the
    /// limits of a plan or a key.
    pub fn new(store: [u8; 8], subject: Subject, route: u64, per: u64) -> Self {
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
            &per.to_be_bytes(),
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
        let (_, numbers) = self.0.split_at(BUCKET_KEY_BYTES - 24);
        for number in numbers.as_chunks::<8>().0 {
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
    /// Gives `f` the stored value (zero if there is none) and stores what it returns;
    /// `None` leaves the bucket alone. Atomic: where another changed the value in
    /// between, `f` is asked again with the new one.
    ///
    /// # Errors
    /// [`Contended`] after a bounded number of lost swaps; nothing was stored.
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(u64) -> Option<u64>,
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
    buckets: BTreeMap<BucketKey, u64>,
    tallies: BTreeMap<TallyKey, Tally>,
}

impl Buckets for MemoryBuckets {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(u64) -> Option<u64>,
    ) -> Result<(), Contended> {
        if let Some(new) = f(self.buckets.get(key).copied().unwrap_or(0)) {
            self.buckets.insert(*key, new);
        }
        Ok(())
    }
}

impl Tallies for MemoryBuckets {
    fn update_tally(
        &mut self,
        key: &TallyKey,
        f: &mut dyn FnMut(Tally) -> Option<Tally>,
    ) -> Result<(), Contended> {
        if let Some(new) = f(self.tallies.get(key).copied().unwrap_or_default()) {
            self.tallies.insert(*key, new);
        }
        Ok(())
    }
}

/// One bucket that a request must pay into.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// Which bucket.
    pub key: BucketKey,
    /// Its size and refill.
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
    take_looked(buckets, charges, now)
}

/// The second half of [`take_all`], for who has called [`look`].
pub fn take_looked(buckets: &mut impl Buckets, charges: &[Charge], now: u64) -> Option<Outcome> {
    let mut tightest: Option<(usize, Taken)> = None;
    let mut paid = [None; MAX_LIMITS + 1];
    for ((i, charge), paid_here) in charges.iter().enumerate().zip(&mut paid) {
        let held = buckets.with_leases(|leases| leases.held(charge, now));
        let held = held.unwrap_or_default();
        let (swapped, result) = pay(buckets, charge, held, now);
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

/// Takes from one bucket, and, where that is wanted, tokens in advance; gives the state of
/// the bucket after both, and the number of the latter.
fn pay(
    buckets: &mut impl Buckets,
    charge: &Charge,
    held: Held,
    now: u64,
) -> (Result<(), Contended>, Result<(Taken, u64), Refused>) {
    let quota = &charge.quota;
    let mut result = Err(Refused {
        settled: None,
        wait: SECOND,
        remaining: 0,
    });
    let swapped = buckets.update(&charge.key, &mut |stored| {
        let level = held.given_back(quota, stored);
        let took = quota.take(charge.cost, level, now);
        result = took.map(|taken| {
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
            Ok((taken, _)) => Some(taken.stored),
            Err(refused) => refused.settled.or((level != stored).then_some(level)),
        }
    });
    (swapped, result)
}

/// Undoes a take that left `stored`, and gives up the lease that came with it. If others have
/// taken since, what was taken stays so: a lease of theirs may lie above it, and the caller
/// is one token poorer, which is the safe side. So it is where that is lost to contention.
fn undo(buckets: &mut impl Buckets, charge: &Charge, stored: u64) {
    let leased = buckets.with_leases(|leases| leases.forget(&charge.key));
    let cost = charge.cost.saturating_add(leased.unwrap_or(0));
    let _ = buckets.update(&charge.key, &mut |found| {
        (found == stored).then(|| charge.quota.give_back(cost, found))
    });
}

/// Whether one of the buckets would refuse. Takes nothing.
pub fn look(buckets: &mut impl Buckets, charges: &[Charge], now: u64) -> Option<Outcome> {
    let mut worst: Option<(usize, Refused)> = None;
    for (i, charge) in charges.iter().enumerate() {
        let mut result = None;
        let read = buckets.update(&charge.key, &mut |stored| {
            result = charge.quota.take(charge.cost, stored, now).err();
            result.and_then(|refused| refused.settled)
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quota(requests: u64, per: u64, burst: u64) -> Quota {
        Quota::new(requests, per, burst).unwrap()
    }

    fn charge(n: u64, quota: Quota, cost: u64) -> Charge {
        Charge {
            key: BucketKey::new([7; 8], Subject::Key(n), 0, 60),
            quota,
            cost,
        }
    }

    #[test]
    fn a_hundred_a_minute_means_a_hundred() {
        let q = quota(100, 60, 100);
        let mut stored = 0;
        let mut admitted = 0;
        for i in 0..1000 {
            if let Ok(t) = q.take(1, stored, 5 * SECOND + i) {
                stored = t.stored;
                admitted += 1;
            }
        }
        assert_eq!(admitted, 100);
    }

    #[test]
    fn zero_is_never_read_as_no_limit() {
        assert_eq!(Quota::new(0, 60, 1), None);
        assert_eq!(Quota::new(1, 0, 1), None);
        assert_eq!(Quota::new(1, 60, 0), None);
        assert_eq!(Quota::new(u64::MAX, 1, 1), None);
        assert_eq!(Quota::new(1, u64::MAX, 1), None);
        assert_eq!(Quota::new(1, 86_400, u64::MAX), None);
    }

    #[test]
    fn the_greatest_figures_saturate() {
        let q = quota(1, 86_400, 36_000);
        assert_eq!(q.take(1, 0, u64::MAX).unwrap().stored, u64::MAX);
        assert!(q.take(u64::MAX, u64::MAX, 1).is_err());
        assert_eq!(q.give_back(u64::MAX, 5), 0);
    }

    #[test]
    fn a_level_left_by_a_slower_quota_is_at_most_empty() {
        let slow = quota(1, 86_400, 100);
        let now = 1_000 * SECOND;
        let stored = slow.take(100, 0, now).unwrap().stored;
        let fast = charge(1, quota(10, 1, 10), 1);
        let mut buckets = MemoryBuckets::default();
        buckets.update(&fast.key, &mut |_| Some(stored)).unwrap();
        for others in [&[][..], &[charge(2, quota(9, 1, 9), 1)]] {
            let charges: Vec<Charge> = [fast].into_iter().chain(others.iter().copied()).collect();
            assert!(matches!(
                take_all(&mut buckets.clone(), &charges, now),
                Some(Outcome::Refused { by: 0, refused }) if refused.retry_after() == 1
            ));
            let mut mine = buckets.clone();
            take_all(&mut mine, &charges, now);
            assert!(matches!(
                take_all(&mut mine, &charges, now + SECOND / 10),
                Some(Outcome::Taken { .. })
            ));
        }
    }

    #[test]
    fn a_refused_request_takes_from_no_bucket() {
        let mut buckets = MemoryBuckets::default();
        let wide = charge(1, quota(100, 60, 100), 1);
        let narrow = charge(2, quota(1, 60, 1), 1);
        assert!(matches!(
            take_all(&mut buckets, &[wide, narrow], SECOND),
            Some(Outcome::Taken { tightest: 1, state }) if state.remaining == 0
        ));
        let before = buckets.clone().buckets;
        assert!(matches!(
            take_all(&mut buckets, &[wide, narrow], SECOND),
            Some(Outcome::Refused { by: 1, refused }) if refused.retry_after() == 60
        ));
        assert_eq!(buckets.buckets, before);
    }

    /// Buckets where another worker takes the last token of one bucket between the
    /// look and the take.
    struct Raced {
        inner: MemoryBuckets,
        calls: u32,
        at: u32,
        rival: Charge,
        lose: bool,
    }

    impl Buckets for Raced {
        fn update(
            &mut self,
            key: &BucketKey,
            f: &mut dyn FnMut(u64) -> Option<u64>,
        ) -> Result<(), Contended> {
            self.calls += 1;
            if self.calls == self.at {
                if self.lose {
                    return Err(Contended);
                }
                take_all(&mut self.inner, &[self.rival], SECOND);
            }
            self.inner.update(key, f)
        }
    }

    #[test]
    fn a_race_lost_between_look_and_take_gives_back_what_was_taken() {
        for lose in [false, true] {
            let wide = charge(1, quota(100, 60, 100), 3);
            let narrow = charge(2, quota(1, 60, 1), 1);
            let mut raced = Raced {
                inner: MemoryBuckets::default(),
                calls: 0,
                at: 4,
                rival: narrow,
                lose,
            };
            let outcome = take_all(&mut raced, &[wide, narrow], SECOND);
            assert_eq!(matches!(outcome, Some(Outcome::Contended { by: 1 })), lose);
            assert_eq!(
                matches!(outcome, Some(Outcome::Refused { by: 1, .. })),
                !lose
            );
            let full = take_all(
                &mut raced.inner,
                &[charge(1, quota(100, 60, 100), 100)],
                SECOND,
            );
            assert!(
                matches!(full, Some(Outcome::Taken { .. })),
                "the wide bucket is full again"
            );
        }
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        /// Exactness: after the wait it is admitted, a nanosecond earlier it is not,
        /// and `Retry-After` is the first whole second at which it is.
        #[test]
        fn retry_after_is_exact(
            requests in 1u64..10_000, per in 1u64..100_000, burst in 1u64..1_000,
            cost in 1u64..1_000, start in 0u64..1 << 60, taken in 0u64..1_000,
        ) {
            let q = Quota::new(requests, per, burst);
            prop_assume!(q.is_some());
            let q = q.unwrap();
            let cost = cost.min(burst);
            let mut stored = 0;
            for _ in 0..taken {
                match q.take(1, stored, start) {
                    Ok(t) => stored = t.stored,
                    Err(_) => break,
                }
            }
            if let Err(r) = q.take(cost, stored, start) {
                prop_assert!(r.remaining < cost);
                prop_assert!(q.take(cost, stored, start + r.wait).is_ok());
                prop_assert!(q.take(cost, stored, start + r.wait - 1).is_err());
                let after = r.retry_after() * SECOND;
                prop_assert!(q.take(cost, stored, start + after).is_ok());
                if r.retry_after() > 1 {
                    prop_assert!(q.take(cost, stored, start + after - SECOND).is_err());
                }
            }
        }

        /// In any window no more is admitted than the burst and the refill allow.
        #[test]
        fn never_more_than_burst_and_refill(
            requests in 1u64..50, per in 1u64..5, burst in 1u64..20,
            steps in proptest::collection::vec((0u64..2_000_000_000, 1u64..5), 1..200),
        ) {
            let q = quota(requests, per, burst);
            let (mut stored, mut now, mut admitted) = (0, 1, 0u128);
            for (step, cost) in steps {
                now += step;
                match q.take(cost, stored, now) {
                    Ok(t) => { stored = t.stored; admitted += u128::from(cost); }
                    Err(r) => prop_assert!(r.remaining < cost),
                }
                let refill = u128::from(now - 1) * u128::from(requests) / u128::from(per * SECOND);
                prop_assert!(admitted <= u128::from(burst) + refill);
            }
        }

        #[test]
        fn what_is_left_can_be_taken_and_not_one_more(
            requests in 1u64..1_000, per in 1u64..1_000, burst in 1u64..1_000, cost in 1u64..100, now in 1u64..1 << 60,
        ) {
            let q = Quota::new(requests, per, burst);
            prop_assume!(q.is_some());
            let q = q.unwrap();
            if let Ok(t) = q.take(cost.min(burst), 0, now) {
                prop_assert_eq!(t.remaining, burst - cost.min(burst));
                if t.remaining > 0 {
                    prop_assert!(q.take(t.remaining, t.stored, now).is_ok());
                }
                prop_assert!(q.take(t.remaining + 1, t.stored, now).is_err());
            }
        }
    }
}
