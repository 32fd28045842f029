//! The buckets of one subject and route, each under its rule.
//!
//! They lie in one value, so that its name is bounded by subjects and routes however often
//! plans are edited (shared data deletes nothing), and so that a bucket which is made for a
//! new rule sees those that came before it in the same atomic step.

use super::Quota;

/// The most rules that one subject and route may have in use at a time.
pub const MAX_RULES: usize = 64;

const LEVEL_BYTES: usize = 32;

/// Theoretical arrival times by rule. Each is written as `requests`, `per`, `burst` and the
/// instant, eight bytes each, big-endian.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels(Vec<Level>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    quota: Quota,
    arrival: u64,
}

impl Level {
    /// Tokens missing at `now`, rounded up.
    fn missing(&self, now: u64) -> u64 {
        let behind = self.arrival.saturating_sub(now);
        behind.div_ceil(self.quota.interval).min(self.quota.burst())
    }

    /// Full for as long as it takes to fill: what its rule allowed then is long gone.
    fn is_stale(&self, now: u64) -> bool {
        self.arrival.saturating_add(self.quota.tolerance) <= now
    }
}

impl Levels {
    /// Reads what [`Levels::to_bytes`] wrote; `None` if somebody else did.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (levels, rest) = bytes.as_chunks::<LEVEL_BYTES>();
        if levels.is_empty() || levels.len() > MAX_RULES || !rest.is_empty() {
            return None;
        }
        let read = |level: &[u8; LEVEL_BYTES]| {
            let &[requests, per, burst, arrival] = level.as_chunks::<8>().0 else {
                return None;
            };
            let [requests, per, burst] = [requests, per, burst].map(u64::from_be_bytes);
            Some(Level {
                quota: Quota::new(requests, per, burst)?,
                arrival: u64::from_be_bytes(arrival),
            })
        };
        levels.iter().map(read).collect::<Option<_>>().map(Self)
    }

    /// For shared data.
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = self.0.iter().flat_map(|level| {
            let Quota { requests, per, .. } = level.quota;
            [requests, per, level.quota.burst(), level.arrival]
        });
        numbers.flat_map(u64::to_be_bytes).collect()
    }

    /// What is stored for a rule.
    pub fn get(&self, quota: &Quota) -> Option<u64> {
        let found = self.0.iter().find(|level| level.quota == *quota);
        found.map(|level| level.arrival)
    }

    /// Stores a level; `false` if there is no room for another rule.
    pub(crate) fn set(&mut self, quota: &Quota, arrival: u64) -> bool {
        if let Some(level) = self.0.iter_mut().find(|level| level.quota == *quota) {
            level.arrival = arrival;
            return true;
        }
        let has_room = self.0.len() < MAX_RULES;
        if has_room {
            self.0.push(Level {
                quota: *quota,
                arrival,
            });
        }
        has_room
    }

    /// What a bucket that does not exist yet begins with. Another rule may have been in force
    /// for this subject until now: the new bucket holds no more tokens than were left under
    /// any of those, and than either could ever hold. The rules that apply beside it, as
    /// `is_beside` knows them, are no such predecessors.
    ///
    /// # Errors
    /// If there is no room: when the first of the others will be full, and make room.
    pub(crate) fn begin(
        &mut self,
        quota: &Quota,
        is_beside: impl Fn(&Quota) -> bool,
        now: u64,
    ) -> Result<u64, u64> {
        self.0.retain(|level| !level.is_stale(now));
        let burst = quota.burst();
        let before = self.0.iter().filter(|level| !is_beside(&level.quota));
        let held = before.map(|old| {
            let most = old.quota.burst().min(burst);
            most.saturating_sub(old.missing(now))
        });
        let missing = burst.saturating_sub(held.min().unwrap_or(burst));
        if self.0.len() >= MAX_RULES {
            // A full bucket says nothing that a new one would not.
            self.0.retain(|level| level.arrival > now);
        }
        if self.0.len() >= MAX_RULES {
            let first = self.0.iter().map(|level| level.arrival).min();
            return Err(first.unwrap_or(now));
        }
        Ok(now.saturating_add(missing.saturating_mul(quota.interval)))
    }
}
