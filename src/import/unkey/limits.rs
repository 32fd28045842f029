//! Limits and credits of Unkey's keys.

use keystile_core::policy::By;

use super::tables;
use crate::fields::Object;
use crate::found::Found;
use crate::limits::ReadLimits;
use crate::node::{Data, Node};
use keystile_model::error::Result;

/// Whether a key has no requests left. Usage counts are listed.
pub fn used_up(
    key: &Object<'_>,
    identity: Option<&Object<'_>>,
    shut: &mut Option<String>,
    place: &str,
    found: &mut Found,
) -> Result<bool> {
    // In whatever field there is the least.
    let mut remaining: Option<u64> = None;
    let mut take = |n: Option<u64>| {
        remaining = match (remaining, n) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    };
    key.number("remaining")?;
    key.number("remainingRequests")?;
    for node in key.all("remaining").chain(key.all("remainingRequests")) {
        take(node.number());
    }
    let of_identity = identity.and_then(|identity| identity.get("credits"));
    for credits in key.get("credits").into_iter().chain(of_identity) {
        if matches!(credits.data, Data::Map(_)) {
            let credits = Object::open(credits, &tables::CREDITS, place, found)?;
            *shut = shut.take().or_else(|| credits.closed());
            take(credits.number("remaining")?);
        } else {
            take(credits.number());
        }
    }
    match remaining {
        None => {}
        Some(0) => found.note(place, "has no credits left, so it is disabled"),
        Some(_) => found.leave(
            place,
            "credits: usage counts are not carried over; write a quota into a plan",
        ),
    }
    Ok(remaining == Some(0))
}

pub fn rate_limits(
    key: &Object<'_>,
    place: &str,
    limits: &mut ReadLimits,
    found: &mut Found,
) -> Result<()> {
    if let Some(node) = key.get("ratelimit") {
        rate_limit(node, By::Key, place, limits, found)?;
    }
    for node in key.list("ratelimits")? {
        rate_limit(node.see(), By::Key, place, limits, found)?;
    }
    let (n, ms) = (
        key.number("ratelimitLimit")?,
        key.number("ratelimitDuration")?,
    );
    match (n, ms) {
        (Some(n), Some(ms)) => add(n, ms, None, By::Key, limits),
        (None, None) => {}
        _ => limits.lose(NOT_WHOLE),
    }
    Ok(())
}

const NOT_WHOLE: &str = "a rate limit that is not a whole number of requests and seconds";

fn add(n: u64, ms: u64, burst: Option<u64>, by: By, limits: &mut ReadLimits) {
    if n > 0 && (ms == 0 || !ms.is_multiple_of(1000)) {
        limits
            .lose("a period that is not a whole number of seconds: it becomes the next longer one");
    }
    // As many in a longer time are fewer.
    limits.add(n, ms.div_ceil(1000).max(1), burst, by);
}

pub fn rate_limit(
    node: &Node,
    by: By,
    place: &str,
    limits: &mut ReadLimits,
    found: &mut Found,
) -> Result<()> {
    let object = Object::open(node, &tables::RATE_LIMIT, place, found)?;
    let (limit, duration) = (object.number("limit")?, object.number("duration")?);
    let (rate, interval) = (
        object.number("refillRate")?,
        object.number("refillInterval")?,
    );
    if object.flag("autoApply")? == Some(false) {
        found.leave(
            place,
            "a rate limit that is not applied to every request; write it as `cost` or `limit` of routes",
        );
        return Ok(());
    }
    match (limit, duration, rate, interval) {
        (Some(n), Some(ms), ..) => add(n, ms, None, by, limits),
        (burst, None, Some(n), Some(ms)) => add(n, ms, burst.filter(|b| *b > n), by, limits),
        _ => limits.lose(NOT_WHOLE),
    }
    Ok(())
}
