//! What a request has to pay if it is let in.

use super::rate::Limits;
use super::rate::{AppliedLimit, LimitOrigin};
use super::request::Clocks;
use crate::keyset::{Entry, InForce};
use crate::limit::bucket::{BucketKey, Charge, Kin, Subject};
use crate::limit::quota::{Draw, NotDrawn, Quota, TallyKey};
use crate::policy::{By, Route};

/// By whose keys and policy, and which rule.
pub(super) struct Due<'k> {
    pub(super) keyset: &'k InForce,
    pub(super) entry: Entry<'k>,
    pub(super) route: Option<&'k Route>,
}

/// The limits and the quota that a request is under.
pub(super) struct Bounds<'k> {
    pub(super) limits: Limits<'k>,
    pub(super) count: usize,
    pub(super) quota: Option<(&'k str, &'k Quota)>,
}

impl<'k> Bounds<'k> {
    pub(super) fn from_due(due: &Due<'k>) -> Self {
        let (keyset, entry, route) = (due.keyset, &due.entry, due.route);
        let plan = keyset.plan(entry);
        let limits = Limits {
            own: entry.own_limits(),
            plan,
            route: route.and_then(|r| r.limit.as_ref()),
        };
        Self {
            limits,
            count: limits.iter().count(),
            quota: plan.and_then(|plan| Some((plan.name, plan.quota?))),
        }
    }

    /// What is due to the buckets, in the order of the limits.
    pub(super) fn charges(&self, due: &Due<'_>) -> impl Iterator<Item = Charge> {
        let limits = self.limits.iter();
        limits.map(|a| one(due.keyset, &due.entry, due.route, &a, due.cost()))
    }

    /// What is due to the quota.
    pub(super) fn draw(&self, due: &Due<'_>, clocks: Clocks) -> Option<Result<Draw, NotDrawn>> {
        let (_, quota) = self.quota?;
        let draw = |window| Draw {
            key: TallyKey::new(due.keyset.store().0, due.entry.lineage.as_u64()),
            rule: quota.rule(),
            window,
            requests: quota.requests,
        };
        // Without a clock the window is unknown.
        let window = quota.window(clocks.wall);
        Some(window.map(draw).ok_or(NotDrawn::Contended))
    }
}

impl Due<'_> {
    /// Tokens that it takes from each limit.
    pub(super) fn cost(&self) -> u64 {
        self.route.map_or(1, |r| r.cost)
    }
}

pub(super) fn one(
    keyset: &InForce,
    entry: &Entry<'_>,
    route: Option<&Route>,
    a: &AppliedLimit<'_>,
    cost: u64,
) -> Charge {
    let lineage = entry.lineage.as_u64();
    let (key, client) = (Subject::Key(lineage), Subject::Client(entry.client_number));
    let (subject, other) = match a.limit.by {
        By::Key => (key, client),
        By::Client => (client, key),
    };
    let route = match a.origin {
        LimitOrigin::Route => route.map_or(0, |r| r.stable_id),
        LimitOrigin::Plan(_) | LimitOrigin::Key => 0,
    };
    let place = |subject| BucketKey::new(keyset.store().0, subject, route);
    Charge {
        key: place(subject),
        kin: Some(Kin {
            lineage,
            place: place(other),
        }),
        bucket: a.limit.bucket,
        cost,
    }
}
