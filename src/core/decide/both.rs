//! Two policies that must both let a request in: that of an older keyset with which a listener was
//! added, and the newest.
//!
//! Both judge the same request with the same key. A request that both let in pays what either
//! charges, from all buckets and quotas or from none.

use super::charge::{self, Taking, note, outcome, take};
use super::decision::Decision;
use super::denial::Denial;
use super::due::{Bounds, Due};
use super::judge::judge;
use super::prior::Prior;
use super::request::{Clocks, Request};
use super::trace::Trace;
use crate::keyset::InForce;
use crate::limit::bucket::{Buckets, Charge, TakeOutcome};
use crate::limit::quota::{Draw, Joint, NotDrawn, Tallies};

#[cold]
#[inline(never)]
pub(super) fn decide<'k>(
    (own, also): (&'k InForce, &'k InForce),
    request: &Request<'_>,
    clocks: Clocks,
    prior: Option<Prior>,
    stock: &mut (impl Buckets + Tallies),
    trace: &mut impl Trace,
    decision: &mut Decision<'k>,
) -> Result<(), Denial> {
    let mine = judge(Ok(own), request, clocks, || prior, trace, decision)?;
    let mut other = Decision::default();
    let theirs = judge(Ok(also), request, clocks, || prior, &mut (), &mut other);
    join(decision, &other);
    let denied = match theirs {
        Err(denial) => Some(denial),
        // Each policy says where it reads the key.
        Ok(_) if differ(decision, &other) => Some(Denial::MultipleKeys),
        Ok(_) => None,
    };
    if let Some(denial) = denied {
        trace.note("keyset", false, || {
            "refused by the newest policy; this listener still has an older one".to_owned()
        });
        return Err(denial);
    }
    match (mine, theirs?) {
        // An earlier pass has already charged what either asks for.
        (Some(due), Some(also)) if !decision.again => {
            pay(&[due, also], clocks, stock, trace, decision)
        }
        (Some(due), _) | (None, Some(due)) => charge::pay(&due, clocks, stock, trace, decision),
        (None, None) => Ok(()),
    }
}

fn differ(decision: &Decision<'_>, other: &Decision<'_>) -> bool {
    matches!((decision.prefix, other.prefix), (Some(a), Some(b)) if a != b)
}

/// Adds what the other policy found: what either removes from the request is removed, and what only
/// one of them would tell the upstream is not told.
fn join<'k>(decision: &mut Decision<'k>, other: &Decision<'k>) {
    decision.another_host |= other.another_host;
    decision.overridden |= other.overridden || !other.open;
    decision.also_open = other.open;
    decision.anonymous = decision.entry.is_none() || other.entry.is_none();
    if let (Some(prefix), None) = (decision.prefix, other.entry) {
        // The other policy has charged nothing: a later pass has to ask it again.
        decision.unjudged = Some(Prior::Presented(prefix));
    }
    // Logs and counts name the caller in any case.
    decision.entry = decision.entry.or(other.entry);
    decision.prefix = decision.prefix.or(other.prefix);
    decision.claimed = decision.claimed.or(other.claimed);
    decision.short_of_scope = other.short_of_scope;
}

/// The positions of the policy and of the limit that a charge belongs to.
type Whose = (usize, usize);

fn pay<'k>(
    dues: &[Due<'k>; 2],
    clocks: Clocks,
    stock: &mut (impl Buckets + Tallies),
    trace: &mut impl Trace,
    decision: &mut Decision<'k>,
) -> Result<(), Denial> {
    let [mine, theirs] = dues;
    let bounds = [Bounds::from_due(mine), Bounds::from_due(theirs)];
    let [my_bounds, their_bounds] = &bounds;
    let draws = [
        my_bounds.draw(mine, clocks),
        their_bounds.draw(theirs, clocks),
    ];
    let (charges, whose) = charges(dues, &bounds);
    if charges.is_empty() && draws.iter().all(Option::is_none) {
        trace.note("limit", true, || "none applies".to_owned());
        return Ok(());
    }
    let known: Result<Vec<Draw>, NotDrawn> = draws.iter().flatten().copied().collect();
    let joint = known.map(Joint::new).transpose();
    let taking = take(stock, &charges, joint, clocks);
    let (side, taking) = told(taking, &whose, &draws);
    let [my_draw, their_draw] = draws;
    let (told, draw) = match side {
        0 => (my_bounds, my_draw),
        _ => (their_bounds, their_draw),
    };
    let (rate, verdict) = outcome(told, draw, taking, clocks);
    for (due, bounds) in dues.iter().zip(&bounds) {
        note(bounds, due.cost(), &verdict, trace);
    }
    decision.rate = Some(rate);
    verdict
}

/// All charges, each bucket once: policies may have limits in common.
fn charges(dues: &[Due<'_>; 2], bounds: &[Bounds<'_>; 2]) -> (Vec<Charge>, Vec<Whose>) {
    let (mut charges, mut whose): (Vec<Charge>, Vec<Whose>) = Default::default();
    for (side, (due, bounds)) in dues.iter().zip(bounds).enumerate() {
        for (at, charge) in bounds.charges(due).enumerate() {
            let mut all = charges.iter_mut();
            match all.find(|c| c.key == charge.key && c.bucket == charge.bucket) {
                Some(same) => same.cost = same.cost.max(charge.cost),
                None => {
                    charges.push(charge);
                    whose.push((side, at));
                }
            }
        }
    }
    (charges, whose)
}

/// Which policy's limits are reported: those of the one that refuses, or that has the least left.
fn told(
    taking: Taking<Vec<(u64, crate::limit::quota::Drawn)>>,
    whose: &[Whose],
    draws: &[Option<Result<Draw, NotDrawn>>; 2],
) -> (usize, Taking) {
    let whose = |at: usize| whose.get(at).copied().unwrap_or_default();
    let draw = |side: usize| draws.get(side)?.as_ref()?.as_ref().ok();
    match taking {
        Taking::NoTokens(outcome) => {
            let (side, outcome) = placed(outcome, whose);
            (side, Taking::NoTokens(outcome))
        }
        Taking::NoQuota(why) => {
            let is_it = |side: &usize| match (why, draw(*side)) {
                (NotDrawn::UsedUp(end), Some(draw)) => draw.window.end == end,
                (NotDrawn::Contended, _) => draws.get(*side).is_some_and(Option::is_some),
                _ => false,
            };
            let side = [1, 0].into_iter().find(is_it).unwrap_or(0);
            (side, Taking::NoQuota(why))
        }
        Taking::Taken(outcome, drawn) => {
            let left = |side: usize| {
                let (drawn, draw) = (drawn.as_ref()?, draw(side)?);
                drawn.iter().find(|(rule, _)| *rule == draw.rule)
            };
            let left = |side: usize| left(side).map(|(_, drawn)| *drawn);
            let least = |side: &usize| left(*side).map_or(u64::MAX, |drawn| drawn.remaining);
            let (side, outcome) = match outcome.map(|outcome| placed(outcome, whose)) {
                Some((side, outcome)) => (side, Some(outcome)),
                None => ([1, 0].into_iter().min_by_key(least).unwrap_or(0), None),
            };
            (side, Taking::Taken(outcome, left(side)))
        }
    }
}

/// The policy that an outcome is about, and the same outcome by the position of that policy's
/// limit.
#[inline]
fn placed(outcome: TakeOutcome, whose: impl Fn(usize) -> Whose) -> (usize, TakeOutcome) {
    match outcome {
        TakeOutcome::Taken { tightest, state } => {
            let (side, tightest) = whose(tightest);
            (side, TakeOutcome::Taken { tightest, state })
        }
        TakeOutcome::Refused { by, refused } => {
            let (side, by) = whose(by);
            (side, TakeOutcome::Refused { by, refused })
        }
        TakeOutcome::Contended { by } => {
            let (side, by) = whose(by);
            (side, TakeOutcome::Contended { by })
        }
    }
}
