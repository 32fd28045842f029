//! Takes from several buckets: from all of them, or from none.

use super::charge::{Charge, TakeOutcome, is_leasable};
use super::kept::Buckets;
use super::key::BucketKey;
use super::kin::Asked;
use super::levels::Members;
use super::sole::{Sole, SoleLevel};
use super::{Bucket, Contended, MAX_LIMITS, Refused, Taken};
use crate::limit::lease::Expired;

/// Takes from all buckets or from none.
///
/// All are checked before any is changed. If another worker empties one between the check and the
/// take, what was taken by then is given back; a request that races with that may be refused one
/// token early, but is never admitted one too many.
pub fn take_all(buckets: &mut impl Buckets, charges: &[Charge], now: u64) -> Option<TakeOutcome> {
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

/// The second half of [`take_all`], for a caller that has called [`look`]. It never takes from
/// leases: it needs none, and tokens in one would be missing in the bucket.
pub fn take_looked(
    buckets: &mut impl Buckets,
    charges: &[Charge],
    now: u64,
) -> Option<TakeOutcome> {
    pay_all(buckets, charges, false, now)
}

fn pay_all(
    buckets: &mut impl Buckets,
    charges: &[Charge],
    may_lease: bool,
    now: u64,
) -> Option<TakeOutcome> {
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
            Ok(Err(refused)) => TakeOutcome::Refused { by: i, refused },
            Err(Contended) => TakeOutcome::Contended { by: i },
        };
        for (charge, stored) in charges.iter().zip(paid) {
            if let Some(stored) = stored {
                undo(buckets, charge, *stored);
            }
        }
        return Some(refusal);
    }
    tightest.map(|(tightest, state)| TakeOutcome::Taken { tightest, state })
}

/// What a take left behind.
struct Paid {
    pub(super) taken: Taken,
    /// Tokens taken in advance.
    pub(super) leased: u64,
    /// The keys that a lease on it serves.
    pub(super) members: Members,
}

/// Takes from one bucket, and, if wanted, tokens in advance; gives the state of the bucket after
/// both.
///
/// A refusal stores nothing. In particular, it does not store back what this worker holds in its
/// lease, which would then be counted twice. But a bucket that refuses its first request is still
/// created, so that it refills under its own rule from then on.
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
    // Beside a bucket that is alone in its place there is nothing else to charge.
    let from_sole = |alone: SoleLevel<'_>, level, is_hot: bool| {
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
        // If that fails, nothing is let in and the caller loses tokens, which is the safe side.
        asked.pass_on(buckets, kin)?;
    }
    Ok(paid)
}

/// Undoes a take that left `stored`, and gives up the lease that came with it. If others have taken
/// since, the take stays, because a lease of theirs may lie above it; the caller loses one token,
/// which is the safe side. The same happens if the undo is lost to contention.
fn undo(buckets: &mut impl Buckets, charge: &Charge, stored: u64) {
    let leased = buckets.with_leases(|leases| leases.forget(charge));
    let cost = charge.tokens().saturating_add(leased.unwrap_or(0));
    let _ = give_back_top(buckets, &charge.key, &charge.bucket, stored, cost);
}

/// Gives `tokens` back to a bucket that still stores `top`, which means that nobody has taken
/// since.
pub(super) fn give_back_top(
    buckets: &mut impl Buckets,
    key: &BucketKey,
    bucket: &Bucket,
    top: u64,
    tokens: u64,
) -> Result<(), Contended> {
    let payer = None;
    let from_sole =
        &mut |alone: SoleLevel<'_>| (alone.stored == top).then(|| bucket.give_back(tokens, top));
    buckets.update_sole(key, Sole { bucket, payer }, from_sole, &mut |levels| {
        levels.get(bucket) == Some(top) && levels.set(bucket, bucket.give_back(tokens, top))
    })
}

/// Whether one of the buckets would refuse. Takes nothing, but creates missing buckets, so that
/// they refill under their own rule from the first request on.
pub fn look(buckets: &mut impl Buckets, charges: &[Charge], now: u64) -> Option<TakeOutcome> {
    let mut worst: Option<(usize, Refused)> = None;
    for (i, charge) in charges.iter().enumerate() {
        let asked = Asked::new(charges, charge, now);
        let look = |level| charge.bucket.take(charge.tokens(), level, now).map(|_| ());
        let from_sole = |_: SoleLevel<'_>, level, _| (None, look(level));
        let looked = asked.ask(buckets, from_sole, &mut |levels, found, _| {
            (found.keep(levels, charge), look(found.level))
        });
        let Ok(result) = looked else {
            return Some(TakeOutcome::Contended { by: i });
        };
        if let Err(refused) = result
            && worst.is_none_or(|(_, w)| refused.wait > w.wait)
        {
            worst = Some((i, refused));
        }
    }
    worst.map(|(by, refused)| TakeOutcome::Refused { by, refused })
}

/// Gives back unused tokens of leases, where nobody has taken since.
pub fn give_back(expired: Vec<Expired>, buckets: &mut impl Buckets) {
    for lease in expired {
        let _ = give_back_top(buckets, &lease.key, &lease.bucket, lease.top, lease.tokens);
    }
}
