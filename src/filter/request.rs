//! One request: header bytes, decision, and what the decision does to the request.

use std::net::IpAddr;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::buckets::SharedBuckets;
use super::host::{self, Level};
use super::{STATE_CLIENT, STATE_ENTRY, STATE_KEY, STATE_REASON, metrics, usage, vm};
use crate::credential::{Edit, strip, strip_identity, strip_query};
use crate::decide::{Clocks, Decision, Denial, Prior, Request, Unavailable, decide};
use crate::headers::Headers;
use crate::keyset::{InForce, StoreId};
use crate::policy::{Mode, RateLimitFields};
use crate::reply::{rate_fields, reply};

/// Filter state of requests that are let in without a key; the guard asks for something
/// that is not empty.
const ANONYMOUS: &[u8] = b"-";

/// A request and, later, its response.
pub struct Stream {
    store: Option<StoreId>,
    /// For the response, where the policy wants them there.
    fields: Option<[(&'static str, String); 2]>,
}

impl Stream {
    /// A stream of a filter configured from `store`.
    pub fn new(store: Option<StoreId>) -> Self {
        Self {
            store,
            fields: None,
        }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let keyset = match self.store {
            Some(store) => vm::in_force(store),
            None => Err(Unavailable::None),
        };
        let bytes = match host::request_headers() {
            Ok(bytes) => bytes,
            Err(status) => {
                host::log(
                    Level::Warn,
                    &format!("keystile: no request headers: status {}", status.0),
                );
                return refuse(
                    &Denial::KeysetUnavailable(Unavailable::None),
                    None,
                    None,
                    None,
                );
            }
        };
        let headers = Headers::new(&bytes);
        self.decide(keyset.as_ref().map_err(|why| *why), headers)
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        for (name, value) in self.fields.take().into_iter().flatten() {
            let _ = host::set_response_header(name, value.as_bytes());
        }
        Action::Continue
    }
}

impl Stream {
    fn decide(&mut self, in_force: Result<&InForce, Unavailable>, headers: Headers<'_>) -> Action {
        let keyset = in_force.ok();
        let request = Request {
            headers,
            address: keyset
                .filter(|k| k.addresses())
                .and_then(|_| source_address()),
            tls: keyset.is_some_and(|k| k.policy().require_tls) && is_tls(),
        };
        let clocks = Clocks {
            wall: host::wall_seconds(),
            monotonic: host::monotonic_ns(),
        };
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
        if let Some(store) = self.store {
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
        remember(&decision);
        if let Err(denial) = &decision.verdict {
            if !shadow {
                return refuse(denial, keyset, Some(&decision), Some(headers));
            }
            metrics::shadow_refusal(denial.code());
        }
        let Some(keyset) = keyset else {
            return refuse(
                &Denial::KeysetUnavailable(Unavailable::None),
                None,
                None,
                Some(headers),
            );
        };
        if let Some(rate) = &decision.rate
            && keyset.policy().rate_limit_fields == RateLimitFields::Always
            && !shadow
        {
            self.fields = Some(rate_fields(rate));
        }
        match admit(keyset, &decision, headers) {
            Ok(()) => Action::Continue,
            // A request that still holds its key, or somebody else's identity, goes nowhere.
            Err(status) => {
                host::log(
                    Level::Warn,
                    &format!(
                        "keystile: a header could not be changed: status {}",
                        status.0
                    ),
                );
                refuse(
                    &Denial::KeysetUnavailable(Unavailable::None),
                    Some(keyset),
                    None,
                    Some(headers),
                )
            }
        }
    }
}

/// Takes the key out, puts the identity in, and leaves the mark that the guard asks for.
fn admit(
    keyset: &InForce,
    decision: &Decision<'_>,
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
    let Some(entry) = caller else {
        return mark(ANONYMOUS);
    };
    let set = |name: &str, value: &[u8]| match name {
        "" => Ok(()),
        name => host::set_request_header(name, value),
    };
    set(&policy.identity.client, entry.client.as_bytes())?;
    set(&policy.identity.key, &entry.id.digits())?;
    if !policy.identity.scopes.is_empty() {
        let mut names = String::new();
        for scope in entry.scopes() {
            if !names.is_empty() {
                names.push(' ');
            }
            names.push_str(
                policy
                    .scopes
                    .get(usize::from(scope))
                    .map_or("", String::as_str),
            );
        }
        set(&policy.identity.scopes, names.as_bytes())?;
    }
    mark(entry.client.as_bytes())
}

/// Sets the filter state that the guard asks for. It is read-only: on a second pass after
/// an internal redirect it is there already.
fn mark(client: &[u8]) -> Result<(), host::Status> {
    host::set_property(STATE_CLIENT, client).or_else(|status| match host::property(STATE_CLIENT) {
        Some(_) => Ok(()),
        None => Err(status),
    })
}

/// What logs and a second pass want to know. None of it opens anything, so that a failure
/// to write it refuses nobody.
fn remember(decision: &Decision<'_>) {
    if let Some(entry) = &decision.entry {
        let _ = host::set_property(STATE_KEY, &entry.id.digits());
    } else if let Some(id) = &decision.claimed {
        let _ = host::set_property(STATE_KEY, format!("unverified:{id}").as_bytes());
    }
    match &decision.verdict {
        Ok(()) => {
            if let Some(prefix) = &decision.prefix {
                let _ = host::set_property(STATE_ENTRY, hex(prefix).as_bytes());
            }
        }
        Err(denial) => {
            let _ = host::set_property(STATE_REASON, denial.code().as_bytes());
        }
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
) -> Action {
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
    Action::Pause
}

/// Who was let in by an earlier pass over this request: an internal redirect runs the
/// filter chain again, with the key already taken out. Callers cannot set filter state.
fn earlier_pass() -> Option<Prior> {
    let text = host::property(STATE_ENTRY)?;
    let text = core::str::from_utf8(&text).ok()?;
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    u128::from_str_radix(text, 16)
        .ok()
        .map(|n| Prior(n.to_be_bytes()))
}

fn hex(prefix: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*prefix))
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
