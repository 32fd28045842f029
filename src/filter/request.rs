//! One request: header bytes, decision, and what the decision does to the request.

use super::attempts::SharedAttempts;
use super::buckets::SharedBuckets;
use super::host::{self, Level};
use super::names::{STATE_CLIENT, STATE_KEY, STATE_LIMIT, STATE_REASON, STATE_ROUTE};
use super::peer::{PresentedCertificate, source_address};
use super::{clock, marks, metrics, standing, usage, vm};
use keystile_core::decide::{Decision, Denial, Request, Unavailable, decide, slow_down};
use keystile_core::key::Prefix;
use keystile_core::keyset::{InForce, StoreId};
use keystile_core::outcome::{self, ANONYMOUS, RefusedCaller};
use keystile_core::policy::{Mode, RateLimitFields};
use keystile_core::reply::{AnsweredRequest, Protocol, is_grpc, rate_fields, reply};
use keystile_core::request::credential::{Edit, FewEdits, Seen, strip_trailers};
use keystile_core::request::glance::Glance;
use keystile_core::request::headers::Headers;

/// What to do to the response of a request.
pub enum Later {
    /// `RateLimit` fields are to be added.
    Fields([(&'static str, String); 2]),
    /// Our answer has this status, but Envoy will have turned it into a gRPC answer.
    Status(u16),
}

/// What happens to a request.
#[derive(Default)]
pub struct RequestOutcome {
    /// It is passed to the upstream; otherwise it has been answered.
    pub goes_on: bool,
    /// For the response.
    pub later: Option<Later>,
    /// The key of a tunnel that was let in.
    pub tunnel: Option<Prefix>,
}

/// Decides about the request whose headers have arrived, by what its root decides by, and carries
/// out the decision.
pub fn headers(root: Option<(u32, StoreId)>) -> RequestOutcome {
    standing::decides();
    let keyset = match root {
        Some((root, store)) => vm::in_force(root, store),
        None => Err(Unavailable::None),
    };
    let bytes = match host::request_headers() {
        Ok(bytes) => bytes,
        Err(status) => {
            complain("no request headers", status);
            let denial = Denial::KeysetUnavailable(Unavailable::None);
            return refuse(&denial, None, None, None);
        }
    };
    let headers = Headers::new(&bytes);
    decided(root, keyset.as_deref().map_err(|why| *why), headers)
}

/// Removes from the trailers what would not have been allowed in the headers. `false` if that
/// fails: the request is answered, or reset.
pub fn trailers() -> bool {
    // It is not known here which request the trailers belong to, but no legitimate request has any
    // of these.
    let stripped = host::request_trailers().and_then(|bytes| {
        let mut all_known = true;
        vm::each(|_, held| {
            all_known &= held.in_force().is_some();
            for policy in held.policies() {
                let mut edits = FewEdits::default();
                strip_trailers(policy, Headers::new(&bytes), &mut edits);
                let mut removed = edits.iter().map(Edit::name);
                all_known &= removed.all(|name| host::remove_request_trailer(name).is_ok());
            }
        });
        all_known.then_some(()).ok_or(host::Status::NOT_FOUND)
    });
    if stripped.is_err() {
        let denial = Denial::KeysetUnavailable(Unavailable::None);
        refuse(&denial, None, None, None);
    }
    stripped.is_ok()
}

/// Does to the response whose headers have arrived what its request asked for.
pub fn finish_response(later: &Later) {
    match later {
        Later::Fields(fields) => {
            for (name, value) in fields {
                let _ = host::set_response_header(name, value.as_bytes());
            }
        }
        Later::Status(status) => {
            let headers = host::response_headers().unwrap_or_default();
            let content_type = Headers::new(&headers).get("content-type");
            if !content_type.is_some_and(is_grpc) {
                return;
            }
            // Envoy has left out the body: the status and the other fields have to suffice.
            for name in ["content-type", "grpc-status", "grpc-message"] {
                let _ = host::remove_response_header(name);
            }
            let _ = host::set_response_header(":status", status.to_string().as_bytes());
        }
    }
}

/// The name of the virtual host that Envoy chose, if the policy asks for it.
fn virtual_host(keyset: Option<&InForce>) -> Option<String> {
    keyset.filter(|k| k.policies().any(|p| p.router.names_virtual_hosts()))?;
    let name = host::property("xds\0virtual_host_name")?;
    String::from_utf8(name).ok()
}

/// A header that was to be changed could not be.
fn unchanged(status: host::Status, keyset: &InForce, headers: Headers<'_>) -> RequestOutcome {
    complain("a header could not be changed", status);
    let unavailable = Denial::KeysetUnavailable(Unavailable::None);
    refuse(&unavailable, Some(keyset), None, Some(headers))
}

fn decided(
    root: Option<(u32, StoreId)>,
    in_force: Result<&InForce, Unavailable>,
    headers: Headers<'_>,
) -> RequestOutcome {
    let (root, store) = root.unzip();
    let keyset = in_force.ok();
    let certificate = PresentedCertificate::read(keyset);
    let virtual_host = virtual_host(keyset);
    let request = Request {
        headers,
        address: keyset
            .filter(|k| k.addresses())
            .and_then(|_| source_address()),
        peer: certificate
            .as_ref()
            .map(PresentedCertificate::peer)
            .unwrap_or_default(),
        tls: keyset.is_some_and(|k| k.policies().any(|p| p.require_tls)) && is_tls(),
        virtual_host: virtual_host.as_deref(),
    };
    let clocks = clock::now();
    let corrupt_before = keyset.map_or(0, InForce::corrupt_pages);
    let mut decision = decide(
        in_force,
        &request,
        clocks,
        || marks::earlier(store?, keyset?.policy_id()),
        &mut SharedBuckets,
        &mut (),
    );
    let address = || request.address.or_else(source_address);
    let table = &mut SharedAttempts;
    slow_down(keyset, &mut decision, address, clocks.monotonic, table);
    metrics::request(decision.code());
    if let Some(store) = store {
        usage::count(
            store,
            keyset,
            &decision,
            headers,
            request.address,
            clocks.wall,
        );
    }
    let corrupt = keyset.map_or(0, InForce::corrupt_pages);
    metrics::corrupt_pages(corrupt.saturating_sub(corrupt_before));

    let shadow = keyset.is_some_and(|k| k.policy().mode == Mode::Shadow);
    let id = decision.entry.as_ref().map(|entry| entry.id.digits());
    remember(&decision, id.as_ref());
    if let Err(denial) = &decision.verdict {
        remember_refusal(keyset, &decision, denial, shadow);
        if !shadow {
            return refuse(denial, keyset, Some(&decision), Some(headers));
        }
        metrics::shadow_refusal(denial.code());
    }
    let Some(keyset) = keyset else {
        let unavailable = Denial::KeysetUnavailable(Unavailable::None);
        return refuse(&unavailable, None, None, Some(headers));
    };
    // A request that still holds its key, or a claimed identity, is not passed on.
    let seen = match admit(root, keyset, &decision, headers) {
        Ok(seen) => seen,
        Err(status) => return unchanged(status, keyset, headers),
    };
    let always = keyset.policy().rate_limit_fields == RateLimitFields::Always && !shadow;
    let rate = decision.rate.as_ref().filter(|_| always);
    let let_in = decision.prefix.filter(|_| decision.verdict.is_ok());
    RequestOutcome {
        goes_on: true,
        later: rate.map(|rate| Later::Fields(rate_fields(rate))),
        tunnel: let_in.filter(|_| seen.tunnel && !shadow),
    }
}

/// Removes the key, adds the identity, and leaves the mark that the guard asks for.
fn admit(
    root: Option<u32>,
    keyset: &InForce,
    decision: &Decision<'_>,
    headers: Headers<'_>,
) -> Result<Seen, host::Status> {
    let mut edits = FewEdits::default();
    let seen = outcome::take_out(keyset, decision, headers, &mut edits);
    apply(&edits)?;
    if let Some(other) = keyset.other() {
        take_out_others(other, decision)?;
    }
    let whose = (keyset.store(), keyset.policy_id());
    let mark = |client: &[u8]| marks::admitted(root, whose, client, decision).map(|()| seen);
    let Some(entry) = outcome::caller(decision) else {
        return mark(ANONYMOUS);
    };
    outcome::identity(keyset, entry, host::add_request_header)?;
    mark(entry.client.as_bytes())
}

/// Removes what a second policy requires, from what is left, because both may change the same
/// header.
#[cold]
#[inline(never)]
fn take_out_others(other: &InForce, decision: &Decision<'_>) -> Result<(), host::Status> {
    let bytes = host::request_headers()?;
    let mut edits = FewEdits::default();
    outcome::take_out_others(other, decision, Headers::new(&bytes), &mut edits);
    apply(&edits)
}

/// Information for logs. None of it opens anything, so a failure to write it refuses nothing.
fn remember(decision: &Decision<'_>, id: Option<&[u8; 10]>) {
    if let Some(id) = id {
        let _ = host::set_property(STATE_KEY, id);
    } else if let Some(id) = &decision.claimed {
        let _ = host::set_property(STATE_KEY, &outcome::unverified(*id));
    }
}

/// The same of a request that is refused, or would be. In shadow mode it goes on, and the client is
/// set as that of any request that does.
#[inline(never)]
fn remember_refusal(
    keyset: Option<&InForce>,
    decision: &Decision<'_>,
    denial: &Denial,
    shadow: bool,
) {
    let _ = host::set_property(STATE_REASON, denial.code().as_bytes());
    let Some(caller) = RefusedCaller::from_decision(keyset, decision) else {
        return;
    };
    if !shadow {
        let _ = host::set_property(STATE_CLIENT, caller.client.as_bytes());
    }
    if let Some(route) = caller.route {
        let _ = host::set_property(STATE_ROUTE, route.as_bytes());
    }
    if let Some(limit) = caller.limit {
        let _ = host::set_property(STATE_LIMIT, limit.as_bytes());
    }
}

fn apply(edits: &FewEdits<'_>) -> Result<(), host::Status> {
    edits.iter().try_for_each(|edit| match edit {
        Edit::Remove(name) => host::remove_request_header(name),
        Edit::Set(name, value) => host::set_request_header(name, value),
    })
}

#[cold]
#[inline(never)]
fn complain(what: &str, status: host::Status) {
    host::log(
        Level::Warn,
        &format!("keystile: {what}: status {}", status.0),
    );
}

#[inline(never)]
fn refuse(
    denial: &Denial,
    keyset: Option<&InForce>,
    decision: Option<&Decision<'_>>,
    headers: Option<Headers<'_>>,
) -> RequestOutcome {
    if let (Some(keyset), Some(headers)) = (keyset, headers) {
        let glance = decision.map_or_else(Glance::default, |d| d.glance);
        take_out_of_query(keyset, glance, headers);
        if let Some(other) = keyset.other()
            && let Ok(bytes) = host::request_headers()
        {
            take_out_of_query(other, Glance::default(), Headers::new(&bytes));
        }
    }
    let policy = keyset.map(InForce::policy);
    let to = headers.map_or_else(answered_request, AnsweredRequest::from_headers);
    let answer = reply(denial, &to, policy, decision);
    if let Err(status) = host::send_reply(&answer) {
        complain("a refusal could not be sent", status);
    }
    RequestOutcome {
        later: (to.protocol == Protocol::Disguised).then_some(Later::Status(answer.status)),
        ..RequestOutcome::default()
    }
}

/// A request whose headers cannot be read any more, of which Envoy still knows the id.
pub fn answered_request() -> AnsweredRequest {
    AnsweredRequest::from_id(host::property("request\0id").as_deref())
}

/// Access logs print the path of refused requests as well.
fn take_out_of_query(keyset: &InForce, glance: Glance, headers: Headers<'_>) {
    let mut edits = FewEdits::default();
    outcome::take_out_of_query(keyset, glance, headers, &mut edits);
    let _ = apply(&edits);
}

/// Whether the connection itself is encrypted. The scheme would be the caller's claim.
fn is_tls() -> bool {
    host::property("connection\0tls_version").is_some_and(|v| !v.is_empty())
}
