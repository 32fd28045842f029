//! Where a request goes: the rule of the policy that it falls under.

use super::decision::Decision;
use super::denial::Denial;
use super::identify::unjudged;
use super::request::Request;
use super::rule::{self, Call};
use super::trace::Trace;
use super::words::auth_word;
use crate::keyset::InForce;
use crate::policy::{Auth, Policy, Preflight, Route, Unmatched};
use crate::request::credential::KeyHeaders;
use crate::request::glance::Glance;

/// A request that is asked for a key.
pub(super) struct Routed<'k, 'r> {
    pub route: Option<&'k Route>,
    pub auth: Auth,
    /// The key, if it stands alone in the one header that holds any.
    pub alone: Option<&'r [u8]>,
}

struct Read<'r> {
    call: Call<'r>,
    glance: Glance,
    alone: Option<&'r [u8]>,
    is_preflight: bool,
}

/// The route of a request, and whether a key is asked for; nothing where the request passes
/// without being asked for one.
pub(super) fn routed<'k, 'r>(
    keyset: &'k InForce,
    request: &Request<'r>,
    trace: &mut impl Trace,
    decision: &mut Decision<'k>,
) -> Result<Option<Routed<'k, 'r>>, Denial> {
    let policy = keyset.policy();
    let headers = request.headers;
    let Read {
        call,
        glance,
        alone,
        is_preflight,
    } = read(policy, request);
    decision.glance = glance;
    decision.route = rule::find(policy, &call, trace)?;
    decision.another_host =
        glance.hosts && rule::names_another_host(policy, &call, decision.route, headers);
    let route = decision.route.and_then(|i| policy.routes.get(i));
    if is_preflight && policy.preflight == Preflight::Allow {
        trace.note("preflight", true, || {
            "a CORS preflight, which the policy allows".to_owned()
        });
        return Ok(None);
    }
    let auth = match (route, policy.unmatched) {
        (Some(route), _) => route.auth,
        (None, Unmatched::Authenticated) => Auth::Required,
        (None, Unmatched::Deny) => {
            trace.note("route", false, || {
                "no route matches, and `unmatched` is `deny`".to_owned()
            });
            return Err(Denial::RouteDenied);
        }
    };
    trace.note("route", true, || match route {
        Some(r) => format!("`{}` matches, auth {}", r.path, auth_word(auth)),
        None => "no route matches, and `unmatched` is `authenticated`".to_owned(),
    });
    if auth == Auth::None {
        decision.open = true;
        decision.overridden =
            glance.overrides && rule::is_overridden(policy, &call, decision.route, headers);
        decision.unjudged = unjudged(keyset, glance, headers);
        return Ok(None);
    }
    Ok(Some(Routed { route, auth, alone }))
}

/// One look at the headers: what they say of where the request goes, what there may be to take
/// out, and whether it is a CORS preflight.
fn read<'r>(policy: &Policy, request: &Request<'r>) -> Read<'r> {
    let mut call = Call {
        virtual_host: request.virtual_host,
        ..Call::default()
    };
    let (mut has_origin, mut asks_for_method) = (false, false);
    let mut glance = Glance::NOTHING;
    let mut held = KeyHeaders::default();
    for (name, value) in request.headers.iter() {
        if glance.see(policy, name, value) {
            held.add(name, value);
        }
        match name {
            b":method" => call.add_method(value),
            b":path" => call.add_target(value),
            b":authority" | b"host" => call.add_authority(value),
            b"origin" => has_origin = true,
            b"access-control-request-method" => asks_for_method = true,
            _ => {}
        }
    }
    let is_preflight = asks_for_method && has_origin && call.method == b"OPTIONS";
    let alone = held.alone(policy, glance);
    glance.alone = alone.is_some();
    Read {
        call,
        glance,
        alone,
        is_preflight,
    }
}
