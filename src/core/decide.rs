//! One pure function from keyset, request and two clocks to a decision.
//!
//! The order of the checks is the order of [`decide`]'s body; the first failure ends it. Callers
//! that cannot present a key that we issued learn nothing about keys: expired, disabled and revoked
//! are revealed only to a caller that presents the full secret.

use std::net::IpAddr;

use crate::key::{KeyId, Prefix};
use crate::keyset::{Entry, InForce, Lookup};
use crate::limit::bucket::Buckets;
use crate::limit::quota::Tallies;
use crate::policy::{Auth, Mode, RateLimitFields, Route};
use crate::request::certificate::Peer;
use crate::request::glance::Glance;
use crate::request::headers::Headers;

mod both;
mod charge;
mod conditions;
mod denial;
mod identify;
mod prior;
mod routed;
mod rule;
mod trace;

pub use charge::{Applied, Origin, QuotaState, Rate};
pub use denial::{Denial, Unavailable};
pub use prior::{MARK, NOBODY, Prior};
pub use trace::{Note, Trace};

use charge::{charge, unchanged};
use conditions::{certificate, environment, lifecycle, network, origin, scopes};
pub use identify::could_be_ours;
use identify::presented;
use routed::{Routed, routed};

/// A request as the decision sees it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Headers and pseudo-headers.
    pub headers: Headers<'a>,
    /// Where it comes from; read only if [`InForce::addresses`] says so.
    pub address: Option<IpAddr>,
    /// The client certificate of the connection; read only if [`InForce::certificates`] says so.
    pub peer: Peer<'a>,
    /// It came over TLS; read only if the policy requires TLS.
    pub tls: bool,
    /// The virtual host that Envoy chose; read only if a rule of the policy names one.
    pub virtual_host: Option<&'a str>,
}

/// The two clocks, read once per request.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Wall clock, seconds since the epoch: for what expires.
    pub wall: u64,
    /// Monotonic clock, nanoseconds: for buckets.
    pub monotonic: u64,
}

impl Clocks {
    /// A keyset cannot have been signed in the future: a clock that shows an earlier time is
    /// behind, and would revive keys that have expired.
    fn not_before(self, issued_at: u64) -> Self {
        Self {
            wall: self.wall.max(issued_at),
            ..self
        }
    }
}

/// The decision, and what it is based on.
pub struct Decision<'k> {
    /// Let in, or refused.
    pub verdict: Result<(), Denial>,
    /// The key, if one of ours was presented; also on refusals.
    pub entry: Option<Entry<'k>>,
    /// The prefix of its digest, by which a second pass recognises it.
    pub prefix: Option<Prefix>,
    /// Position of the route among the policy's routes.
    pub route: Option<usize>,
    /// The limits that applied, and the result.
    pub rate: Option<Rate<'k>>,
    /// The id that an unknown but well-formed key claims. Not proven.
    pub claimed: Option<KeyId>,
    /// An earlier pass over the same request let it in and counted it.
    pub again: bool,
    /// The route does not check keys.
    pub open: bool,
    /// On such a route: a header of the request asks for a method or a path that another rule
    /// covers.
    pub overridden: bool,
    /// A header of the request names another host, which has another rule.
    pub another_host: bool,
    /// On such a route: what a second pass needs to know about the key that was presented, because
    /// the key is removed there.
    pub unjudged: Option<Prior>,
    /// What the request may contain that has to be removed.
    pub glance: Glance,
    /// Under [`InForce::also`], the route does not check keys.
    pub also_open: bool,
    /// One of two policies required no key, so the upstream is not told of one.
    pub anonymous: bool,
}

impl Default for Decision<'_> {
    fn default() -> Self {
        Self {
            verdict: Ok(()),
            entry: None,
            prefix: None,
            route: None,
            rate: None,
            claimed: None,
            again: false,
            open: false,
            overridden: false,
            another_host: false,
            unjudged: None,
            glance: Glance::default(),
            also_open: false,
            anonymous: false,
        }
    }
}

impl Decision<'_> {
    /// The word for metrics, logs and `explain`: `ok`, or the code of the denial.
    pub fn code(&self) -> &'static str {
        match &self.verdict {
            Ok(()) => "ok",
            Err(denial) => denial.code(),
        }
    }
}

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
            Ok(Some(due)) => due.pay(clocks, buckets, trace, &mut decision),
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

/// What a request has to pay if it is let in.
struct Due<'k> {
    keyset: &'k InForce,
    entry: Entry<'k>,
    route: Option<&'k Route>,
}

impl<'k> Due<'k> {
    fn pay(
        &self,
        clocks: Clocks,
        stock: &mut (impl Buckets + Tallies),
        trace: &mut impl Trace,
        decision: &mut Decision<'k>,
    ) -> Result<(), Denial> {
        if decision.again {
            if self.keyset.policy().rate_limit_fields == RateLimitFields::Always {
                decision.rate = unchanged(self, clocks, stock);
            }
            return Ok(());
        }
        charge(self, clocks, stock, trace, decision)
    }
}

/// Whether a request is let in, apart from what it has to pay.
fn judge<'k>(
    keyset: Result<&'k InForce, Unavailable>,
    request: &Request<'_>,
    clocks: Clocks,
    prior: impl FnOnce() -> Option<Prior>,
    trace: &mut impl Trace,
    decision: &mut Decision<'k>,
) -> Result<Option<Due<'k>>, Denial> {
    let keyset = in_force(keyset, clocks, trace)?;
    let policy = keyset.policy();
    let headers = request.headers;

    let Some(Routed { route, auth, alone }) = routed(keyset, request, trace, decision)? else {
        return Ok(None);
    };
    if policy.require_tls && !request.tls {
        trace.note("tls", false, || {
            "plain HTTP, and the policy requires TLS".to_owned()
        });
        return Err(Denial::TlsRequired);
    }
    let Some(entry) = presented(keyset, (auth, alone), headers, prior, trace, decision)? else {
        return Ok(None);
    };
    decision.entry = Some(entry);
    lifecycle(&entry, clocks.wall, trace)?;
    environment(keyset, &entry, trace)?;
    network(&entry, request.address, trace)?;
    certificate(&entry, request.peer, trace)?;
    origin(&entry, headers, trace)?;
    if let Some(route) = route {
        scopes(keyset, &entry, route, trace)?;
    }
    Ok(Some(Due {
        keyset,
        entry,
        route,
    }))
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

#[inline]
fn in_force<'k>(
    keyset: Result<&'k InForce, Unavailable>,
    clocks: Clocks,
    trace: &mut impl Trace,
) -> Result<&'k InForce, Denial> {
    let keyset = keyset.map_err(|why| {
        trace.note("keyset", false, || "none is in force".to_owned());
        Denial::KeysetUnavailable(why)
    })?;
    if keyset.not_after().is_some_and(|end| clocks.wall >= end) {
        trace.note("keyset", false, || {
            format!("version {} has expired (`not_after`)", keyset.version())
        });
        return Err(Denial::KeysetUnavailable(Unavailable::Stale));
    }
    trace.note("keyset", true, || {
        let shadow = match keyset.policy().mode {
            Mode::Shadow => ", in shadow mode: the request passes in any case",
            Mode::Enforce => "",
        };
        format!("version {}{shadow}", keyset.version())
    });
    Ok(keyset)
}

fn name_of(names: &[String], number: usize) -> &str {
    names.get(number).map_or("", String::as_str)
}

fn auth_word(auth: Auth) -> &'static str {
    match auth {
        Auth::Required => "required",
        Auth::Optional => "optional",
        Auth::None => "none",
    }
}

#[cfg(test)]
mod tests;
