//! What a request takes from limits and quota: from all of them, or from none.

mod unchanged;

use super::decision::Decision;
use super::denial::Denial;
use super::due::{Bounds, Due, one};
use super::rate::{LimitOrigin, QuotaState, Rate};
use super::request::Clocks;
use super::trace::Trace;
use crate::limit::bucket::{Buckets, Charge, TakeOutcome, look, seconds_up, take_all, take_looked};
use crate::limit::quota::{Draw, Drawing, Drawn, NotDrawn, Tallies};
use crate::policy::RateLimitFields;
use unchanged::unchanged;

pub(super) fn pay<'k>(
    due: &Due<'k>,
    clocks: Clocks,
    stock: &mut (impl Buckets + Tallies),
    trace: &mut impl Trace,
    decision: &mut Decision<'k>,
) -> Result<(), Denial> {
    if decision.again {
        if due.keyset.policy().rate_limit_fields == RateLimitFields::Always {
            decision.rate = unchanged(due, clocks, stock);
        }
        return Ok(());
    }
    charge(due, clocks, stock, trace, decision)
}

fn charge<'k>(
    due: &Due<'k>,
    clocks: Clocks,
    stock: &mut (impl Buckets + Tallies),
    trace: &mut impl Trace,
    decision: &mut Decision<'k>,
) -> Result<(), Denial> {
    let bounds = Bounds::from_due(due);
    let count = bounds.count;
    if count == 0 && bounds.quota.is_none() {
        trace.note("limit", true, || "none applies".to_owned());
        return Ok(());
    }
    let (keyset, entry, route, cost) = (due.keyset, &due.entry, due.route, due.cost());
    let mut limits = bounds.limits.iter();
    // Most requests have one limit, which needs no allocation.
    let first = limits.next().map(|a| one(keyset, entry, route, &a, cost));
    let several: Vec<Charge>;
    let charges = match first {
        Some(first) if count > 1 => {
            let others = limits.map(|a| one(keyset, entry, route, &a, cost));
            several = core::iter::once(first).chain(others).collect();
            &several
        }
        _ => first.as_slice(),
    };
    let draw = bounds.draw(due, clocks);
    let taking = take(stock, charges, draw, clocks);
    let (rate, verdict) = outcome(&bounds, draw, taking, clocks);
    note(&bounds, cost, &verdict, trace);
    decision.rate = Some(rate);
    verdict
}

/// What was taken, or which limit refused.
pub(super) enum Taking<D = Drawn> {
    Taken(Option<TakeOutcome>, Option<D>),
    NoTokens(TakeOutcome),
    NoQuota(NotDrawn),
}

/// Takes from the quota and from all buckets, or from none. If several refuse, the one with the
/// longest wait is reported.
pub(super) fn take<D: Drawing>(
    stock: &mut (impl Buckets + Tallies),
    charges: &[Charge],
    draw: Option<Result<D, NotDrawn>>,
    clocks: Clocks,
) -> Taking<D::Drawn> {
    let refused = |outcome: &TakeOutcome| !matches!(outcome, TakeOutcome::Taken { .. });
    if clocks.monotonic == 0 && !charges.is_empty() {
        // The host has never given the time: what is taken now would be forgotten once it does.
        return Taking::NoTokens(TakeOutcome::Contended { by: 0 });
    }
    let draw = match draw {
        None => {
            return match take_all(stock, charges, clocks.monotonic) {
                Some(outcome) if refused(&outcome) => Taking::NoTokens(outcome),
                outcome => Taking::Taken(outcome, None),
            };
        }
        Some(Err(why)) => return Taking::NoQuota(why),
        Some(Ok(draw)) => draw,
    };
    if let Some(outcome) = look(stock, charges, clocks.monotonic) {
        let wait = match outcome {
            TakeOutcome::Refused { refused, .. } => refused.retry_after(),
            _ => 1,
        };
        return match draw.look(stock) {
            Err(why @ NotDrawn::UsedUp(end)) if end.saturating_sub(clocks.wall) > wait => {
                Taking::NoQuota(why)
            }
            _ => Taking::NoTokens(outcome),
        };
    }
    let drawn = match draw.take(stock) {
        Ok(drawn) => drawn,
        Err(why) => return Taking::NoQuota(why),
    };
    match take_looked(stock, charges, clocks.monotonic) {
        Some(outcome) if refused(&outcome) => {
            draw.give_back(stock, &drawn);
            Taking::NoTokens(outcome)
        }
        outcome => Taking::Taken(outcome, Some(drawn)),
    }
}

pub(super) fn outcome<'k>(
    bounds: &Bounds<'k>,
    draw: Option<Result<Draw, NotDrawn>>,
    taking: Taking,
    clocks: Clocks,
) -> (Rate<'k>, Result<(), Denial>) {
    let count = bounds.count;
    let limited = |retry_after| Err(Denial::RateLimited { retry_after });
    let until = |end: u64| end.saturating_sub(clocks.wall).max(1);
    let (tightest, remaining, reset, left, verdict) = match taking {
        Taking::Taken(outcome, drawn) => {
            let left = drawn.map(|d| (d.remaining, until(d.window.end)));
            let (tightest, remaining, reset) = match outcome {
                Some(TakeOutcome::Taken { tightest, state }) => {
                    (tightest, state.remaining, seconds_up(state.full_in))
                }
                _ => {
                    let (remaining, reset) = left.unwrap_or_default();
                    (count, remaining, reset)
                }
            };
            (tightest, remaining, reset, left, Ok(()))
        }
        Taking::NoTokens(TakeOutcome::Refused { by, refused }) => {
            let wait = refused.retry_after();
            // What is left is too little for this request, and the field would invite a retry.
            (by, 0, wait, None, limited(wait))
        }
        Taking::NoTokens(
            TakeOutcome::Contended { by } | TakeOutcome::Taken { tightest: by, .. },
        ) => (by, 0, 1, None, limited(1)),
        Taking::NoQuota(NotDrawn::UsedUp(end)) => {
            let retry_after = until(end);
            let denial = Denial::QuotaExceeded { retry_after };
            (count, 0, retry_after, Some((0, retry_after)), Err(denial))
        }
        Taking::NoQuota(NotDrawn::Contended) => (count, 0, 1, Some((0, 1)), limited(1)),
    };
    let quota = match (bounds.quota, draw) {
        (Some((plan, quota)), Some(Ok(draw))) => Some(QuotaState {
            plan,
            requests: quota.requests,
            window: draw.window,
            left,
        }),
        _ => None,
    };
    let rate = Rate {
        limits: bounds.limits,
        tightest,
        remaining,
        reset,
        quota,
    };
    (rate, verdict)
}

pub(super) fn note(
    bounds: &Bounds<'_>,
    cost: u64,
    verdict: &Result<(), Denial>,
    trace: &mut impl Trace,
) {
    let by_quota = matches!(verdict, Err(Denial::QuotaExceeded { .. }));
    if bounds.count > 0 {
        trace.note("limit", verdict.is_ok() || by_quota, || {
            let list: Vec<_> = bounds
                .limits
                .iter()
                .map(|a| {
                    let whose = match a.origin {
                        LimitOrigin::Plan(name) => format!("plan `{name}`"),
                        LimitOrigin::Key => "the key".to_owned(),
                        LimitOrigin::Route => "the route".to_owned(),
                    };
                    format!(
                        "{} per {} s (burst {}) of {whose}",
                        a.limit.requests, a.limit.per, a.limit.burst
                    )
                })
                .collect();
            format!("costs {cost}; {}", list.join(", "))
        });
    }
    if let Some((plan, quota)) = bounds.quota {
        trace.note("quota", !by_quota, || match by_quota {
            true => format!("all {quota} of plan `{plan}` are used up"),
            false => format!("counts as 1 of the {quota} of plan `{plan}`"),
        });
    }
}
