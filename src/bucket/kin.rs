//! Where a bucket begins, and what it takes over from the other subject: a limit may have been
//! counted by key until now and be the client's from now on, or the other way round.
//!
//! A bucket of one key begins with no more than the client's buckets have that this key has
//! taken from. A bucket of a client loses what each of its keys lacks in buckets of its own,
//! when that key is first seen at it. So no key gets by the change what it has already used,
//! and keys on other plans of the same client, whose limits are others', change nothing. So it
//! is when a key moves from one plan of its client to another, or back
//! ([`Levels::taken_since`]). What a key takes under one rule of its own counts under the
//! others that lie there ([`Levels::charge_others`]).
//!
//! Either costs one more look at shared data, once for each key and rule.

use super::{BucketKey, Buckets, Charge, Contended, Levels, Quota, Refused};
use crate::lease::Held;

/// The key that pays, and where its buckets would lie if the limit were the other subject's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kin {
    /// The key with those that it was rotated from or to.
    pub lineage: u64,
    /// For a limit by key, the place of its client's buckets; for one by client, the key's.
    pub place: BucketKey,
}

/// The level to take from.
pub(super) struct Found {
    /// As if this worker's lease were given back.
    pub level: u64,
    /// What is stored even if the take is refused.
    keep: Option<u64>,
}

impl Found {
    /// Stores what a refusal leaves; whether that is anything.
    pub fn keep(&self, levels: &mut Levels, charge: &Charge) -> bool {
        self.keep
            .is_some_and(|kept| levels.set(&charge.quota, kept))
    }
}

/// Finds the level of a charge's bucket. One that does not exist begins as [`Levels::begin`]
/// says.
///
/// # Errors
/// [`Kin`] whose buckets must be looked at first.
pub(super) fn find(
    levels: &mut Levels,
    (charges, charge): (&[Charge], &Charge),
    held: Held,
    before: Option<&Levels>,
    now: u64,
) -> Result<Found, Kin> {
    let quota = &charge.quota;
    let is_beside = |place: &BucketKey, quota: &Quota| {
        let mut others = charges.iter();
        others.any(|other| other.key == *place && other.quota == *quota)
    };
    let here = |rule: &Quota| is_beside(&charge.key, rule);
    let stored = levels.get(quota);
    // Whose taking counts: of a client's buckets those alone that this key has taken from.
    let payer = charge.kin.filter(|_| charge.key.is_of_client());
    let payer = payer.map(|kin| kin.lineage);
    let joins = payer.is_some_and(|lineage| !levels.has_member(quota, lineage));
    if let (Some(stored), false) = (stored, joins) {
        return Ok(Found {
            level: held.given_back(quota, stored),
            keep: None,
        });
    }
    let mut left = quota.burst();
    let mut lacks = 0;
    if let (Some(kin), true) = (charge.kin, stored.is_none() || joins) {
        let before = before.ok_or(kin)?;
        let of = (!charge.key.is_of_client()).then_some(kin.lineage);
        let there = |rule: &Quota| is_beside(&kin.place, rule);
        left = before.left(quota, of, there, now);
        lacks = before.missing(there, now);
    }
    let found = match stored {
        Some(stored) => {
            let lowered = stored.max(quota.less(stored.max(now), lacks, now));
            let since = payer.and_then(|payer| levels.taken_since(quota, payer, here, now));
            let lowered = lowered.max(since.unwrap_or(0));
            Found {
                level: match lowered == stored {
                    true => held.given_back(quota, stored),
                    // What this worker holds stays with it: others lie above it now.
                    false => lowered,
                },
                keep: Some(lowered),
            }
        }
        None => {
            let start = levels.begin(quota, (payer, left), here, now);
            Found {
                level: start,
                keep: Some(start),
            }
        }
    };
    // Whatever comes of the take, what is found is stored, and the payer with it.
    levels.set(quota, found.level);
    if let Some(payer) = payer {
        levels.join(quota, payer, here);
    }
    Ok(found)
}

/// What is done with a level that was found; whether that is worth a lease, too. Says whether
/// anything was stored, and how it came out.
type Take<'f, T> = dyn FnMut(&mut Levels, &Found, bool) -> (bool, Result<T, Refused>) + 'f;

/// One of a request's charges, asked at its bucket.
pub(super) struct Asked<'c> {
    charges: &'c [Charge],
    charge: &'c Charge,
    now: u64,
}

impl<'c> Asked<'c> {
    pub fn new(charges: &'c [Charge], charge: &'c Charge, now: u64) -> Self {
        Self {
            charges,
            charge,
            now,
        }
    }

    /// Gives `f` the bucket's level.
    ///
    /// # Errors
    /// [`Contended`] as [`Buckets::update`].
    pub fn ask<T, B: Buckets>(
        &self,
        buckets: &mut B,
        f: &mut Take<'_, T>,
    ) -> Result<Result<T, Refused>, Contended> {
        let (charge, now) = (self.charge, self.now);
        let held = buckets.with_leases(|leases| leases.held(charge, now));
        let held = held.unwrap_or_default();
        let mut before = None;
        loop {
            // Asked again where a rival was faster: the last answer counts.
            let mut answer = None;
            buckets.update(&charge.key, &mut |levels| {
                let of = (self.charges, charge);
                match find(levels, of, held, before.as_ref(), now) {
                    Ok(found) => {
                        let (is_stored, result) = f(levels, &found, held.is_hot);
                        answer = Some(Ok(result));
                        is_stored
                    }
                    Err(kin) => {
                        answer = Some(Err(kin));
                        false
                    }
                }
            })?;
            match answer {
                Some(Ok(result)) => return Ok(result),
                Some(Err(kin)) => {
                    let mut seen = Levels::default();
                    buckets.update(&kin.place, &mut |levels| {
                        seen = levels.clone();
                        false
                    })?;
                    // The second time it is never asked for.
                    before = Some(seen);
                }
                // Nobody asked: the buckets are not to be had.
                None => return Err(Contended),
            }
        }
    }

    /// Tokens were taken from the bucket.
    pub fn took(&self, levels: &mut Levels, tokens: u64) {
        let (charge, now) = (self.charge, self.now);
        // A client's rules know by their members who is under them.
        let mut all = self.charges.iter();
        let first = all.find(|other| other.key == charge.key);
        if charge.key.is_of_client() || first.is_some_and(|first| first.quota != charge.quota) {
            return;
        }
        let is_beside = |rule: &Quota| {
            let mut all = self.charges.iter();
            all.any(|other| other.key == charge.key && other.quota == *rule)
        };
        levels.charge_others(&charge.quota, tokens, is_beside, now);
    }
}
