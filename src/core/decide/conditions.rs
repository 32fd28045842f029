//! What a key asks of the request that presents it: when, from where, with which certificate and
//! origin, and for what.

use std::net::IpAddr;

use super::denial::Denial;
use super::trace::Trace;
use super::words::name_of;
use crate::keyset::{Entry, InForce};
use crate::policy::Route;
use crate::request::certificate::{Peer, Stranger};
use crate::request::headers::Headers;

pub(super) fn lifecycle(entry: &Entry<'_>, now: u64, trace: &mut impl Trace) -> Result<(), Denial> {
    let denial = if entry.revoked {
        Some((Denial::RevokedKey, "revoked"))
    } else if entry.disabled {
        Some((Denial::DisabledKey, "disabled"))
    } else if entry.expires.is_some_and(|end| now >= end) {
        Some((Denial::ExpiredKey { rotated: false }, "expired"))
    } else if entry.overlap_end.is_some_and(|end| now >= end) {
        Some((
            Denial::ExpiredKey { rotated: true },
            "rotated, and the grace period is over",
        ))
    } else if now < entry.not_before {
        Some((Denial::InactiveKey, "not valid yet"))
    } else {
        None
    };
    match denial {
        Some((denial, why)) => {
            trace.note("status", false, || why.to_owned());
            Err(denial)
        }
        None => {
            trace.note("status", true, || match entry.overlap_end {
                Some(_) => "active, in the grace period after a rotation".to_owned(),
                None => "active".to_owned(),
            });
            Ok(())
        }
    }
}

pub(super) fn environment(
    keyset: &InForce,
    entry: &Entry<'_>,
    trace: &mut impl Trace,
) -> Result<(), Denial> {
    let policy = keyset.policy();
    let environment = name_of(keyset.environments(), usize::from(entry.environment));
    if !policy
        .environments
        .iter()
        .any(|e| e.as_str() == environment)
    {
        trace.note("environment", false, || {
            format!("`{environment}` is not accepted here")
        });
        return Err(Denial::EnvironmentDenied);
    }
    trace.note("environment", true, || {
        format!("`{environment}` is accepted here")
    });
    Ok(())
}

pub(super) fn network(
    entry: &Entry<'_>,
    address: Option<IpAddr>,
    trace: &mut impl Trace,
) -> Result<(), Denial> {
    if !entry.has_networks() {
        return Ok(());
    }
    let shown = || address.map_or("an unknown address".to_owned(), |a| a.to_string());
    // An unknown address is in no range.
    if address.is_some_and(|a| entry.admits(a)) {
        trace.note("address", true, || format!("{} is allowed", shown()));
        return Ok(());
    }
    trace.note("address", false, || format!("{} is not allowed", shown()));
    Err(Denial::AddressDenied)
}

pub(super) fn certificate(
    entry: &Entry<'_>,
    peer: Peer<'_>,
    trace: &mut impl Trace,
) -> Result<(), Denial> {
    if !entry.has_certificates() {
        return Ok(());
    }
    let found = peer.is_one_of(entry.certificates());
    trace.note("certificate", found.is_ok(), || match found {
        Ok(()) => "the key is bound to it".to_owned(),
        Err(Stranger::Anonymous) => {
            "the connection has no client certificate, but the key is bound to one".to_owned()
        }
        Err(Stranger::Unproven) => "not known to be validated, so it does not count".to_owned(),
        Err(Stranger::Other) => "the key is not bound to it".to_owned(),
    });
    found.map_err(Denial::CertificateDenied)
}

pub(super) fn origin(
    entry: &Entry<'_>,
    headers: Headers<'_>,
    trace: &mut impl Trace,
) -> Result<(), Denial> {
    if !entry.has_origins() && !entry.publishable {
        return Ok(());
    }
    // A publishable key without origins is open to none: issuing requires some, but that is not
    // relied on here. If there are several `Origin` fields, which no browser sends, all of them
    // must be the key's own.
    let mut count = 0;
    let mut stranger = None;
    for (_, o) in headers.iter().filter(|(n, _)| *n == b"origin") {
        count += 1;
        if !entry.origins().any(|mine| is_same_origin(mine, o)) {
            stranger = Some(o);
        }
    }
    let held = count > 0 && stranger.is_none();
    trace.note("origin", held, || match stranger {
        Some(o) => format!("{} is not allowed", String::from_utf8_lossy(o)),
        None if held => "allowed".to_owned(),
        None => "the request has no `Origin`, but the key is bound to origins".to_owned(),
    });
    if held {
        Ok(())
    } else {
        Err(Denial::OriginDenied)
    }
}

/// Whether two texts name the same origin, ignoring case and the default port, which browsers leave
/// out.
#[inline]
fn is_same_origin(a: &[u8], b: &[u8]) -> bool {
    fn short(origin: &[u8]) -> &[u8] {
        for (scheme, port) in [("https://", ":443"), ("http://", ":80")] {
            let head = origin.get(..scheme.len()).unwrap_or_default();
            if head.eq_ignore_ascii_case(scheme.as_bytes()) {
                return origin.strip_suffix(port.as_bytes()).unwrap_or(origin);
            }
        }
        origin
    }
    short(a).eq_ignore_ascii_case(short(b))
}

pub(super) fn scopes(
    keyset: &InForce,
    entry: &Entry<'_>,
    route: &Route,
    trace: &mut impl Trace,
) -> Result<(), Denial> {
    let policy = keyset.policy();
    let quoted = |n: &u16| format!("`{}`", name_of(&policy.scopes, usize::from(*n)));
    let leaves = |scope: u16| policy.leaves(entry.publishable, scope);
    let holds = |scope: u16| keyset.holds(entry, scope) && leaves(scope);
    if let Some(missing) = route.scopes.iter().find(|s| !holds(**s)) {
        trace.note("scope", false, || match leaves(*missing) {
            true => format!("lacks {}", quoted(missing)),
            false => format!(
                "lacks {}, which `publishable.scopes` of the policy does not allow for publishable keys",
                quoted(missing)
            ),
        });
        return Err(Denial::InsufficientScope);
    }
    if !route.any_scope.is_empty() && !route.any_scope.iter().any(|s| holds(*s)) {
        trace.note("scope", false, || {
            let list: Vec<_> = route.any_scope.iter().map(quoted).collect();
            format!("has none of {}", list.join(", "))
        });
        return Err(Denial::InsufficientScope);
    }
    trace.note("scope", true, || {
        let list: Vec<_> = route
            .scopes
            .iter()
            .chain(&route.any_scope)
            .map(quoted)
            .collect();
        match list.is_empty() {
            true => "the route requires none".to_owned(),
            false => format!("has what the route requires: {}", list.join(", ")),
        }
    });
    Ok(())
}
