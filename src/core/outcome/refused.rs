//! What access logs are told of the refusal of a known key.

use crate::decide::{Decision, Denial, LimitOrigin};
use crate::keyset::InForce;
use crate::policy::By;

/// Whose key was refused, and where. Of unknown keys there is nothing to tell.
pub struct RefusedCaller<'a> {
    /// The name of its client.
    pub client: &'a str,
    /// The template of the route, if the request has come to one.
    pub route: Option<&'a str>,
    /// The limit or the quota that refused it, in words.
    pub limit: Option<String>,
}

impl<'a> RefusedCaller<'a> {
    /// `None` unless a known key was refused.
    #[inline(never)]
    pub fn from_decision(keyset: Option<&'a InForce>, decision: &'a Decision<'_>) -> Option<Self> {
        let entry = decision.entry.as_ref()?;
        let denial = decision.verdict.as_ref().err()?;
        let routes = keyset.map(|k| k.policy().routes.as_slice());
        let route = routes.and_then(|all| all.get(decision.route?));
        Some(Self {
            client: entry.client,
            route: route.map(|r| r.path.as_str()),
            limit: limit(decision, denial),
        })
    }
}

/// `plan gold: 100 per 1 s, burst 100, by key`, or `plan free: quota of 10000`.
fn limit(decision: &Decision<'_>, denial: &Denial) -> Option<String> {
    let is_limit = matches!(
        denial,
        Denial::RateLimited { .. } | Denial::QuotaExceeded { .. }
    );
    let rate = decision.rate.as_ref().filter(|_| is_limit)?;
    if let Some(applied) = rate.applied().nth(rate.tightest) {
        let limit = applied.limit;
        let (whose, plan) = match applied.origin {
            LimitOrigin::Plan(name) => ("plan ", name),
            LimitOrigin::Key => ("key", ""),
            LimitOrigin::Route => ("route", ""),
        };
        let by = match limit.by {
            By::Key => "key",
            By::Client => "client",
        };
        return Some(format!(
            "{whose}{plan}: {} per {} s, burst {}, by {by}",
            limit.requests, limit.per, limit.burst
        ));
    }
    let quota = rate.quota.as_ref()?;
    Some(format!("plan {}: quota of {}", quota.plan, quota.requests))
}
