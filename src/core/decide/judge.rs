//! Whether a request is let in, apart from what it has to pay.

use super::conditions::{certificate, environment, lifecycle, network, origin, scopes};
use super::decision::Decision;
use super::denial::{Denial, Unavailable};
use super::due::Due;
use super::identify::presented;
use super::prior::Prior;
use super::request::{Clocks, Request};
use super::routed::{Routed, routed};
use super::trace::Trace;
use crate::keyset::InForce;
use crate::policy::Mode;

/// What it has to pay; nothing where no key is asked for.
pub(super) fn judge<'k>(
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
        // For logs and counts: whoever reads the network has this key now. The answer is the same
        // with any key and without one.
        let exposed = presented(keyset, (auth, alone), headers, prior, &mut (), decision);
        decision.entry = exposed.unwrap_or_default();
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
        scopes(keyset, &entry, route, trace)
            .inspect_err(|_| decision.short_of_scope = Some((keyset, route)))?;
    }
    Ok(Some(Due {
        keyset,
        entry,
        route,
    }))
}

#[inline]
pub(super) fn in_force<'k>(
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
