//! How often one address or one token may ask: token buckets, in bounded memory.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keystile_core::limit::bucket::Bucket;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Most callers are tracked individually; the rest share one bucket.
const MOST: usize = 20_000;

/// How long an answer is delayed.
const PAUSE: Duration = Duration::from_secs(1);
/// The most answers that are delayed at once.
const HELD: usize = 2048;
/// How long a token that was valid is looked up immediately.
const REMEMBERED: u64 = 3600 * 1_000_000_000;

/// Buckets by who asks.
pub struct Limiter<K> {
    bucket: Option<Bucket>,
    buckets: Mutex<Buckets<K>>,
}

struct Buckets<K> {
    each: HashMap<K, u64>,
    /// The shared bucket of callers for which there was no room.
    shared: u64,
}

/// Too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOften {
    /// Whole seconds until it may be tried again.
    pub retry_after: u64,
}

impl<K: Eq + Hash> Limiter<K> {
    /// `requests` in `seconds`, `burst` at once.
    pub fn new(requests: u64, seconds: u64, burst: u64) -> Self {
        Self {
            bucket: Bucket::new(requests, seconds, burst),
            buckets: Mutex::new(Buckets {
                each: HashMap::new(),
                shared: 0,
            }),
        }
    }

    /// What each caller has.
    pub fn bucket(&self) -> Option<Bucket> {
        self.bucket
    }

    /// Takes one, at a monotonic instant in nanoseconds.
    ///
    /// # Errors
    /// [`TooOften`] if there is none.
    pub fn take(&self, who: K, now: u64) -> Result<(), TooOften> {
        // A limit of zero admits nobody.
        let bucket = self.bucket.ok_or(TooOften { retry_after: 60 })?;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.each.len() >= MOST && !buckets.each.contains_key(&who) {
            // A full bucket says nothing that a new one would not.
            buckets.each.retain(|_, stored| *stored > now);
        }
        let full = buckets.each.len() >= MOST;
        let known = buckets.each.get(&who).copied();
        let stored = match known {
            Some(stored) => stored,
            None if full => buckets.shared,
            None => 0,
        };
        let taken = bucket.take(1, stored, now).map_err(|r| TooOften {
            retry_after: r.retry_after(),
        })?;
        if known.is_none() && full {
            buckets.shared = taken.stored;
        } else {
            buckets.each.insert(who, taken.stored);
        }
        Ok(())
    }
}

/// All rate limits.
pub struct RateLimits {
    /// Requests from one address without valid credentials.
    pub places: Limiter<IpAddr>,
    /// Health checks from one address: more are answered with a delay.
    pub health: Limiter<IpAddr>,
    /// Requests with one token.
    pub tokens: Limiter<u64>,
    /// Bad tokens with one public id from one address: a few at once, then two a minute.
    pub failures: Limiter<(IpAddr, u64)>,
    /// Bad tokens from one address, whatever their ids.
    pub guesses: Limiter<IpAddr>,
    /// Tokens and sessions that were recently valid: their callers are not affected by others at
    /// the same address.
    pub good: Good,
    /// Concurrent lookups of other tokens, so that guesses leave room for the valid ones.
    pub lookups: Semaphore,
    /// Audit records of refusals to one address.
    pub records: Limiter<IpAddr>,
    /// Tokens whose use is being remembered.
    pub noting: Noting,
    /// Refusals without a record of their own.
    pub unrecorded: Unrecorded,
    held: Semaphore,
    pause: Duration,
}

/// Work that is in progress for an id and need not be done twice.
#[derive(Clone, Default)]
pub struct Noting(Arc<Mutex<HashSet<u64>>>);

/// It is being done until this is dropped.
pub struct Noted {
    all: Noting,
    id: u64,
}

impl Noting {
    /// Begins, unless it is being done.
    pub fn begin(&self, id: u64) -> Option<Noted> {
        let new = self.locked().insert(id);
        let all = self.clone();
        new.then_some(Noted { all, id })
    }

    fn locked(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.all.locked().remove(&self.id);
    }
}

impl RateLimits {
    /// This many requests a second with one token, with a burst of four times as many; a fifth of
    /// that from one address without a valid token.
    pub fn new(per_token: u32) -> Self {
        let rate = u64::from(per_token);
        Self {
            places: Limiter::new(rate.div_ceil(5), 1, 2 * rate),
            health: Limiter::new(50, 1, 100),
            tokens: Limiter::new(rate, 1, 4 * rate),
            failures: Limiter::new(2, 60, 10),
            guesses: Limiter::new(15, 60, 15),
            good: Good::default(),
            lookups: Semaphore::new(2),
            records: Limiter::new(60, 60, 60),
            noting: Noting::default(),
            unrecorded: Unrecorded::new(Duration::from_secs(60)),
            held: Semaphore::new(HELD),
            pause: PAUSE,
        }
    }

    /// Delays an answer to a caller that makes too many requests, so that it repeats them later and
    /// costs nothing meanwhile. Not if too many are delayed already; gives whether it was.
    pub async fn hold_up(&self) -> bool {
        match self.held.try_acquire() {
            Ok(_turn) => {
                sleep(self.pause).await;
                true
            }
            Err(_) => false,
        }
    }
}

/// Refused attempts that were only counted. Once a minute, one record reports all of them.
pub struct Unrecorded {
    /// How long they are counted before they are reported.
    pub every: Duration,
    counted: Mutex<UnrecordedCounts>,
}

/// What was counted since the last record.
#[derive(Default)]
pub struct UnrecordedCounts {
    all: u64,
    places: HashMap<IpAddr, u64>,
}

impl Unrecorded {
    fn new(every: Duration) -> Self {
        Self {
            every,
            counted: Mutex::default(),
        }
    }

    /// Counts one; gives whether it is the first since the last record.
    pub fn count(&self, place: IpAddr) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.all = counted.all.saturating_add(1);
        if counted.places.len() < MOST || counted.places.contains_key(&place) {
            *counted.places.entry(place).or_default() += 1;
        }
        counted.all == 1
    }

    /// Takes what was counted.
    pub fn take(&self) -> UnrecordedCounts {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut counted)
    }
}

impl UnrecordedCounts {
    /// The text of the record; `None` if there is nothing to report.
    pub fn words(self) -> Option<String> {
        const NAMED: usize = 5;
        if self.all == 0 {
            return None;
        }
        let mut places: Vec<(IpAddr, u64)> = self.places.into_iter().collect();
        places.sort_unstable_by_key(|(place, n)| (std::cmp::Reverse(*n), *place));
        let others = places.len().saturating_sub(NAMED);
        let named: Vec<String> = places
            .iter()
            .take(NAMED)
            .map(|(place, n)| format!("{place} ({n})"))
            .collect();
        let others = match others {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Some(format!(
            "{} more refused in the last minute, without records of their own; from {}{others}",
            self.all,
            named.join(", ")
        ))
    }
}

/// Recently valid credentials, by their digests. They are looked up nevertheless.
#[derive(Default)]
pub struct Good(Mutex<HashMap<[u8; 32], u64>>);

impl Good {
    /// It was good at a monotonic instant in nanoseconds.
    pub fn remember(&self, credential: &str, now: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = Sha256::digest(credential).into();
        if all.len() >= MOST && !all.contains_key(&digest) {
            all.retain(|_, at| now.saturating_sub(*at) < REMEMBERED);
            if all.len() >= MOST {
                return;
            }
        }
        all.insert(digest, now);
    }

    /// Whether it was a short while ago.
    pub fn remembers(&self, credential: &str, now: u64) -> bool {
        let digest: [u8; 32] = Sha256::digest(credential).into();
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&digest)
            .is_some_and(|at| now.saturating_sub(*at) < REMEMBERED)
    }
}

/// The subscriber of an address: a whole /64 of IPv6 is one subscriber.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from(u128::from(a) >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn after_the_burst_one_is_refused_until_the_bucket_refills() {
        let limiter = Limiter::new(1, 1, 3);
        for _ in 0..3 {
            assert_eq!(limiter.take("a", SECOND), Ok(()));
        }
        assert_eq!(limiter.take("a", SECOND), Err(TooOften { retry_after: 1 }));
        assert_eq!(limiter.take("b", SECOND), Ok(()));
        assert_eq!(limiter.take("a", 2 * SECOND), Ok(()));
    }

    #[test]
    fn more_than_fit_share_one_bucket_and_take_no_memory() {
        let limiter = Limiter::new(1, 60, 1);
        for who in 0..MOST {
            assert_eq!(limiter.take(who, SECOND), Ok(()));
        }
        assert_eq!(limiter.take(MOST, SECOND), Ok(()));
        assert!(limiter.take(MOST + 1, SECOND).is_err());
        assert_eq!(limiter.buckets.lock().unwrap().each.len(), MOST);
        // Those who were told apart still are.
        assert!(limiter.take(0, SECOND).is_err());
        // When the buckets are full again, there is room.
        assert_eq!(limiter.take(MOST + 1, 100 * SECOND), Ok(()));
    }

    #[test]
    fn what_was_good_is_remembered_for_a_while_in_bounded_memory() {
        let good = Good::default();
        good.remember("a", SECOND);
        assert!(good.remembers("a", 2 * SECOND) && !good.remembers("b", 2 * SECOND));
        assert!(!good.remembers("a", SECOND + REMEMBERED));
        for n in 0..MOST + 5 {
            good.remember(&n.to_string(), 3 * SECOND);
        }
        assert_eq!(good.0.lock().unwrap().len(), MOST);
        good.remember("late", 4 * SECOND + REMEMBERED);
        assert_eq!(good.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn addresses_of_one_subscriber_count_together() {
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        let b: IpAddr = "2001:db8::ffff:2".parse().unwrap();
        let c: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        assert_eq!(subscriber(a), subscriber(b));
        assert_ne!(subscriber(a), subscriber(c));
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(subscriber(mapped), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
