//! One request: header bytes, decision, and what the decision does to the request.

use std::cell::Cell;
use std::net::IpAddr;

use super::buckets::SharedBuckets;
use super::host::{self, Level};
use super::peer::Shown;
use super::{STATE_CLIENT, STATE_ENTRY, STATE_KEY, STATE_REASON, clock, metrics, usage, vm};
use crate::credential::{Edit, strip, strip_identity, strip_query};
use crate::decide::{Decision, Denial, Prior, Request, Unavailable, decide};
use crate::headers::Headers;
use crate::keyset::{InForce, StoreId};
use crate::policy::{Mode, RateLimitFields};
use crate::reply::{rate_fields, reply};

/// Filter state of requests that are let in without a key; the guard asks for something
/// that is not empty.
const ANONYMOUS: &[u8] = b"-";

thread_local! {
    /// Whether this VM has seen a request twice.
    static REDIRECTS: Cell<bool> = const { Cell::new(false) };
}

/// `RateLimit` fields for a response.
pub type Fields = [(&'static str, String); 2];

/// What becomes of a request.
pub struct Outcome {
    /// On to the upstream; otherwise it is answered already.
    pub goes_on: bool,
    /// For the response, where the policy wants them there.
    pub fields: Option<Fields>,
}

impl Outcome {
    const REFUSED: Self = Self {
        goes_on: false,
        fields: None,
    };
}

/// Decides about the request whose headers have come, by what its root decides by, and
/// does to it what was decided.
pub fn headers(root: Option<(u32, StoreId)>) -> Outcome {
    let keyset = match root {
        Some((root, store)) => vm::in_force(root, store),
        None => Err(Unavailable::None),
    };
    let store = root.map(|(_, store)| store);
    let bytes = match host::request_headers() {
        Ok(bytes) => bytes,
        Err(status) => {
            host::log(
                Level::Warn,
                &format!("keystile: no request headers: status {}", status.0),
            );
            let denial = Denial::KeysetUnavailable(Unavailable::None);
            return refuse(&denial, None, None, None);
        }
    };
    let headers = Headers::new(&bytes);
    decided(store, keyset.as_ref().map_err(|why| *why), headers)
}

/// Puts fields on the response whose headers have come.
pub fn add_fields(fields: &Fields) {
    for (name, value) in fields {
        let _ = host::set_response_header(name, value.as_bytes());
    }
}

fn decided(
    store: Option<StoreId>,
    in_force: Result<&InForce, Unavailable>,
    headers: Headers<'_>,
) -> Outcome {
    let keyset = in_force.ok();
    let certificate = Shown::read(keyset);
    let request = Request {
        headers,
        address: keyset
            .filter(|k| k.addresses())
            .and_then(|_| source_address()),
        peer: certificate.as_ref().map(Shown::peer).unwrap_or_default(),
        tls: keyset.is_some_and(|k| k.policy().require_tls) && is_tls(),
    };
    let clocks = clock::now();
    let corrupt_before = keyset.map_or(0, InForce::corrupt_pages);
    let decision = decide(
        in_force,
        &request,
        clocks,
        earlier_pass,
        &mut SharedBuckets,
        &mut (),
    );
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
    metrics::corrupt_pages(keyset.map_or(0, InForce::corrupt_pages) - corrupt_before);

    let shadow = keyset.is_some_and(|k| k.policy().mode == Mode::Shadow);
    let id = decision.entry.as_ref().map(|entry| entry.id.digits());
    remember(&decision, id.as_ref());
    if let Err(denial) = &decision.verdict {
        if !shadow {
            return refuse(denial, keyset, Some(&decision), Some(headers));
        }
        metrics::shadow_refusal(denial.code());
    }
    let unavailable = Denial::KeysetUnavailable(Unavailable::None);
    let Some(keyset) = keyset else {
        return refuse(&unavailable, None, None, Some(headers));
    };
    // A request that still holds its key, or somebody else's identity, goes nowhere.
    if let Err(status) = admit(keyset, &decision, id.as_ref(), headers) {
        host::log(
            Level::Warn,
            &format!(
                "keystile: a header could not be changed: status {}",
                status.0
            ),
        );
        return refuse(&unavailable, Some(keyset), None, Some(headers));
    }
    let let_in = decision.prefix.filter(|_| decision.verdict.is_ok());
    if let Some(prefix) = let_in.filter(|_| REDIRECTS.get()) {
        let _ = host::set_property(STATE_ENTRY, &prefix);
    }
    let always = keyset.policy().rate_limit_fields == RateLimitFields::Always && !shadow;
    Outcome {
        goes_on: true,
        fields: decision.rate.as_ref().filter(|_| always).map(rate_fields),
    }
}

/// Takes the key out, puts the identity in, and leaves the mark that the guard asks for.
fn admit(
    keyset: &InForce,
    decision: &Decision<'_>,
    id: Option<&[u8; 10]>,
    headers: Headers<'_>,
) -> Result<(), host::Status> {
    let policy = keyset.policy();
    let mut edits = Vec::new();
    // In shadow mode the upstream may still check keys itself.
    if !policy.forward_credential && policy.mode == Mode::Enforce {
        strip(policy, headers, &mut edits);
    }
    strip_identity(&policy.identity, headers, &mut edits);
    apply(&edits)?;

    let caller = decision.entry.as_ref().filter(|_| decision.verdict.is_ok());
    let (Some(entry), Some(id)) = (caller, id) else {
        return mark(ANONYMOUS);
    };
    // None of them is there: what the caller sent was removed above.
    let add = |name: &str, value: &[u8]| match name {
        "" => Ok(()),
        name => host::add_request_header(name, value),
    };
    add(&policy.identity.client, entry.client.as_bytes())?;
    add(&policy.identity.key, id)?;
    if !policy.identity.scopes.is_empty() {
        let mut names = String::with_capacity(64);
        for scope in entry.scopes() {
            if !names.is_empty() {
                names.push(' ');
            }
            names.push_str(
                keyset
                    .scopes()
                    .get(usize::from(scope))
                    .map_or("", String::as_str),
            );
        }
        add(&policy.identity.scopes, names.as_bytes())?;
    }
    mark(entry.client.as_bytes())
}

/// Sets the filter state that the guard asks for. It is read-only: on a second pass after
/// an internal redirect it is there already.
fn mark(client: &[u8]) -> Result<(), host::Status> {
    host::set_property(STATE_CLIENT, client).or_else(|status| match host::property(STATE_CLIENT) {
        Some(_) => {
            REDIRECTS.set(true);
            Ok(())
        }
        None => Err(status),
    })
}

/// What logs want to know. None of it opens anything, so that a failure to write it refuses
/// nobody.
fn remember(decision: &Decision<'_>, id: Option<&[u8; 10]>) {
    if let Some(id) = id {
        let _ = host::set_property(STATE_KEY, id);
    } else if let Some(id) = &decision.claimed {
        let _ = host::set_property(STATE_KEY, format!("unverified:{id}").as_bytes());
    }
    if let Err(denial) = &decision.verdict {
        let _ = host::set_property(STATE_REASON, denial.code().as_bytes());
    }
}

fn apply(edits: &[Edit<'_>]) -> Result<(), host::Status> {
    edits.iter().try_for_each(|edit| match edit {
        Edit::Remove(name) => host::remove_request_header(name),
        Edit::Set(name, value) => host::set_request_header(name, value),
    })
}

fn refuse(
    denial: &Denial,
    keyset: Option<&InForce>,
    decision: Option<&Decision<'_>>,
    headers: Option<Headers<'_>>,
) -> Outcome {
    let policy = keyset.map(InForce::policy);
    if let (Some(policy), Some(headers)) = (policy, headers) {
        // Access logs print the path of refused requests as well.
        let mut edits = Vec::new();
        strip_query(policy, headers, &mut edits);
        let _ = apply(&edits);
    }
    let content_type = headers.and_then(|h| h.get("content-type"));
    let rate = decision.and_then(|d| d.rate.as_ref());
    let answer = reply(denial, policy, rate, content_type);
    if let Err(status) = host::send_reply(&answer) {
        host::log(
            Level::Warn,
            &format!("keystile: a refusal could not be sent: status {}", status.0),
        );
    }
    Outcome::REFUSED
}

/// Who was let in by an earlier pass over this request: an internal redirect runs the
/// filter chain again, with the key already taken out. Callers cannot set filter state.
///
/// The id, which logs want anyway, names the key but does not find it quickly. So the first
/// redirect that this VM sees makes all later requests carry the digest along as well;
/// where nothing redirects, none pays for it. Logs want the id of who was refused as well,
/// and a refusal may be redirected too: the guard's mark, set last, tells who was let in.
fn earlier_pass() -> Option<Prior> {
    if REDIRECTS.get()
        && let Some(prefix) = host::property(STATE_ENTRY)
    {
        return prefix.try_into().ok().map(Prior::Digest);
    }
    let id = host::property(STATE_KEY)?;
    let id = core::str::from_utf8(&id).ok()?.parse().ok()?;
    host::property(STATE_CLIENT).filter(|client| client != ANONYMOUS)?;
    REDIRECTS.set(true);
    Some(Prior::Id(id))
}

/// Where the request that is being decided comes from.
pub fn source_address() -> Option<IpAddr> {
    let text = host::property("source\0address")?;
    let text = core::str::from_utf8(&text).ok()?;
    match text.parse::<std::net::SocketAddr>() {
        Ok(address) => Some(address.ip()),
        Err(_) => text.parse().ok(),
    }
}

/// Whether the connection itself is encrypted. The scheme would be what the caller says.
fn is_tls() -> bool {
    host::property("connection\0tls_version").is_some_and(|v| !v.is_empty())
}
