//! Plans and limits.

use super::super::{
    By, Limit, Plan, QuotaPeriod, RawAttempts, RawLimit, RawPlan, RawQuota, is_plan_name, seconds,
};
use super::Errors;
#[cfg(not(target_family = "wasm"))]
use super::longest;
use crate::advice::Advice;
use crate::limit::bucket::{Bucket, MAX_LIMITS};

#[inline(never)]
pub(crate) fn checked_plan(name: &str, raw: &RawPlan, e: &mut Errors) -> Plan {
    let field = format!("plans.{name}");
    if !is_plan_name(name) {
        e.push(
            &field,
            "is not a plan name: use up to 32 of `a-z`, `0-9`, `-` and `_`",
        );
    }
    if let Some(raw) = &raw.quota {
        quota(&format!("{field}.quota"), raw, e);
    }
    Plan {
        limits: limits(&format!("{field}.limits"), &raw.limits, e),
        quota: raw.quota.clone(),
        rotate_every: span(
            &field,
            "rotate_every",
            raw.rotate_every.as_deref(),
            "never",
            e,
        ),
        grace: span(&field, "grace", raw.grace.as_deref(), "0", e),
        #[cfg(not(target_family = "wasm"))]
        max_lifetime: longest(
            &format!("{field}.max_lifetime"),
            raw.max_lifetime.as_ref(),
            e,
        ),
    }
}

#[inline(never)]
fn quota(field: &str, raw: &RawQuota, e: &mut Errors) {
    if raw.requests == 0 {
        e.push(
            format!("{field}.requests"),
            Advice::new(
                "is 0, which would refuse everything",
                "to take access away, disable the key",
            ),
        );
    }
    let in_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+');
    if !(1..=64).contains(&raw.time_zone.len()) || !raw.time_zone.bytes().all(in_name) {
        e.push(
            format!("{field}.time_zone"),
            Advice::new(
                "is not the name of a time zone",
                "write `UTC` or `Europe/Berlin`",
            ),
        );
    }
    if !(1..=28).contains(&raw.rolls_over.day) {
        e.push(
            format!("{field}.rolls_over.day"),
            Advice::new(
                format!("is {}", raw.rolls_over.day),
                "write 1 to 28, the days that every month has",
            ),
        );
    }
    if raw.rolls_over.day != 1 && raw.per == QuotaPeriod::Day {
        e.push(
            format!("{field}.rolls_over.day"),
            Advice::new(
                "has no meaning for a quota by day",
                "remove it, or write `per: month`",
            ),
        );
    }
    if raw.rolls_over.hour > 23 {
        e.push(
            format!("{field}.rolls_over.hour"),
            Advice::new(format!("is {}", raw.rolls_over.hour), "write 0 to 23"),
        );
    }
}

/// A duration, or the word for none.
#[inline(never)]
fn span(plan: &str, field: &str, raw: Option<&str>, none: &str, e: &mut Errors) -> Option<u64> {
    let raw = raw?;
    if raw == none {
        return Some(0);
    }
    let found = seconds(raw);
    if found.is_none() {
        e.push(
            format!("{plan}.{field}"),
            Advice::new(
                format!("`{raw}` is not a duration"),
                format!("write `90d`, `12h` or `{none}`"),
            ),
        );
    }
    found
}

#[inline(never)]
pub(crate) fn limits(field: &str, raw: &[RawLimit], e: &mut Errors) -> Vec<Limit> {
    if raw.len() > MAX_LIMITS {
        e.push(
            field,
            format!("has {} limits; {MAX_LIMITS} is the maximum", raw.len()),
        );
    }
    let mut out: Vec<Limit> = Vec::new();
    for (i, r) in raw.iter().enumerate() {
        let field = format!("{field}[{i}]");
        if let Some(limit) = limit(&field, r, e) {
            if out.iter().any(|l| l.per == limit.per && l.by == limit.by) {
                e.push(
                    format!("{field}.per"),
                    Advice::new(
                        "is the same as in another limit of this list",
                        "keep the stricter one",
                    ),
                );
            } else {
                out.push(limit);
            }
        }
    }
    out
}

#[inline(never)]
pub(super) fn limit(field: &str, raw: &RawLimit, e: &mut Errors) -> Option<Limit> {
    let before = e.0.len();
    if raw.requests == 0 {
        e.push(
            format!("{field}.requests"),
            Advice::new(
                "is 0, which would refuse everything",
                "write 1 or more, or close the route",
            ),
        );
    }
    if raw.burst == Some(0) {
        e.push(
            format!("{field}.burst"),
            Advice::new(
                "is 0, which would refuse everything",
                "write 1 or more, or leave it out",
            ),
        );
    }
    let per = seconds(&raw.per).filter(|&s| s <= 366 * 86_400);
    if per.is_none() {
        e.push(
            format!("{field}.per"),
            Advice::new(
                format!("`{}` is not a period", raw.per),
                "write `1s`, `1m`, `1h` or `1d`",
            ),
        );
    }
    if before != e.0.len() {
        return None;
    }
    let (per, burst) = (per?, raw.burst.unwrap_or(raw.requests));
    let Some(bucket) = Bucket::new(raw.requests, per, burst) else {
        e.push(
            format!("{field}.requests"),
            Advice::new(
                "with this `per` and `burst` is beyond what a bucket can count",
                "choose smaller figures",
            ),
        );
        return None;
    };
    Some(Limit {
        bucket,
        requests: raw.requests,
        per,
        burst,
        by: raw.by,
    })
}

/// The bucket of an address that tries unknown keys.
#[inline(never)]
pub(crate) fn attempts(raw: &RawAttempts, e: &mut Errors) -> Option<Bucket> {
    let zero = Advice::new(
        "is 0, which would answer every unknown key with 429",
        "write 1 or more, or leave `brute_force` out",
    );
    let raw = RawLimit {
        requests: raw.attempts,
        per: raw.per.clone(),
        burst: raw.burst,
        by: By::Key,
    };
    let before = e.0.len();
    let found = limit("brute_force", &raw, e);
    for error in e.0.iter_mut().skip(before) {
        let figure = match error.field.as_str() {
            "brute_force.requests" => {
                "brute_force.attempts".clone_into(&mut error.field);
                Some(raw.requests)
            }
            "brute_force.burst" => raw.burst,
            _ => None,
        };
        if figure == Some(0) {
            error.problem.clone_from(&zero);
        }
    }
    found.map(|limit| limit.bucket)
}
