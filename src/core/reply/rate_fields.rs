//! Header fields that tell a caller what is left.

use crate::decide::{LimitOrigin, Rate};
use crate::policy::By;
use core::fmt::Write as _;

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).
pub fn rate_fields(rate: &Rate<'_>) -> [(&'static str, String); 2] {
    let of_plan = rate
        .applied()
        .filter(|a| matches!(a.origin, LimitOrigin::Plan(_)))
        .count();
    let of_key = rate
        .applied()
        .filter(|a| a.origin == LimitOrigin::Key)
        .count();
    let mut policies = String::new();
    let mut state = String::new();
    for (i, a) in rate.applied().enumerate() {
        let (name, several) = match a.origin {
            LimitOrigin::Plan(name) => (name, of_plan > 1),
            // No plan can have this name.
            LimitOrigin::Key => ("@key", of_key > 1),
            LimitOrigin::Route => ("@route", false),
        };
        // Several limits of one list are distinguished by window, then by their subject.
        let mut label = format!("\"{name}");
        if several {
            let _ = write!(label, "-{}", a.limit.per);
            if a.limit.by == By::Client {
                label.push_str("-client");
            }
        }
        label.push('"');
        let separator = if policies.is_empty() { "" } else { ", " };
        let _ = write!(
            policies,
            "{separator}{label};q={};w={}",
            a.limit.requests, a.limit.per
        );
        if i == rate.tightest {
            state = format!("{label};r={};t={}", rate.remaining, rate.reset);
        }
    }
    if let Some(quota) = &rate.quota {
        let label = format!("\"{}-quota\"", quota.plan);
        let separator = if policies.is_empty() { "" } else { ", " };
        let seconds = quota.window.end.saturating_sub(quota.window.start);
        let _ = write!(
            policies,
            "{separator}{label};q={};w={seconds}",
            quota.requests
        );
        if let Some((remaining, reset)) = quota.left {
            let separator = if state.is_empty() { "" } else { ", " };
            let _ = write!(state, "{separator}{label};r={remaining};t={reset}");
        }
    }
    [("ratelimit-policy", policies), ("ratelimit", state)]
}
