//! One level: the bucket under one rule, and as each lineage finds it.

use super::super::Bucket;
use super::members::Members;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) bucket: Bucket,
    pub(super) arrival: u64,
    pub(super) members: Members,
    /// Members that have taken under other rules since, with the level that applies to them; it
    /// becomes the level for all when they come back.
    pub(super) views: Vec<(u64, u64)>,
}

/// A level as one lineage finds it.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) bucket: Bucket,
    pub(super) arrival: u64,
}

impl Level {
    pub(super) fn seen_by(&self, lineage: Option<u64>) -> Seen {
        let view = lineage.and_then(|lineage| self.view(lineage));
        Seen {
            bucket: self.bucket,
            arrival: self.arrival.max(view.unwrap_or(0)),
        }
    }

    pub(super) fn view(&self, lineage: u64) -> Option<u64> {
        let view = self.views.iter().find(|(of, _)| *of == lineage);
        view.map(|(_, arrival)| *arrival)
    }

    /// Whether it has been full for everybody for as long as it takes to fill.
    pub(super) fn is_stale(&self, now: u64) -> bool {
        let latest = self.views.iter().map(|(_, arrival)| *arrival).max();
        let arrival = self.arrival.max(latest.unwrap_or(0));
        Seen {
            bucket: self.bucket,
            arrival,
        }
        .is_stale(now)
    }

    /// Forgets the lineage, which is new here from now on.
    pub(super) fn part(&mut self, lineage: u64) -> bool {
        let members = self.members.0.len();
        self.members.0.retain(|member| *member != lineage);
        self.views.retain(|(of, _)| *of != lineage);
        members != self.members.0.len()
    }

    /// Its level has moved by this much; views move by as much.
    pub(super) fn move_views(&mut self, by: u64, now: u64) {
        let empty = now.saturating_add(self.bucket.tolerance);
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
        behind
            .div_ceil(self.bucket.interval)
            .min(self.bucket.burst())
    }

    /// Tokens left at `now`, no more than a bucket under `bucket` holds.
    pub(super) fn left(&self, bucket: &Bucket, now: u64) -> u64 {
        let most = self.bucket.burst().min(bucket.burst());
        most.saturating_sub(self.missing(now))
    }

    /// What to store for a new bucket under `bucket`: it lacks what is missing here, and what this
    /// one could never hold. Fractions of tokens count.
    pub(super) fn begun(&self, bucket: &Bucket, now: u64) -> u64 {
        let behind = u128::from(self.arrival.saturating_sub(now));
        let missing = (behind * u128::from(bucket.interval)).div_ceil(self.bucket.interval.into());
        let never_held = bucket.burst().saturating_sub(self.bucket.burst());
        let missing = u64::try_from(missing).unwrap_or(u64::MAX);
        let missing = missing.saturating_add(never_held.saturating_mul(bucket.interval));
        now.saturating_add(missing.min(bucket.tolerance))
    }

    /// What to store for a bucket under `bucket` that holds as much as is left here, or as much as
    /// it can hold: switching back and forth loses no fraction of a token.
    pub(super) fn carried_over(&self, bucket: &Bucket, now: u64) -> u64 {
        let full = now.saturating_add(self.bucket.tolerance);
        let left = u128::from(full.saturating_sub(self.arrival.max(now)));
        let left = left * u128::from(bucket.interval) / u128::from(self.bucket.interval);
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        now.saturating_add(bucket.tolerance.saturating_sub(left))
    }

    /// It has been full for as long as it takes to fill, so what its rule allowed before no longer
    /// matters.
    pub(super) fn is_stale(&self, now: u64) -> bool {
        self.arrival.saturating_add(self.bucket.tolerance) <= now
    }
}
