//! The limits that applied to a request.

use crate::keyset::{OwnLimits, PlanInForce};
use crate::limit::bucket::MAX_LIMITS;
use crate::limit::quota::Window;
use crate::policy::Limit;

/// Where a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitOrigin<'k> {
    /// A plan, by name.
    Plan(&'k str),
    /// The key itself.
    Key,
    /// The route.
    Route,
}

/// A limit that applied.
#[derive(Clone, Copy, Debug)]
pub struct AppliedLimit<'k> {
    /// The limit.
    pub limit: Limit,
    /// Whose it is.
    pub origin: LimitOrigin<'k>,
}

/// A quota that applied.
#[derive(Clone, Copy, Debug)]
pub struct QuotaState<'k> {
    /// Whose it is.
    pub plan: &'k str,
    /// What it allows in each window.
    pub requests: u64,
    /// The window.
    pub window: Window,
    /// What is left, and the seconds until the window ends; `None` if a bucket refused first.
    pub left: Option<(u64, u64)>,
}

/// The limits that applied to a request, and the result for the tightest.
#[derive(Clone, Copy)]
pub struct Rate<'k> {
    pub(super) limits: Limits<'k>,
    /// Position of the one that refused, or has the fewest tokens left; the number of
    /// limits if the quota refused, or there is no limit.
    pub tightest: usize,
    /// Tokens left in it.
    pub remaining: u64,
    /// Seconds until it admits again, if it refused; until it is full, otherwise.
    pub reset: u64,
    /// The quota that applied.
    pub quota: Option<QuotaState<'k>>,
}

impl<'k> Rate<'k> {
    /// The limits, in order: the plan's or key's, then the route's.
    pub fn applied(&self) -> impl Iterator<Item = AppliedLimit<'k>> + use<'k> {
        self.limits.iter()
    }
}

/// Where the limits of a request are found: a key's own limits are read each time they are needed,
/// so that nothing is copied.
#[derive(Clone, Copy)]
pub(super) struct Limits<'k> {
    pub(super) own: OwnLimits<'k>,
    pub(super) plan: Option<PlanInForce<'k>>,
    pub(super) route: Option<&'k Limit>,
}

impl<'k> Limits<'k> {
    /// At most [`MAX_LIMITS`] and that of the route.
    pub(super) fn iter(self) -> impl Iterator<Item = AppliedLimit<'k>> + use<'k> {
        let applied = |origin| move |limit| AppliedLimit { limit, origin };
        // A key's own limits replace the limits of the plan, but not its quota.
        let plan = self.plan.filter(|_| self.own.is_empty());
        let (name, limits) = plan.map_or(("", &[][..]), |plan| (plan.name, plan.limits));
        let own = self.own.iter().map(applied(LimitOrigin::Key));
        let plan = limits.iter().copied().map(applied(LimitOrigin::Plan(name)));
        let route = self.route.copied().map(applied(LimitOrigin::Route));
        own.chain(plan).take(MAX_LIMITS).chain(route)
    }
}
