//! The initial level of a bucket, and what it takes over from the other subject: a limit may have
//! been counted by key until now and by client from now on, or the other way round.
//!
//! A bucket of one key begins with no more than is left in the client's buckets from which this key
//! has taken. A bucket of a client loses what each of its keys lacks in its own buckets, when that
//! key is first seen there. So the change does not give any key what it has already used, and keys
//! of the same client on other plans, which have other limits, have no effect. The same holds when
//! a key moves from one plan of its client to another ([`Levels::taken_since`]).
//!
//! What a key takes under one rule counts under the others that it may come back to
//! ([`Levels::charge_others`]): under its own rules at once, under its client's as soon as it is
//! back. Buckets of the other subject are stored elsewhere, so both places remember that the key
//! has been at the other ([`Levels::leave`]), for twice the time that the buckets take to fill.
//! After that, the bucket that was used last has the level with which the other must begin.
//!
//! A new rule costs one more read of shared data, once per key; a change of subject costs one more
//! write per take, as long as it is remembered.

use core::cell::Cell;

use super::{Bucket, BucketKey, Buckets, Charge, Contended, Kin, Levels, Refused, Sole, SoleLevel};
use crate::limit::lease::LeasedTokens;

/// The level to take from.
pub(super) struct Found {
    /// The level as if this worker's lease were given back.
    pub level: u64,
    /// What to store even if the take is refused.
    keep: Option<u64>,
}

impl Found {
    /// Stores what a refusal leaves; gives whether there was anything to store.
    pub fn keep(&self, levels: &mut Levels, charge: &Charge) -> bool {
        self.keep
            .is_some_and(|kept| levels.set(&charge.bucket, kept))
    }
}

/// What must be done at the other subject's place first.
enum Errand {
    /// Its buckets determine the level here.
    Look(Kin),
    /// They have not been used for as long as they are remembered.
    Cut(Kin),
}

/// The result of an errand.
#[derive(Default)]
struct Done {
    seen: Option<Levels>,
    linked: Option<u64>,
    is_cut: bool,
}

/// Finds the level of a charge's bucket. One that does not exist begins as [`Levels::begin`]
/// says.
///
/// # Errors
/// An [`Errand`] that must be done first.
fn find(
    levels: &mut Levels,
    (charges, charge): (&[Charge], &Charge),
    held: LeasedTokens,
    done: &Done,
    now: u64,
) -> Result<Found, Errand> {
    let bucket = &charge.bucket;
    let is_beside = |place: &BucketKey, bucket: &Bucket| {
        let mut others = charges.iter();
        others.any(|other| other.key == *place && other.bucket == *bucket)
    };
    let here = |rule: &Bucket| is_beside(&charge.key, rule);
    let stored = levels.get(bucket);
    // Which buckets count: among those of a client, only those from which this key has taken.
    let payer = charge.kin.filter(|_| charge.key.is_of_client());
    let payer = payer.map(|kin| kin.lineage);
    let link = charge.kin.and_then(|kin| levels.linked_until(kin.lineage));
    let joins = match payer {
        Some(lineage) => !levels.has_member(bucket, lineage),
        None => link == Some(0),
    };
    let is_kept = renew_link(levels, (charges, charge), link, done, now)?;
    if let (Some(stored), false) = (stored, joins) {
        let back = payer.and_then(|payer| levels.come_back(bucket, payer, now));
        return Ok(found_again(bucket, stored, back, held, is_kept));
    }
    let mut left = bucket.burst();
    let (mut lacks, mut start) = (0, 0);
    if let (Some(kin), true) = (charge.kin, stored.is_none() || joins) {
        let before = done.seen.as_ref().ok_or(Errand::Look(kin))?;
        let of = (!charge.key.is_of_client()).then_some(kin.lineage);
        let there = |rule: &Bucket| is_beside(&kin.place, rule);
        left = before.left(bucket, of, there, now);
        if charge.key.is_of_client() {
            lacks = before.missing(there, now);
        } else if stored.is_some() {
            start = bucket.holding(left, now);
        }
        if joins && payer.is_none() {
            // The other rules here have to be charged as much.
            let to = |rule: &Bucket| rule.holding(before.left(rule, of, there, now), now);
            levels.lower(here, to, now);
        }
        match done.linked {
            Some(until) => levels.link(kin.lineage, until),
            None => levels.unlink(kin.lineage),
        }
    }
    let found = match stored {
        Some(stored) => {
            let lowered = stored.max(bucket.less(stored.max(now), lacks, now));
            let since = payer.and_then(|payer| levels.taken_since(bucket, payer, here, now));
            let lowered = lowered.max(since.unwrap_or(0)).max(start);
            levels.moved(bucket, lowered.saturating_sub(stored.max(now)), now);
            Found {
                level: match lowered == stored {
                    true => held.given_back(bucket, stored),
                    // The worker keeps its lease: others lie above it now.
                    false => lowered,
                },
                keep: Some(lowered),
            }
        }
        None => {
            let start = levels.begin(bucket, (payer, left), here, now);
            Found {
                level: start,
                keep: Some(start),
            }
        }
    };
    // Whatever the result of the take, the level found is stored, together with the payer.
    levels.set(bucket, found.level);
    if let Some(payer) = payer {
        levels.join(bucket, payer);
    }
    Ok(found)
}

/// Ends a link whose time is over, or begins it anew if both places are in use. Whether there was
/// such a link.
///
/// # Errors
/// An [`Errand`] that must be done first.
#[inline(never)]
fn renew_link(
    levels: &mut Levels,
    (charges, charge): (&[Charge], &Charge),
    link: Option<u64>,
    done: &Done,
    now: u64,
) -> Result<bool, Errand> {
    let (Some(kin), Some(1..)) = (charge.kin, link.filter(|until| *until <= now)) else {
        return Ok(false);
    };
    let is_apart = charges.iter().all(|other| other.key != kin.place);
    match done {
        // Both are in use: they are linked anew.
        Done {
            linked: Some(until),
            ..
        } => levels.link(kin.lineage, *until),
        Done { seen: None, .. } if !is_apart => return Err(Errand::Look(kin)),
        Done { is_cut: false, .. } if is_apart => return Err(Errand::Cut(kin)),
        _ => levels.unlink(kin.lineage),
    }
    Ok(true)
}

/// The level of a bucket that its payer knows; `back` is what it became if the payer was away.
#[inline(never)]
fn found_again(
    bucket: &Bucket,
    stored: u64,
    back: Option<u64>,
    held: LeasedTokens,
    is_kept: bool,
) -> Found {
    match back {
        Some(level) if level > stored => Found {
            level,
            keep: Some(level),
        },
        _ => Found {
            level: held.given_back(bucket, stored),
            keep: is_kept.then_some(stored),
        },
    }
}

/// What to do with a level that was found, and whether a lease may be taken. Gives whether anything
/// was stored, and the result.
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

    /// Gives `f` the bucket's level; or `from_sole`, if the bucket lies alone, which says what is
    /// to be stored. There the level is all that counts, so that it is found as it is stored.
    ///
    /// # Errors
    /// [`Contended`] as [`Buckets::update`].
    pub fn ask<T, B: Buckets>(
        &self,
        buckets: &mut B,
        from_sole: impl Fn(SoleLevel<'_>, u64, bool) -> (Option<u64>, Result<T, Refused>),
        f: &mut Take<'_, T>,
    ) -> Result<Result<T, Refused>, Contended> {
        let (charge, now) = (self.charge, self.now);
        let held = buckets.with_leases(|leases| leases.held(charge, now));
        let held = held.unwrap_or_default();
        let bucket = &charge.bucket;
        let payer = charge.kin.filter(|_| charge.key.is_of_client());
        let payer = payer.map(|kin| kin.lineage);
        // Called again if a rival was faster; the last answer counts.
        let answer = Cell::new(None);
        let mut from_sole = |alone: SoleLevel<'_>| {
            let level = held.given_back(bucket, alone.stored);
            let (stored, result) = from_sole(alone, level, held.is_hot);
            answer.set(Some(Ok(result)));
            stored
        };
        let mut done = Done::default();
        loop {
            answer.set(None);
            let sole = Sole { bucket, payer };
            buckets.update_sole(&charge.key, sole, &mut from_sole, &mut |levels| {
                let of = (self.charges, charge);
                match find(levels, of, held, &done, now) {
                    Ok(found) => {
                        let (is_stored, result) = f(levels, &found, held.is_hot);
                        answer.set(Some(Ok(result)));
                        is_stored
                    }
                    Err(errand) => {
                        answer.set(Some(Err(errand)));
                        false
                    }
                }
            })?;
            match answer.take() {
                Some(Ok(result)) => return Ok(result),
                // No errand is needed a second time.
                Some(Err(errand)) => self.run(buckets, errand, &mut done)?,
                // Not called at all: the buckets are unavailable.
                None => return Err(Contended),
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn run<B: Buckets>(
        &self,
        buckets: &mut B,
        errand: Errand,
        done: &mut Done,
    ) -> Result<(), Contended> {
        let (charge, now) = (self.charge, self.now);
        let is_member = !charge.key.is_of_client();
        match errand {
            Errand::Look(kin) => buckets.update(&kin.place, &mut |levels| {
                let there = |rule: &Bucket| self.is_at(&kin.place, rule);
                done.seen = Some(levels.clone());
                let of = (kin.lineage, is_member);
                let (until, is_changed) = levels.leave(&charge.bucket, of, there, now);
                done.linked = until;
                is_changed
            }),
            Errand::Cut(kin) => {
                done.is_cut = true;
                buckets.update(&kin.place, &mut |levels| {
                    // If it is remembered longer there, for a slower rule, it is not forgotten here
                    // either.
                    let until = levels.linked_until(kin.lineage);
                    done.linked = until.filter(|until| *until > now);
                    if done.linked.is_some() {
                        return false;
                    }
                    let there = |rule: &Bucket| self.is_at(&kin.place, rule);
                    let is_there = !levels.is_empty();
                    levels.cut(kin.lineage, is_member, there);
                    is_there
                })
            }
        }
    }

    /// Whether the request is charged there under this rule.
    fn is_at(&self, place: &BucketKey, rule: &Bucket) -> bool {
        let mut all = self.charges.iter();
        all.any(|other| other.key == *place && other.bucket == *rule)
    }

    /// Whether this is the first of the request's charges at its place.
    fn is_first(&self) -> bool {
        let mut all = self.charges.iter();
        let first = all.find(|other| other.key == self.charge.key);
        first.is_none_or(|first| first.bucket == self.charge.bucket)
    }

    /// Tokens that count in the payer's other buckets: the full cost of the request, whatever size
    /// the charged buckets have. With two policies, the higher cost counts.
    pub fn worth(&self) -> u64 {
        let costs = self.charges.iter().map(|charge| charge.cost);
        costs.max().unwrap_or(0)
    }

    fn payer(&self) -> Option<u64> {
        let kin = self.charge.kin.filter(|_| self.charge.key.is_of_client());
        kin.map(|kin| kin.lineage)
    }

    /// Whether what is taken counts in other buckets, too; if so, nothing is taken in advance,
    /// because unused tokens would be given back only to the bucket that they came from.
    pub fn counts_elsewhere(&self, levels: &Levels) -> bool {
        let (charge, now) = (self.charge, self.now);
        let until = charge.kin.and_then(|kin| levels.linked_until(kin.lineage));
        let here = |rule: &Bucket| self.is_at(&charge.key, rule);
        until.is_some_and(|until| until > now)
            || levels.has_others(&charge.bucket, self.payer(), here, now)
    }

    /// Tokens were taken from the bucket, including `leased` tokens in advance. Gives the other
    /// place where they count.
    pub fn took(&self, levels: &mut Levels, leased: u64) -> Option<Kin> {
        let (charge, now) = (self.charge, self.now);
        let is_of_client = charge.key.is_of_client();
        let payer = self.payer();
        if is_of_client {
            let tokens = charge.tokens().saturating_add(leased);
            let by = charge.bucket.interval.saturating_mul(tokens);
            levels.moved(&charge.bucket, by, now);
        }
        if !self.is_first() {
            return None;
        }
        if !is_of_client || payer.is_some() {
            let here = |rule: &Bucket| self.is_at(&charge.key, rule);
            levels.charge_others(Some(&charge.bucket), self.worth(), payer, here, now);
        }
        let kin = charge.kin?;
        let until = levels.linked_until(kin.lineage)?;
        // If the request is also charged there, that charge takes care of it.
        let is_apart = self.charges.iter().all(|other| other.key != kin.place);
        if until > now && !is_apart {
            levels.link_again(&charge.bucket, kin.lineage, now);
        }
        (until > now && is_apart).then_some(kin)
    }

    /// They count at the other subject's place.
    ///
    /// # Errors
    /// [`Contended`] as [`Buckets::update`].
    pub fn pass_on<B: Buckets>(&self, buckets: &mut B, kin: Kin) -> Result<(), Contended> {
        let member = (!self.charge.key.is_of_client()).then_some(kin.lineage);
        buckets.update(&kin.place, &mut |levels| {
            levels.charge_others(None, self.worth(), member, |_| false, self.now);
            levels.link_again(&self.charge.bucket, kin.lineage, self.now);
            !levels.is_empty()
        })
    }
}
