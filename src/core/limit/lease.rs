//! Tokens taken in advance: a worker with a busy bucket takes a batch from the shared bucket, and
//! then serves requests from its own memory.
//!
//! The limit still holds. A bucket is a point in time, its theoretical arrival time, and a take
//! moves it on; a lease of `n` tokens moves it on by `n` intervals, which are thereby reserved. A
//! request may use a reserved interval only while it lies in the future: an idle bucket fills up as
//! time passes, and the tokens of a lease on it lapse accordingly, since anybody who finds the
//! bucket full may take them again. Reservations are given back only from the top, where nobody has
//! reserved since. So at any time the tokens left in the bucket and in all leases together are at
//! most those of a bucket without leases.
//!
//! A lease can cause early refusals: tokens that lie unused with one worker are missing in another,
//! at most half of the bucket, until the tick after [`SPAN`] gives them back; or, if another worker
//! has reserved since, until the bucket has filled. Small buckets have no leases.

use crate::fast_hash::FastMap;
use crate::limit::bucket::{Bucket, BucketKey, Charge, Members, TakeOutcome, Taken, is_leasable};

/// How long a lease serves, in nanoseconds.
pub const SPAN: u64 = 250_000_000;
/// A bucket of fewer tokens has no leases.
pub const MIN_BURST: u64 = 1000;
/// Fewer tokens are not worth a lease.
const MIN_TOKENS: u64 = 8;
/// How many buckets one worker holds leases on, or watches.
const MAX_HELD: usize = 4096;

impl Bucket {
    /// How many tokens may be taken in advance with a take: at most an eighth of the bucket and
    /// what refills within [`SPAN`]; nothing from a bucket that is less than half full.
    pub(crate) fn leasable(&self, taken: &Taken) -> u64 {
        let burst = self.burst();
        let spare = taken.remaining.saturating_sub(burst / 2);
        let tokens = spare.min(burst / 8).min(SPAN / self.interval());
        if burst < MIN_BURST || tokens < MIN_TOKENS {
            return 0;
        }
        tokens
    }
}

/// What a worker holds of a bucket before it takes from it again.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeasedTokens {
    /// What the bucket stores if nobody has taken since, and the tokens that are unused.
    unused: Option<(u64, u64)>,
    /// It was taken from a moment ago, so a lease is worthwhile.
    pub(crate) is_hot: bool,
}

impl LeasedTokens {
    /// The bucket with the unused part of the lease given back, if that lies on top.
    pub(crate) fn given_back(&self, bucket: &Bucket, stored: u64) -> u64 {
        match self.unused {
            Some((top, tokens)) if top == stored => bucket.give_back(tokens, stored),
            _ => stored,
        }
    }
}

struct Lease {
    /// The end of the reserved time: what the bucket stored after the lease was taken.
    top: u64,
    /// Tokens unused.
    left: u64,
    /// Tokens left in the bucket then.
    remaining: u64,
    /// When it was taken.
    taken_at: u64,
    /// When it last served.
    used_at: u64,
    /// The keys that the bucket has seen, if it is a client's; any other key must go to the bucket
    /// first.
    members: Members,
}

impl Lease {
    fn serves(&self, charge: &Charge) -> bool {
        !charge.is_of_client() || charge.kin.is_none_or(|kin| self.members.has(kin.lineage))
    }

    /// Tokens left after a take; `None` if it does not serve that.
    fn after(&self, charge: &Charge, now: u64) -> Option<u64> {
        let left = self
            .usable(&charge.bucket, now)
            .checked_sub(charge.tokens())?;
        self.serves(charge).then_some(left)
    }

    /// Tokens that may be used.
    fn usable(&self, bucket: &Bucket, now: u64) -> u64 {
        if now.saturating_sub(self.taken_at) >= SPAN {
            return 0;
        }
        let ahead = self.top.saturating_sub(now) / bucket.interval();
        self.left.min(ahead)
    }
}

/// The leases of one worker.
#[derive(Default)]
pub struct Leases {
    held: FastMap<(BucketKey, Bucket), Lease>,
    /// The latest time that this worker has seen. What has lapsed by then stays lapsed, even if the
    /// clock is set back.
    latest: u64,
}

impl Leases {
    /// Takes only from leases: from all or from none. `None` if that is not possible.
    pub fn take(&mut self, charges: &[Charge], now: u64) -> Option<TakeOutcome> {
        let now = self.advance(now);
        if !is_leasable(charges) {
            return None;
        }
        // A single lease serves the request or does not. If there are several, all are checked
        // before any is used.
        if charges.len() > 1 {
            for charge in charges {
                let lease = self.held.get(&(charge.key, charge.bucket))?;
                lease.after(charge, now)?;
            }
        }
        let mut tightest: Option<(usize, Taken)> = None;
        for (i, charge) in charges.iter().enumerate() {
            let lease = self.held.get_mut(&(charge.key, charge.bucket))?;
            // What has lapsed is removed, so that what is given back later lies above this take.
            lease.left = lease.after(charge, now)?;
            lease.used_at = now;
            let unused = lease.left.saturating_mul(charge.bucket.interval());
            let state = Taken {
                stored: lease.top,
                remaining: lease.remaining.saturating_add(lease.left),
                full_in: lease.top.saturating_sub(now).saturating_sub(unused),
            };
            if tightest.is_none_or(|(_, t)| state.remaining < t.remaining) {
                tightest = Some((i, state));
            }
        }
        tightest.map(|(tightest, state)| TakeOutcome::Taken { tightest, state })
    }

    /// What is held of the bucket that is about to be taken from.
    pub(crate) fn held(&mut self, charge: &Charge, now: u64) -> LeasedTokens {
        let now = self.advance(now);
        let lease = self.held.get(&(charge.key, charge.bucket));
        lease.map_or_else(LeasedTokens::default, |lease| LeasedTokens {
            unused: unused(lease, now),
            is_hot: now.saturating_sub(lease.used_at) < SPAN,
        })
    }

    /// Tokens were taken from the bucket, including `leased` tokens in advance.
    pub(crate) fn renew(
        &mut self,
        charge: &Charge,
        taken: Taken,
        leased: u64,
        members: Members,
        now: u64,
    ) {
        let now = self.advance(now);
        let place = (charge.key, charge.bucket);
        let is_known = self.held.contains_key(&place);
        let is_small = charge.bucket.burst() < MIN_BURST;
        if is_small || (!is_known && self.held.len() >= MAX_HELD) {
            return;
        }
        let lease = Lease {
            top: taken.stored,
            left: leased,
            remaining: taken.remaining,
            taken_at: now,
            used_at: now,
            members,
        };
        self.held.insert(place, lease);
    }

    /// Gives up a lease: the tokens that it held.
    pub(crate) fn forget(&mut self, charge: &Charge) -> u64 {
        let lease = self.held.remove(&(charge.key, charge.bucket));
        lease.map_or(0, |lease| lease.left)
    }

    fn advance(&mut self, now: u64) -> u64 {
        self.latest = self.latest.max(now);
        self.latest
    }

    /// Ends leases that have expired, and forgets buckets that are not used. Unused tokens are to
    /// be given back with [`give_back`].
    pub fn expire(&mut self, now: u64) -> Vec<Expired> {
        let now = self.advance(now);
        let mut expired = Vec::new();
        self.held.retain(|(key, bucket), lease| {
            if now.saturating_sub(lease.taken_at) >= SPAN {
                if let Some((top, tokens)) = unused(lease, now) {
                    expired.push(Expired {
                        key: *key,
                        bucket: *bucket,
                        top,
                        tokens,
                    });
                }
                lease.left = 0;
            }
            now.saturating_sub(lease.used_at) < SPAN
        });
        expired
    }
}

/// Where the reservation ends, and the unused tokens, if any of it lies in the future. Lapsed
/// tokens are not lost: a bucket that is given back more than it lacks is full.
fn unused(lease: &Lease, now: u64) -> Option<(u64, u64)> {
    (lease.left > 0 && lease.top > now).then_some((lease.top, lease.left))
}

/// A lease that is past its time, with tokens unused.
pub struct Expired {
    pub(crate) key: BucketKey,
    pub(crate) bucket: Bucket,
    pub(crate) top: u64,
    pub(crate) tokens: u64,
}

#[cfg(test)]
mod tests;
