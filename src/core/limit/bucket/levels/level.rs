//! One level: the bucket under one rule, and as each lineage finds it.

use super::super::Quota;
use super::Members;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) quota: Quota,
    pub(super) arrival: u64,
    pub(super) members: Members,
    /// Members that have taken under other rules since, and the level as it is for them: it
    /// becomes everybody's when they come back.
    pub(super) views: Vec<(u64, u64)>,
}

/// A level as one lineage finds it.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) quota: Quota,
    pub(super) arrival: u64,
}

impl Level {
    pub(super) fn seen_by(&self, lineage: Option<u64>) -> Seen {
        let view = lineage.and_then(|lineage| self.view(lineage));
        Seen {
            quota: self.quota,
            arrival: self.arrival.max(view.unwrap_or(0)),
        }
    }

    pub(super) fn view(&self, lineage: u64) -> Option<u64> {
        let view = self.views.iter().find(|(of, _)| *of == lineage);
        view.map(|(_, arrival)| *arrival)
    }

    /// Whether it is full for everybody for as long as it takes to fill.
    pub(super) fn is_stale(&self, now: u64) -> bool {
        let latest = self.views.iter().map(|(_, arrival)| *arrival).max();
        let arrival = self.arrival.max(latest.unwrap_or(0));
        Seen {
            quota: self.quota,
            arrival,
        }
        .is_stale(now)
    }

    /// From now on the lineage is new here.
    pub(super) fn part(&mut self, lineage: u64) -> bool {
        let members = self.members.0.len();
        self.members.0.retain(|member| *member != lineage);
        self.views.retain(|(of, _)| *of != lineage);
        members != self.members.0.len()
    }

    /// Its level has moved by so much: those that have views see it move as far.
    pub(super) fn move_views(&mut self, by: u64, now: u64) {
        let empty = now.saturating_add(self.quota.tolerance);
        for (_, view) in &mut self.views {
            let moved = (*view).max(now).saturating_add(by);
            *view = moved.min(empty).max(*view);
        }
    }
}

impl Seen {
    /// Tokens missing at `now`, rounded up.
    pub(super) fn missing(&self, now: u64) -> u64 {
        let behind = self.arrival.saturating_sub(now);
        behind.div_ceil(self.quota.interval).min(self.quota.burst())
    }

    /// Tokens left at `now`, no more than a bucket under `quota` holds.
    pub(super) fn left(&self, quota: &Quota, now: u64) -> u64 {
        let most = self.quota.burst().min(quota.burst());
        most.saturating_sub(self.missing(now))
    }

    /// What to store of a new bucket under `quota`: it lacks what is missing here, and what this
    /// one could never hold. Parts of tokens count.
    pub(super) fn begun(&self, quota: &Quota, now: u64) -> u64 {
        let behind = u128::from(self.arrival.saturating_sub(now));
        let missing = (behind * u128::from(quota.interval)).div_ceil(self.quota.interval.into());
        let never_held = quota.burst().saturating_sub(self.quota.burst());
        let missing = u64::try_from(missing).unwrap_or(u64::MAX);
        let missing = missing.saturating_add(never_held.saturating_mul(quota.interval));
        now.saturating_add(missing.min(quota.tolerance))
    }

    /// What to store of a bucket under `quota` that holds as much as is left here, or as it can:
    /// switching back and forth between the two loses no part of a token.
    pub(super) fn carried_over(&self, quota: &Quota, now: u64) -> u64 {
        let full = now.saturating_add(self.quota.tolerance);
        let left = u128::from(full.saturating_sub(self.arrival.max(now)));
        let left = left * u128::from(quota.interval) / u128::from(self.quota.interval);
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        now.saturating_add(quota.tolerance.saturating_sub(left))
    }

    /// Full for as long as it takes to fill: what its rule allowed then is long gone.
    pub(super) fn is_stale(&self, now: u64) -> bool {
        self.arrival.saturating_add(self.quota.tolerance) <= now
    }
}
