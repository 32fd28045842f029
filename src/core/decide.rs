//! One pure function from keyset, request and two clocks to a decision.
//!
//! The order of the checks is the order of [`decide`]'s body; the first failure ends it. Callers
//! that cannot present a key that we issued learn nothing about keys: expired, disabled and revoked
//! are revealed only to a caller that presents the full secret.

use crate::key::Prefix;
use crate::keyset::{InForce, Lookup};
use crate::limit::bucket::Buckets;
use crate::limit::quota::Tallies;

mod attempts;
mod both;
mod charge;
mod conditions;
mod decision;
mod denial;
mod due;
mod identify;
mod judge;
mod lacking;
mod prior;
mod rate;
mod request;
mod routed;
mod rule;
mod trace;
mod words;

pub use attempts::slow_down;
pub use decision::Decision;
pub use denial::{Denial, Unavailable};
pub use lacking::Lacking;
pub use prior::{MARK, NOBODY, Prior};
pub use rate::{AppliedLimit, LimitOrigin, QuotaState, Rate};
pub use request::{Clocks, Request};
pub use trace::{Note, Trace};

use charge::pay;
use conditions::lifecycle;
pub use identify::could_be_ours;
use judge::{in_force, judge};

/// Decides about a request by what is in force, or refuses it for the reason why nothing is.
///
/// `prior` is called only if the request itself is not enough: it holds no key, or the policy
/// leaves keys in place. A request that was let in before is checked again for the new route, but
/// not charged again.
pub fn decide<'k>(
    keyset: Result<&'k InForce, Unavailable>,
    request: &Request<'_>,
    clocks: Clocks,
    prior: impl FnOnce() -> Option<Prior>,
    buckets: &mut (impl Buckets + Tallies),
    trace: &mut impl Trace,
) -> Decision<'k> {
    let mut decision = Decision::default();
    let clocks = clocks.not_before(keyset.map_or(0, InForce::issued_at));
    let also = keyset.ok().and_then(|own| Some((own, own.also()?)));
    decision.verdict = match also {
        None => match judge(keyset, request, clocks, prior, trace, &mut decision) {
            Ok(Some(due)) => pay(&due, clocks, buckets, trace, &mut decision),
            Ok(None) => Ok(()),
            Err(denial) => Err(denial),
        },
        Some(policies) => {
            let prior = prior();
            both::decide(
                policies,
                request,
                clocks,
                prior,
                buckets,
                trace,
                &mut decision,
            )
        }
    };
    decision
}

/// Whether a key with a long-lived request would still be let in. Gives the wall-clock second at
/// which to check again, unless something is pushed before.
///
/// It checks whether the keyset is still accepted and knows the key, and whether the key is
/// revoked, disabled, expired or past its overlap. It does not repeat the checks of the request
/// (route, scopes, environment, TLS, networks, certificate and origin), because the request is
/// gone: changes to these count from the next request on. Nor does it charge anything.
///
/// # Errors
/// [`Denial`], as a new request would meet it.
pub fn still_good(
    keyset: Result<&InForce, Unavailable>,
    key: &Prefix,
    clocks: Clocks,
) -> Result<Option<u64>, Denial> {
    let clocks = clocks.not_before(keyset.map_or(0, InForce::issued_at));
    let keyset = in_force(keyset, clocks, &mut ())?;
    match keyset.lookup(key) {
        Lookup::Found(entry) => {
            lifecycle(&entry, clocks.wall, &mut ())?;
            let ends = [entry.expires, entry.overlap_end, keyset.not_after()];
            Ok(ends.into_iter().flatten().min())
        }
        Lookup::Unknown => Err(Denial::UnknownKey),
        Lookup::Corrupt => Err(Denial::KeysetUnavailable(Unavailable::CorruptPage)),
    }
}

#[cfg(test)]
mod tests;
