//! The buckets of one subject and route, each under its rule.
//!
//! They lie in one value, so that its name is bounded by subjects and routes however often
//! plans are edited (shared data deletes nothing), and so that a bucket which is made for a
//! new rule sees those that came before it in the same atomic step.

use super::Quota;

/// The most rules that one subject and route may have in use at a time.
pub const MAX_RULES: usize = 64;

pub(super) const LEVEL_BYTES: usize = 32;

/// The most keys of a client that its bucket keeps apart.
pub(super) const MAX_MEMBERS: usize = 256;

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

/// A lineage has used the other subject's buckets as well: until this instant, what it takes
/// here is taken there, too. Zero: it has been there for long, and what is stored here counts
/// only beside what is left there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    lineage: u64,
    until: u64,
}

/// The keys that a client's bucket has seen. One that has seen as many as it can tell apart
/// takes every key for one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(Vec<u64>);

impl Members {
    pub(super) fn of(numbers: &[[u8; 8]]) -> Self {
        Self(numbers.iter().map(|n| u64::from_be_bytes(*n)).collect())
    }

    /// Whether this key is one of them.
    pub fn has(&self, lineage: u64) -> bool {
        self.0.contains(&lineage) || self.0.len() >= MAX_MEMBERS
    }

    fn add(&mut self, lineage: u64) {
        if !self.has(lineage) {
            self.0.push(lineage);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Level {
    quota: Quota,
    arrival: u64,
    members: Members,
    /// Members that have taken under other rules since, and the level as it is for them: it
    /// becomes everybody's when they come back.
    views: Vec<(u64, u64)>,
}

/// A level as one lineage finds it.
#[derive(Clone, Copy)]
struct Seen {
    quota: Quota,
    arrival: u64,
}

impl Level {
    fn seen_by(&self, lineage: Option<u64>) -> Seen {
        let view = lineage.and_then(|lineage| self.view(lineage));
        Seen {
            quota: self.quota,
            arrival: self.arrival.max(view.unwrap_or(0)),
        }
    }

    fn view(&self, lineage: u64) -> Option<u64> {
        let view = self.views.iter().find(|(of, _)| *of == lineage);
        view.map(|(_, arrival)| *arrival)
    }

    /// Whether it is full for everybody for as long as it takes to fill.
    fn is_stale(&self, now: u64) -> bool {
        let latest = self.views.iter().map(|(_, arrival)| *arrival).max();
        let arrival = self.arrival.max(latest.unwrap_or(0));
        Seen {
            quota: self.quota,
            arrival,
        }
        .is_stale(now)
    }

    /// From now on the lineage is new here.
    fn part(&mut self, lineage: u64) -> bool {
        let members = self.members.0.len();
        self.members.0.retain(|member| *member != lineage);
        self.views.retain(|(of, _)| *of != lineage);
        members != self.members.0.len()
    }

    /// Its level has moved by so much: those that have views see it move as far.
    fn move_views(&mut self, by: u64, now: u64) {
        let empty = now.saturating_add(self.quota.tolerance);
        for (_, view) in &mut self.views {
            let moved = (*view).max(now).saturating_add(by);
            *view = moved.min(empty).max(*view);
        }
    }
}

impl Seen {
    /// Tokens missing at `now`, rounded up.
    fn missing(&self, now: u64) -> u64 {
        let behind = self.arrival.saturating_sub(now);
        behind.div_ceil(self.quota.interval).min(self.quota.burst())
    }

    /// Tokens left at `now`, no more than a bucket under `quota` holds.
    fn left(&self, quota: &Quota, now: u64) -> u64 {
        let most = self.quota.burst().min(quota.burst());
        most.saturating_sub(self.missing(now))
    }

    /// What to store of a new bucket under `quota`: it lacks what is missing here, and what this
    /// one could never hold. Parts of tokens count.
    fn begun(&self, quota: &Quota, now: u64) -> u64 {
        let behind = u128::from(self.arrival.saturating_sub(now));
        let missing = (behind * u128::from(quota.interval)).div_ceil(self.quota.interval.into());
        let never_held = quota.burst().saturating_sub(self.quota.burst());
        let missing = u64::try_from(missing).unwrap_or(u64::MAX);
        let missing = missing.saturating_add(never_held.saturating_mul(quota.interval));
        now.saturating_add(missing.min(quota.tolerance))
    }

    /// What to store of a bucket under `quota` that holds as much as is left here, or as it can:
    /// switching back and forth between the two loses no part of a token.
    fn carried_over(&self, quota: &Quota, now: u64) -> u64 {
        let full = now.saturating_add(self.quota.tolerance);
        let left = u128::from(full.saturating_sub(self.arrival.max(now)));
        let left = left * u128::from(quota.interval) / u128::from(self.quota.interval);
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        now.saturating_add(quota.tolerance.saturating_sub(left))
    }

    /// Full for as long as it takes to fill: what its rule allowed then is long gone.
    fn is_stale(&self, now: u64) -> bool {
        self.arrival.saturating_add(self.quota.tolerance) <= now
    }
}

impl Levels {
    /// Reads what [`Levels::to_bytes`] wrote; `None` if somebody else did.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let (rules, links) = match rest {
            [] => (bytes.len() / LEVEL_BYTES, None),
            [rules] => (usize::from(*rules), None),
            [rules, links] => (usize::from(*rules), Some(usize::from(*links))),
            _ => return None,
        };
        if rules == 0 || rules > MAX_RULES {
            return None;
        }
        let (levels, mut words) = words.split_at_checked(rules * LEVEL_BYTES / 8)?;
        let read = |level: &[[u8; 8]; LEVEL_BYTES / 8]| {
            let [requests, per, burst, arrival] = level.map(u64::from_be_bytes);
            Some(Level {
                quota: Quota::new(requests, per, burst)?,
                arrival,
                members: Members::default(),
                views: Vec::new(),
            })
        };
        let levels = levels.as_chunks().0.iter().map(read);
        let mut levels: Vec<Level> = levels.collect::<Option<_>>()?;
        if !rest.is_empty() {
            for level in &mut levels {
                let (count, after) = words.split_first()?;
                let count = usize::try_from(u64::from_be_bytes(*count)).ok()?;
                let (members, after) = after.split_at_checked(count)?;
                if count > MAX_MEMBERS {
                    return None;
                }
                level.members.0 = members.iter().map(|m| u64::from_be_bytes(*m)).collect();
                words = after;
                if links.is_some() {
                    (level.views, words) = pairs(words, MAX_MEMBERS)?;
                }
            }
        }
        let mut linked = Vec::new();
        if let Some(links) = links {
            let (pairs, after) = words.split_at_checked(links.checked_mul(2)?)?;
            linked.extend(pairs.as_chunks().0.iter().map(|pair| {
                let [lineage, until] = pair.map(u64::from_be_bytes);
                Link { lineage, until }
            }));
            words = after;
        }
        words.is_empty().then_some(Self(levels, linked))
    }

    /// For shared data.
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = self.0.iter().flat_map(|level| {
            let Quota { requests, per, .. } = level.quota;
            [requests, per, level.quota.burst(), level.arrival]
        });
        let mut bytes: Vec<u8> = numbers.flat_map(u64::to_be_bytes).collect();
        let is_shared = !self.1.is_empty() || self.0.iter().any(|level| !level.views.is_empty());
        if is_shared || self.0.iter().any(|level| !level.members.0.is_empty()) {
            for Level { members, views, .. } in &self.0 {
                let count = members.0.len() as u64;
                let numbers = core::iter::once(&count).chain(&members.0);
                bytes.extend(numbers.copied().flat_map(u64::to_be_bytes));
                if is_shared {
                    bytes.extend((views.len() as u64).to_be_bytes());
                    let numbers = views.iter().flat_map(|(of, arrival)| [*of, *arrival]);
                    bytes.extend(numbers.flat_map(u64::to_be_bytes));
                }
            }
            let links = self.1.iter().flat_map(|link| [link.lineage, link.until]);
            bytes.extend(links.flat_map(u64::to_be_bytes));
            // At most `MAX_RULES`.
            bytes.push(u8::try_from(self.0.len()).unwrap_or(u8::MAX));
        }
        if is_shared {
            // At most `MAX_LINKS`.
            bytes.push(u8::try_from(self.1.len()).unwrap_or(u8::MAX));
        }
        bytes
    }

    /// Whether nothing is lost with them: all are full for long, and what is taken elsewhere no
    /// longer counts here. A bucket made anew begins as full, or with less.
    pub fn is_spent(&self, now: u64) -> bool {
        let is_over = |link: &Link| link.until <= now;
        self.0.iter().all(|level| level.is_stale(now)) && self.1.iter().all(is_over)
    }

    /// Whether nothing was ever stored here.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is stored for a rule.
    pub fn get(&self, quota: &Quota) -> Option<u64> {
        let found = self.0.iter().find(|level| level.quota == *quota);
        found.map(|level| level.arrival)
    }

    /// The level of a rule's bucket and the keys that it has seen, if it lies here alone: no other
    /// rule was used, no key that it has seen was elsewhere, and the payer is one of those.
    pub(super) fn sole(&self, quota: &Quota, payer: Option<u64>) -> Option<(u64, &[u64])> {
        let ([level], []) = (&self.0[..], &self.1[..]) else {
            return None;
        };
        let is_alone = level.quota == *quota
            && level.views.is_empty()
            && payer.is_none_or(|payer| level.members.has(payer));
        is_alone.then_some((level.arrival, &level.members.0))
    }

    /// Stores a level, as that of the rule that was used last; `false` if there is no room for
    /// another rule.
    pub(crate) fn set(&mut self, quota: &Quota, arrival: u64) -> bool {
        if let Some(level) = self.0.last_mut().filter(|level| level.quota == *quota) {
            level.arrival = arrival;
            return true;
        }
        let at = self.0.iter().position(|level| level.quota == *quota);
        let mut level = match at {
            Some(at) => self.0.remove(at),
            None if self.0.len() >= MAX_RULES => return false,
            None => Level {
                quota: *quota,
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
    pub(crate) fn members(&self, quota: &Quota) -> Members {
        let found = self.0.iter().find(|level| level.quota == *quota);
        found.map_or_else(Members::default, |level| level.members.clone())
    }

    /// The keys that a lease of a rule's bucket may serve: those that the bucket has seen, but for
    /// those whose takings count elsewhere too, under other rules here or at the other subject's
    /// place: each of their takes is told there. The payer has been charged for all of the lease.
    pub(crate) fn served(&self, quota: &Quota, payer: Option<u64>) -> Members {
        let mut members = self.members(quota);
        let counts_elsewhere = |lineage: &u64| {
            let mut others = self.0.iter().filter(|level| level.quota != *quota);
            self.linked_until(*lineage).is_some()
                || others.any(|level| level.members.0.contains(lineage))
        };
        members
            .0
            .retain(|lineage| Some(*lineage) == payer || !counts_elsewhere(lineage));
        members
    }

    /// Whether a rule's bucket has seen this key.
    pub(crate) fn has_member(&self, quota: &Quota, lineage: u64) -> bool {
        let found = self.0.iter().find(|level| level.quota == *quota);
        found.is_some_and(|level| level.members.has(lineage))
    }

    /// From now on it has.
    pub(crate) fn join(&mut self, quota: &Quota, lineage: u64) {
        if let Some(level) = self.0.iter_mut().find(|level| level.quota == *quota) {
            level.members.add(lineage);
        }
    }

    /// What is left under the rules here that were in force until now, and no more than
    /// `quota` holds. If a payer is named, of those that it has taken from.
    pub(crate) fn left(
        &self,
        quota: &Quota,
        payer: Option<u64>,
        is_beside: impl Fn(&Quota) -> bool,
        now: u64,
    ) -> u64 {
        let paid = |level: &&Level| payer.is_none_or(|payer| level.members.has(payer));
        let held = self.before(is_beside, now).filter(paid);
        let held = held.map(|old| old.seen_by(payer).left(quota, now));
        held.min().unwrap_or(quota.burst())
    }

    /// What to store where a payer comes to this rule that was under others until now: no more
    /// is left than under those.
    pub(crate) fn taken_since(
        &self,
        quota: &Quota,
        payer: u64,
        is_beside: impl Fn(&Quota) -> bool,
        now: u64,
    ) -> Option<u64> {
        let others = self.before(is_beside, now);
        let left = others.filter(|l| l.quota != *quota && l.members.has(payer));
        left.map(|old| old.seen_by(Some(payer)).carried_over(quota, now))
            .max()
    }

    /// Whether what is taken under a rule counts under others here, of those that a payer has taken
    /// from if one is named.
    pub(crate) fn has_others(
        &self,
        quota: &Quota,
        payer: Option<u64>,
        is_beside: impl Fn(&Quota) -> bool,
        now: u64,
    ) -> bool {
        let mut others = self.before(is_beside, now).filter(|l| l.quota != *quota);
        others.any(|level| payer.is_none_or(|payer| level.members.has(payer)))
    }

    /// Tokens were taken under a rule, or in the other subject's buckets if none is named. A payer
    /// that is moved to another plan and back has used those as well, so the rules that may have
    /// been in force before lack them, too, or are empty. The buckets of a client lack them for
    /// this payer only, until it comes back.
    pub(crate) fn charge_others(
        &mut self,
        quota: Option<&Quota>,
        tokens: u64,
        member: Option<u64>,
        is_beside: impl Fn(&Quota) -> bool,
        now: u64,
    ) {
        if quota.is_some() && self.0.len() < 2 {
            return;
        }
        let is_other = |level: &Level| Some(&level.quota) != quota && !is_beside(&level.quota);
        self.forget(&is_other, now);
        for old in self.0.iter_mut().filter(|level| is_other(level)) {
            let taken = old.quota.interval.saturating_mul(tokens);
            let empty = now.saturating_add(old.quota.tolerance);
            let level = old.seen_by(member).arrival;
            let arrival = level.max(now).saturating_add(taken);
            let arrival = arrival.min(empty).max(level);
            let Some(member) = member else {
                old.arrival = arrival;
                continue;
            };
            old.views.retain(|(of, _)| *of != member);
            // Of more members than it can tell apart nobody knows who has taken here.
            if old.members.0.contains(&member) {
                old.views.push((member, arrival));
            }
        }
    }

    /// Forgets levels that are full for long. If nothing is left, what is stored is not believed.
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

    /// A payer that has taken under other rules comes back to this one: its level is then
    /// everybody's. What it is, if it changes.
    pub(crate) fn come_back(&mut self, quota: &Quota, payer: u64, now: u64) -> Option<u64> {
        let level = self.0.iter_mut().find(|level| level.quota == *quota)?;
        let view = level.view(payer)?;
        level.views.retain(|(of, _)| *of != payer);
        let by = view.saturating_sub(level.arrival.max(now));
        level.move_views(by, now);
        level.arrival = level.arrival.max(view);
        Some(level.arrival)
    }

    /// A rule's level has moved by so much.
    pub(crate) fn moved(&mut self, quota: &Quota, by: u64, now: u64) {
        if let Some(level) = self.0.iter_mut().find(|level| level.quota == *quota) {
            level.move_views(by, now);
        }
    }

    /// Lowers all levels but those of rules that apply beside. Those that are full for long are
    /// forgotten first: lowered, they would pass for remembered, although what was taken
    /// meanwhile was not counted under them.
    pub(crate) fn lower(
        &mut self,
        is_beside: impl Fn(&Quota) -> bool,
        to: impl Fn(&Quota) -> u64,
        now: u64,
    ) {
        self.0
            .retain(|level| is_beside(&level.quota) || !level.is_stale(now));
        for level in self.0.iter_mut().filter(|level| !is_beside(&level.quota)) {
            level.arrival = level.arrival.max(to(&level.quota));
        }
    }

    /// Until when a lineage's takings count at the other subject's place, too.
    pub(crate) fn linked_until(&self, lineage: u64) -> Option<u64> {
        let link = self.1.iter().find(|link| link.lineage == lineage);
        link.map(|link| link.until)
    }

    /// They do so until then, or longer.
    pub(crate) fn link(&mut self, lineage: u64, until: u64) {
        let longer = self.linked_until(lineage).unwrap_or(0).max(until);
        self.unlink(lineage);
        if self.1.len() >= MAX_LINKS
            && let Some(first) = self.1.iter().min_by_key(|link| link.until)
        {
            // Without its link that key is new here when it comes back.
            let first = first.lineage;
            self.unlink(first);
            self.0.iter_mut().for_each(|level| _ = level.part(first));
        }
        self.1.push(Link {
            lineage,
            until: longer,
        });
    }

    /// The lineage has used the other place once more.
    pub(crate) fn link_again(&mut self, quota: &Quota, lineage: u64, now: u64) {
        if let Some(1..) = self.linked_until(lineage) {
            let longest = self.0.iter().map(|level| level.quota.tolerance).max();
            let longest = longest.unwrap_or(0).max(quota.tolerance);
            self.link(lineage, now.saturating_add(longest.saturating_mul(2)));
        }
    }

    /// They no longer do.
    pub(crate) fn unlink(&mut self, lineage: u64) {
        self.1.retain(|link| link.lineage != lineage);
    }

    /// A lineage that may have been here comes to the other subject's place. What it takes there
    /// counts here from now on, until the returned instant, if anything here is still of use;
    /// what is not must not be believed when it comes back. Says whether anything changed, too.
    pub(crate) fn leave(
        &mut self,
        quota: &Quota,
        (lineage, is_member): (u64, bool),
        is_beside: impl Fn(&Quota) -> bool,
        now: u64,
    ) -> (Option<u64>, bool) {
        let mut longest = None;
        let mut is_changed = false;
        for level in &mut self.0 {
            if is_member && !level.members.0.contains(&lineage) {
                continue;
            }
            // Those that apply beside may stop to do so.
            if is_beside(&level.quota) || !level.is_stale(now) {
                longest = longest.max(Some(level.quota.tolerance.max(quota.tolerance)));
            } else if is_member {
                is_changed |= level.part(lineage);
            } else {
                is_changed = true;
            }
        }
        let until = longest.map(|longest| now.saturating_add(longest.saturating_mul(2)));
        match until {
            Some(until) => self.link(lineage, until),
            None if is_changed && !is_member => self.cut(lineage, false, &is_beside),
            None => {}
        }
        if !is_member {
            self.forget(&|level: &Level| !is_beside(&level.quota), now);
        }
        (until, is_changed || until.is_some())
    }

    /// The lineage has been elsewhere for so long that what it took there no longer counts here:
    /// when it comes back, what is left there decides.
    pub(crate) fn cut(
        &mut self,
        lineage: u64,
        is_member: bool,
        is_beside: impl Fn(&Quota) -> bool,
    ) {
        self.unlink(lineage);
        if !is_member {
            self.1.push(Link { lineage, until: 0 });
            return;
        }
        for level in self.0.iter_mut().filter(|level| !is_beside(&level.quota)) {
            level.part(lineage);
        }
    }

    /// The most tokens that are missing under one of them.
    pub(crate) fn missing(&self, is_beside: impl Fn(&Quota) -> bool, now: u64) -> u64 {
        let missing = self.before(is_beside, now);
        let missing = missing.map(|old| old.seen_by(None).missing(now));
        missing.max().unwrap_or(0)
    }

    /// The rules that may have been in force until now. Those that apply beside, as
    /// `is_beside` knows them, are no such predecessors.
    fn before(&self, is_beside: impl Fn(&Quota) -> bool, now: u64) -> impl Iterator<Item = &Level> {
        let levels = self.0.iter().filter(move |level| !level.is_stale(now));
        levels.filter(move |level| !is_beside(&level.quota))
    }

    /// What a bucket that does not exist yet begins with. Another rule may have been in force
    /// for this subject until now: the new bucket holds no more tokens than were left under
    /// any of those, and than either could ever hold. If a payer is named, the rules of others
    /// do not count. Under the other subject's rules `left` were.
    ///
    /// Where there is no room, the rule that was longest out of use gives way.
    pub(crate) fn begin(
        &mut self,
        quota: &Quota,
        (payer, left): (Option<u64>, u64),
        is_beside: impl Fn(&Quota) -> bool,
        now: u64,
    ) -> u64 {
        self.0.retain(|level| !level.is_stale(now));
        let paid = |level: &&Level| payer.is_none_or(|payer| level.members.has(payer));
        let before = self.before(is_beside, now).filter(paid);
        let before = before.map(|old| old.seen_by(payer).begun(quota, now)).max();
        let start = quota.holding(left, now).max(before.unwrap_or(now));
        while self.0.len() >= MAX_RULES {
            self.0.remove(0);
        }
        start
    }
}

type Pairs = Vec<(u64, u64)>;

/// Pairs of numbers, after their number.
fn pairs(words: &[[u8; 8]], most: usize) -> Option<(Pairs, &[[u8; 8]])> {
    let (count, after) = words.split_first()?;
    let count = usize::try_from(u64::from_be_bytes(*count)).ok()?;
    if count > most {
        return None;
    }
    let (numbers, after) = after.split_at_checked(count.checked_mul(2)?)?;
    let pairs = numbers.as_chunks().0.iter().map(|pair| {
        let [first, second] = pair.map(u64::from_be_bytes);
        (first, second)
    });
    Some((pairs.collect(), after))
}
