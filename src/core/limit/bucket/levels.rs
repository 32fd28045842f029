//! The buckets of one subject and route, each under its rule.
//!
//! They are stored in one value, so that the number of names is bounded by subjects and routes
//! however often plans are edited (shared data cannot be deleted), and so that a bucket for a new
//! rule sees its predecessors in the same atomic step.

mod bytes;
mod level;
mod links;
mod members;

use super::Bucket;
use level::Level;
pub(super) use members::MAX_MEMBERS;
pub use members::Members;

/// The most rules that one subject and route may have in use at a time.
pub const MAX_RULES: usize = 64;

pub(super) const LEVEL_BYTES: usize = 32;

/// The most links of one place.
const MAX_LINKS: usize = 255;

/// Theoretical arrival times by rule, the most recently used rule last. Each is written as
/// `requests`, `per`, `burst` and the instant, eight bytes each, big-endian. If any has members,
/// these follow: of each rule their number and themselves, likewise, and at the end one byte,
/// the number of rules. If there are views or links, the members of each rule are followed by
/// the number of its views and themselves, all those by the links, and the end is two bytes,
/// the numbers of rules and of links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels(Vec<Level>, Vec<Link>);

/// A lineage has also used the other subject's buckets: until this time, what it takes here is
/// taken there, too. Zero: it has been there for long, and what is stored here counts only together
/// with what is left there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    lineage: u64,
    until: u64,
}

impl Levels {
    /// Whether nothing is lost with them: all have long been full, and what is taken elsewhere no
    /// longer counts here. A bucket created anew begins as full, or with less.
    pub fn is_spent(&self, now: u64) -> bool {
        let is_over = |link: &Link| link.until <= now;
        self.0.iter().all(|level| level.is_stale(now)) && self.1.iter().all(is_over)
    }

    /// Whether nothing was ever stored here.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is stored for a rule.
    pub fn get(&self, bucket: &Bucket) -> Option<u64> {
        let found = self.0.iter().find(|level| level.bucket == *bucket);
        found.map(|level| level.arrival)
    }

    /// The level of a rule's bucket and the keys that it has seen, if it is alone here: no other
    /// rule was used, none of the keys that it has seen was elsewhere, and the payer is one of
    /// them.
    pub(super) fn sole(&self, bucket: &Bucket, payer: Option<u64>) -> Option<(u64, &[u64])> {
        let ([level], []) = (&self.0[..], &self.1[..]) else {
            return None;
        };
        let is_alone = level.bucket == *bucket
            && level.views.is_empty()
            && payer.is_none_or(|payer| level.members.has(payer));
        is_alone.then_some((level.arrival, &level.members.0))
    }

    /// Stores a level for the rule, which becomes the most recently used; `false` if there is no
    /// room for another rule.
    #[inline(never)]
    pub(crate) fn set(&mut self, bucket: &Bucket, arrival: u64) -> bool {
        if let Some(level) = self.0.last_mut().filter(|level| level.bucket == *bucket) {
            level.arrival = arrival;
            return true;
        }
        let at = self.0.iter().position(|level| level.bucket == *bucket);
        let mut level = match at {
            Some(at) => self.0.remove(at),
            None if self.0.len() >= MAX_RULES => return false,
            None => Level {
                bucket: *bucket,
                arrival,
                members: Members::default(),
                views: Vec::new(),
            },
        };
        level.arrival = arrival;
        self.0.push(level);
        true
    }

    /// The keys that a rule's bucket has seen.
    pub(crate) fn members(&self, bucket: &Bucket) -> Members {
        let found = self.0.iter().find(|level| level.bucket == *bucket);
        found.map_or_else(Members::default, |level| level.members.clone())
    }

    /// The keys that a lease on a rule's bucket may serve: those that the bucket has seen, except
    /// those whose takes also count elsewhere (under other rules here or at the other subject's
    /// place), because each of these has to be recorded there. The payer has been charged for the
    /// whole lease.
    pub(crate) fn served(&self, bucket: &Bucket, payer: Option<u64>) -> Members {
        let mut members = self.members(bucket);
        let counts_elsewhere = |lineage: &u64| {
            let mut others = self.0.iter().filter(|level| level.bucket != *bucket);
            self.linked_until(*lineage).is_some()
                || others.any(|level| level.members.0.contains(lineage))
        };
        members
            .0
            .retain(|lineage| Some(*lineage) == payer || !counts_elsewhere(lineage));
        members
    }

    /// Whether a rule's bucket has seen this key.
    pub(crate) fn has_member(&self, bucket: &Bucket, lineage: u64) -> bool {
        let found = self.0.iter().find(|level| level.bucket == *bucket);
        found.is_some_and(|level| level.members.has(lineage))
    }

    /// Records that it has seen the key.
    pub(crate) fn join(&mut self, bucket: &Bucket, lineage: u64) {
        if let Some(level) = self.0.iter_mut().find(|level| level.bucket == *bucket) {
            level.members.add(lineage);
        }
    }

    /// What is left under the rules here that were in force until now, but no more than `bucket`
    /// holds. If a payer is named, only the rules from which it has taken count.
    #[inline(never)]
    pub(crate) fn left(
        &self,
        bucket: &Bucket,
        payer: Option<u64>,
        is_beside: impl Fn(&Bucket) -> bool,
        now: u64,
    ) -> u64 {
        let paid = |level: &&Level| payer.is_none_or(|payer| level.members.has(payer));
        let held = self.before(is_beside, now).filter(paid);
        let held = held.map(|old| old.seen_by(payer).left(bucket, now));
        held.min().unwrap_or(bucket.burst())
    }

    /// What to store if a payer comes to this rule from others: no more is left than under those.
    #[inline(never)]
    pub(crate) fn taken_since(
        &self,
        bucket: &Bucket,
        payer: u64,
        is_beside: impl Fn(&Bucket) -> bool,
        now: u64,
    ) -> Option<u64> {
        let others = self.before(is_beside, now);
        let left = others.filter(|l| l.bucket != *bucket && l.members.has(payer));
        left.map(|old| old.seen_by(Some(payer)).carried_over(bucket, now))
            .max()
    }

    /// Whether what is taken under a rule counts under others here; if a payer is named, among
    /// those from which it has taken.
    pub(crate) fn has_others(
        &self,
        bucket: &Bucket,
        payer: Option<u64>,
        is_beside: impl Fn(&Bucket) -> bool,
        now: u64,
    ) -> bool {
        let mut others = self.before(is_beside, now).filter(|l| l.bucket != *bucket);
        others.any(|level| payer.is_none_or(|payer| level.members.has(payer)))
    }

    /// Tokens were taken under a rule or, if none is named, in the other subject's buckets. A payer
    /// that is moved to another plan and back has used these as well, so the rules that may have
    /// been in force before lose them, too, or become empty. The buckets of a client lose them only
    /// for this payer, until it comes back.
    #[inline(never)]
    pub(crate) fn charge_others(
        &mut self,
        bucket: Option<&Bucket>,
        tokens: u64,
        member: Option<u64>,
        is_beside: impl Fn(&Bucket) -> bool,
        now: u64,
    ) {
        if bucket.is_some() && self.0.len() < 2 {
            return;
        }
        let is_other = |level: &Level| Some(&level.bucket) != bucket && !is_beside(&level.bucket);
        self.forget(&is_other, now);
        for old in self.0.iter_mut().filter(|level| is_other(level)) {
            let taken = old.bucket.interval.saturating_mul(tokens);
            let empty = now.saturating_add(old.bucket.tolerance);
            let level = old.seen_by(member).arrival;
            let arrival = level.max(now).saturating_add(taken);
            let arrival = arrival.min(empty).max(level);
            let Some(member) = member else {
                old.arrival = arrival;
                continue;
            };
            old.views.retain(|(of, _)| *of != member);
            // With more members than it can track, it is unknown which of them have taken here.
            if old.members.0.contains(&member) {
                old.views.push((member, arrival));
            }
        }
    }

    /// Forgets levels that have long been full. If nothing is left, what is stored is ignored.
    #[inline(never)]
    fn forget(&mut self, is_other: &impl Fn(&Level) -> bool, now: u64) {
        let is_gone = |level: &Level| is_other(level) && level.is_stale(now);
        if !self.0.is_empty() && self.0.iter().all(is_gone) {
            self.1.iter_mut().for_each(|link| link.until = 0);
            self.0.iter_mut().for_each(|level| {
                level.members.0.clear();
                level.views.clear();
            });
            return;
        }
        self.0.retain(|level| !is_gone(level));
    }

    /// A payer that has taken under other rules comes back to this one: its level becomes the level
    /// for all. Gives the level if it changes.
    #[inline(never)]
    pub(crate) fn come_back(&mut self, bucket: &Bucket, payer: u64, now: u64) -> Option<u64> {
        let level = self.0.iter_mut().find(|level| level.bucket == *bucket)?;
        let view = level.view(payer)?;
        level.views.retain(|(of, _)| *of != payer);
        let by = view.saturating_sub(level.arrival.max(now));
        level.move_views(by, now);
        level.arrival = level.arrival.max(view);
        Some(level.arrival)
    }

    /// A rule's level has moved by this much.
    pub(crate) fn moved(&mut self, bucket: &Bucket, by: u64, now: u64) {
        if let Some(level) = self.0.iter_mut().find(|level| level.bucket == *bucket) {
            level.move_views(by, now);
        }
    }

    /// Lowers all levels except those of rules that apply at the same time. Levels that have long
    /// been full are forgotten first: if lowered, they would look remembered, although what was
    /// taken in the meantime was not counted under them.
    #[inline(never)]
    pub(crate) fn lower(
        &mut self,
        is_beside: impl Fn(&Bucket) -> bool,
        to: impl Fn(&Bucket) -> u64,
        now: u64,
    ) {
        self.0
            .retain(|level| is_beside(&level.bucket) || !level.is_stale(now));
        for level in self.0.iter_mut().filter(|level| !is_beside(&level.bucket)) {
            level.arrival = level.arrival.max(to(&level.bucket));
        }
    }

    /// The most tokens that are missing under one of them.
    pub(crate) fn missing(&self, is_beside: impl Fn(&Bucket) -> bool, now: u64) -> u64 {
        let missing = self.before(is_beside, now);
        let missing = missing.map(|old| old.seen_by(None).missing(now));
        missing.max().unwrap_or(0)
    }

    /// The rules that may have been in force until now. Rules that apply at the same time,
    /// according to `is_beside`, are not predecessors.
    fn before(
        &self,
        is_beside: impl Fn(&Bucket) -> bool,
        now: u64,
    ) -> impl Iterator<Item = &Level> {
        let levels = self.0.iter().filter(move |level| !level.is_stale(now));
        levels.filter(move |level| !is_beside(&level.bucket))
    }

    /// The initial level of a new bucket. Another rule may have been in force for this subject
    /// until now: the new bucket holds no more tokens than were left under any of those, and no
    /// more than either could ever hold. If a payer is named, the rules of others do not count.
    /// `left` is what was left under the other subject's rules.
    ///
    /// If there is no room, the least recently used rule is dropped.
    #[inline(never)]
    pub(crate) fn begin(
        &mut self,
        bucket: &Bucket,
        (payer, left): (Option<u64>, u64),
        is_beside: impl Fn(&Bucket) -> bool,
        now: u64,
    ) -> u64 {
        self.0.retain(|level| !level.is_stale(now));
        let paid = |level: &&Level| payer.is_none_or(|payer| level.members.has(payer));
        let before = self.before(is_beside, now).filter(paid);
        let before = before
            .map(|old| old.seen_by(payer).begun(bucket, now))
            .max();
        let start = bucket.holding(left, now).max(before.unwrap_or(now));
        while self.0.len() >= MAX_RULES {
            self.0.remove(0);
        }
        start
    }
}
