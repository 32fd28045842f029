//! The buckets of one subject and route, each under its rule.
//!
//! They lie in one value, so that its name is bounded by subjects and routes however often
//! plans are edited (shared data deletes nothing), and so that a bucket which is made for a
//! new rule sees those that came before it in the same atomic step.

use super::Quota;

/// The most rules that one subject and route may have in use at a time.
pub const MAX_RULES: usize = 64;

const LEVEL_BYTES: usize = 32;

/// The most keys of a client that its bucket keeps apart.
const MAX_MEMBERS: usize = 256;

/// Theoretical arrival times by rule, the most recently used rule last. Each is written as
/// `requests`, `per`, `burst` and the instant, eight bytes each, big-endian. If any has members, these follow: of each rule their
/// number and themselves, likewise, and at the end one byte, the number of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels(Vec<Level>);

/// The keys that a client's bucket has seen. One that has seen as many as it can tell apart
/// takes every key for one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(Vec<u64>);

impl Members {
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
}

impl Level {
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
        let rules = match rest {
            [] => bytes.len() / LEVEL_BYTES,
            [rules] => usize::from(*rules),
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
            }
        }
        words.is_empty().then_some(Self(levels))
    }

    /// For shared data.
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = self.0.iter().flat_map(|level| {
            let Quota { requests, per, .. } = level.quota;
            [requests, per, level.quota.burst(), level.arrival]
        });
        let mut bytes: Vec<u8> = numbers.flat_map(u64::to_be_bytes).collect();
        if self.0.iter().any(|level| !level.members.0.is_empty()) {
            for Level { members, .. } in &self.0 {
                let count = members.0.len() as u64;
                let numbers = core::iter::once(&count).chain(&members.0);
                bytes.extend(numbers.copied().flat_map(u64::to_be_bytes));
            }
            // At most `MAX_RULES`.
            bytes.push(u8::try_from(self.0.len()).unwrap_or(u8::MAX));
        }
        bytes
    }

    /// What is stored for a rule.
    pub fn get(&self, quota: &Quota) -> Option<u64> {
        let found = self.0.iter().find(|level| level.quota == *quota);
        found.map(|level| level.arrival)
    }

    /// Stores a level, as that of the rule that was used last; `false` if there is no room for
    /// another rule.
    pub(crate) fn set(&mut self, quota: &Quota, arrival: u64) -> bool {
        if let Some(level) = self.0.last_mut().filter(|level| level.quota == *quota) {
            level.arrival = arrival;
            return true;
        }
        let at = self.0.iter().position(|level| level.quota == *quota);
        let members = match at {
            Some(at) => self.0.remove(at).members,
            None if self.0.len() >= MAX_RULES => return false,
            None => Members::default(),
        };
        self.0.push(Level {
            quota: *quota,
            arrival,
            members,
        });
        true
    }

    /// The keys that a rule's bucket has seen.
    pub(crate) fn members(&self, quota: &Quota) -> Members {
        let found = self.0.iter().find(|level| level.quota == *quota);
        found.map_or_else(Members::default, |level| level.members.clone())
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
        let held = held.map(|old| old.left(quota, now));
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
        left.map(|old| old.carried_over(quota, now)).max()
    }

    /// Tokens were taken under a rule. A payer that is moved to another plan and back has used
    /// those as well, so the rules that may have been in force before lack them, too, or are
    /// empty.
    pub(crate) fn charge_others(
        &mut self,
        quota: &Quota,
        tokens: u64,
        is_beside: impl Fn(&Quota) -> bool,
        now: u64,
    ) {
        if self.0.len() < 2 {
            return;
        }
        let others = self.0.iter_mut();
        // However long one has been full: as long as it is here, it would give as much again.
        let others = others.filter(|l| l.quota != *quota);
        for old in others.filter(|l| !is_beside(&l.quota)) {
            let taken = old.quota.interval.saturating_mul(tokens);
            let empty = now.saturating_add(old.quota.tolerance);
            let arrival = old.arrival.max(now).saturating_add(taken);
            old.arrival = arrival.min(empty).max(old.arrival);
        }
    }

    /// The most tokens that are missing under one of them.
    pub(crate) fn missing(&self, is_beside: impl Fn(&Quota) -> bool, now: u64) -> u64 {
        let missing = self.before(is_beside, now).map(|old| old.missing(now));
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
        let before = before.map(|old| old.begun(quota, now)).max();
        let start = quota.holding(left, now).max(before.unwrap_or(now));
        while self.0.len() >= MAX_RULES {
            self.0.remove(0);
        }
        start
    }
}
