//! One request: header bytes, decision, and what the decision does to the request.

use keystile_core::decide::{Decision, Denial, Request, Unavailable, decide};
use keystile_core::keyset::InForce;
use keystile_core::outcome::{self, ANONYMOUS};
use keystile_core::policy::{Mode, RateLimitFields, ReportTarget};
use keystile_core::reply::{AnsweredRequest, Protocol, rate_fields, reply};
use keystile_core::request::credential::{Seen, strip_trailers};
use keystile_core::request::glance::Glance;
use keystile_core::request::headers::Headers;

use crate::abi::{Level, Map, Refused, Stream, log};
use crate::buckets::ProcessBuckets;
use crate::config::Config;
use crate::edits::KeptEdits;
use crate::marks::{self, Pass};
use crate::peer::{PresentedCertificate, is_tls, peer, source_address, virtual_host};
use crate::tunnels::Tunnel;
use crate::{attempts, clock, state, tick, usage};

/// What is remembered of a request while Envoy has it.
#[derive(Default)]
pub struct RequestState {
    /// `RateLimit` fields that its response is to have.
    fields: Option<[(&'static str, String); 2]>,
    /// It was let in as a tunnel, and is checked again.
    tunnel: Option<Tunnel>,
    /// We have answered it.
    answered: bool,
}

const UNAVAILABLE: Denial = Denial::KeysetUnavailable(Unavailable::None);

/// Decides about the request whose headers have arrived, and carries out the decision. `false` if
/// it has been answered.
pub fn headers(config: &Config, stream: &mut Stream<'_>, state: &mut RequestState) -> bool {
    state::decides();
    let view = config.view();
    let in_force = view.in_force.as_deref().map_err(|why| *why);
    let decided = decided(config, in_force, view.usage.as_deref(), stream, state);
    let goes_on = decided.unwrap_or_else(|Refused| {
        log(
            Level::Warn,
            "keystile: Envoy did not hand out a request's headers, or did not change them; the request is refused",
        );
        // A request that still holds its key, or somebody else's identity, goes nowhere.
        refuse(&UNAVAILABLE, in_force.ok(), stream, state);
        false
    });
    drop(view);
    tick::within(config, stream);
    goes_on
}

/// What is decided about a request while its headers are read.
struct Judged<'k> {
    decision: Decision<'k>,
    /// It goes on, whatever was decided.
    shadow: bool,
    seen: Seen,
    /// What it is answered by, if it is refused.
    to: AnsweredRequest,
}

impl<'k> Judged<'k> {
    /// Adds to the edits what the request must not hold where it goes, or in access logs.
    fn new(
        decision: Decision<'k>,
        keyset: Option<&InForce>,
        headers: Headers<'_>,
        edits: &mut KeptEdits,
    ) -> Self {
        let shadow = keyset.is_some_and(|k| k.policy().mode == Mode::Shadow);
        let (mut seen, mut to) = (Seen::default(), AnsweredRequest::default());
        let goes_on = shadow || decision.verdict.is_ok();
        match keyset {
            Some(keyset) if goes_on => seen = outcome::take_out(keyset, &decision, headers, edits),
            Some(keyset) => {
                outcome::take_out_of_query(keyset, decision.glance, headers, edits);
                to = AnsweredRequest::from_headers(headers);
            }
            None => to = AnsweredRequest::from_headers(headers),
        }
        Self {
            decision,
            shadow,
            seen,
            to,
        }
    }
}

fn decided(
    config: &Config,
    in_force: Result<&InForce, Unavailable>,
    usage: Option<&ReportTarget>,
    stream: &mut Stream<'_>,
    state: &mut RequestState,
) -> Result<bool, Refused> {
    let keyset = in_force.ok();
    let clocks = clock::now();
    config.serves(clocks.monotonic);
    let certificate = PresentedCertificate::read(keyset, stream);
    let address = keyset
        .filter(|k| k.addresses())
        .and_then(|_| source_address(stream));
    let virtual_host = virtual_host(keyset, stream);
    let tls = keyset.is_some_and(|k| k.policies().any(|p| p.require_tls)) && is_tls(stream);
    let corrupt_before = keyset.map_or(0, InForce::corrupt_pages);
    let mut edits = KeptEdits::new();
    let asked: &Stream<'_> = stream;
    let judged = asked.headers(Map::Request, |headers| {
        let request = Request {
            headers,
            address,
            peer: peer(certificate.as_ref()),
            tls,
            virtual_host: virtual_host.as_deref(),
        };
        let prior = || {
            let from = config.origin()?;
            from.names.earlier(asked, from.store, keyset?.policy_id())
        };
        let mut decision = decide(
            in_force,
            &request,
            clocks,
            prior,
            &mut ProcessBuckets,
            &mut (),
        );
        attempts::slow_down(keyset, &mut decision, (asked, address), clocks.monotonic);
        usage::count(usage, keyset, config, &decision, headers, asked);
        Judged::new(decision, keyset, headers, &mut edits)
    })?;
    let decision = &judged.decision;
    config.metrics.request(stream, decision.code());
    let corrupt = keyset.map_or(0, InForce::corrupt_pages);
    config
        .metrics
        .corrupt_pages(stream, corrupt.saturating_sub(corrupt_before));
    carry_out(config, keyset, &judged, edits, stream, state)
}

/// Does to the request what was decided. `false` if it is answered.
fn carry_out(
    config: &Config,
    keyset: Option<&InForce>,
    judged: &Judged<'_>,
    edits: KeptEdits,
    stream: &mut Stream<'_>,
    state: &mut RequestState,
) -> Result<bool, Refused> {
    let decision = &judged.decision;
    let pass = Pass::read(stream);
    marks::remember(stream, pass, decision);
    if let Err(denial) = &decision.verdict {
        marks::remember_refusal(stream, pass, (keyset, decision), judged.shadow);
        if !judged.shadow {
            // Where that fails, access logs show the path with the key; the request is refused in any case.
            let _ = edits.apply(stream, Map::Request);
            if let Some(other) = keyset.and_then(InForce::other) {
                take_out_of_query(other, stream);
            }
            answer(denial, keyset, Some(decision), &judged.to, stream, state);
            return Ok(false);
        }
        config.metrics.shadow_refusal(stream, denial.code());
    }
    let Some(keyset) = keyset else {
        refuse(&UNAVAILABLE, None, stream, state);
        return Ok(false);
    };
    admit(config, keyset, decision, pass, &edits, stream)?;
    drop(edits);
    if !judged.shadow {
        keep(config, keyset, judged, stream, state)?;
    }
    Ok(true)
}

/// Keeps what has to be known later about a request that goes on.
fn keep(
    config: &Config,
    keyset: &InForce,
    Judged { decision, seen, .. }: &Judged<'_>,
    stream: &Stream<'_>,
    state: &mut RequestState,
) -> Result<(), Refused> {
    let always = keyset.policy().rate_limit_fields == RateLimitFields::Always;
    let rate = decision.rate.as_ref().filter(|_| always);
    state.fields = rate.map(rate_fields);
    let let_in = decision.prefix.filter(|_| decision.verdict.is_ok());
    if let Some(key) = let_in.filter(|_| seen.tunnel) {
        let store = config.store().ok_or(Refused)?;
        state.tunnel = Some(Tunnel::open(stream, store, key)?);
    }
    Ok(())
}

/// Removes the key, adds the identity, and leaves the mark that guards ask for. Envoy's route could
/// do the first two from filter state, which costs more: formatting a header costs more than adding it.
fn admit(
    config: &Config,
    keyset: &InForce,
    decision: &Decision<'_>,
    pass: Pass,
    edits: &KeptEdits,
    stream: &mut Stream<'_>,
) -> Result<(), Refused> {
    edits.apply(stream, Map::Request)?;
    if let Some(other) = keyset.other() {
        take_out_others(other, decision, stream)?;
    }
    let from = config.origin().ok_or(Refused)?;
    let (whose, names) = ((from.store, keyset.policy_id()), &from.names);
    let Some(entry) = outcome::caller(decision) else {
        return names.admitted(stream, pass, whose, ANONYMOUS, decision);
    };
    outcome::identity(keyset, entry, |name, value| {
        stream.add_header(Map::Request, name, value)
    })?;
    names.admitted(stream, pass, whose, entry.client.as_bytes(), decision)
}

/// Removes what a second policy requires to be removed.
#[cold]
#[inline(never)]
fn take_out_others(
    other: &InForce,
    decision: &Decision<'_>,
    stream: &mut Stream<'_>,
) -> Result<(), Refused> {
    let mut edits = KeptEdits::new();
    stream.headers(Map::Request, |headers| {
        outcome::take_out_others(other, decision, headers, &mut edits);
    })?;
    edits.apply(stream, Map::Request)
}

/// Refuses what nothing is known of, so that its headers are read for it.
#[cold]
#[inline(never)]
fn refuse(
    denial: &Denial,
    keyset: Option<&InForce>,
    stream: &mut Stream<'_>,
    state: &mut RequestState,
) {
    let mut policies = keyset;
    // One after the other, because both may change the path.
    while let Some(keyset) = policies {
        take_out_of_query(keyset, stream);
        policies = keyset.other();
    }
    answer(denial, keyset, None, &answered(stream), stream, state);
}

/// What a request is answered by whose headers are not being read.
pub fn answered(stream: &Stream<'_>) -> AnsweredRequest {
    let read = stream.headers(Map::Request, AnsweredRequest::from_headers);
    read.unwrap_or_default()
}

/// Access logs print the path of refused requests as well.
#[cold]
#[inline(never)]
fn take_out_of_query(keyset: &InForce, stream: &mut Stream<'_>) {
    let mut edits = KeptEdits::new();
    let read = stream.headers(Map::Request, |headers| {
        outcome::take_out_of_query(keyset, Glance::default(), headers, &mut edits);
    });
    let _ = read.and_then(|()| edits.apply(stream, Map::Request));
}

#[inline(never)]
fn answer(
    denial: &Denial,
    keyset: Option<&InForce>,
    decision: Option<&Decision<'_>>,
    to: &AnsweredRequest,
    stream: &mut Stream<'_>,
    state: &mut RequestState,
) {
    let policy = keyset.map(InForce::policy);
    let answer = reply(denial, to, policy, decision);
    state.fields = None;
    state.answered = true;
    match to.protocol {
        Protocol::Disguised => stream.reply_in_http(&answer),
        Protocol::Plain | Protocol::Grpc => stream.reply(&answer),
    }
}

/// Refuses a request whose decision could not be carried out completely, unless it has been
/// answered; `to` says whose it is.
pub fn close(stream: &mut Stream<'_>, state: &mut RequestState, to: AnsweredRequest) {
    if !core::mem::replace(&mut state.answered, true) {
        let to = AnsweredRequest {
            protocol: Protocol::Plain,
            ..to
        };
        let mut answer = reply(&UNAVAILABLE, &to, None, None);
        answer.details = "keystile:internal_error".to_owned();
        stream.reply(&answer);
    }
}

/// Removes from the trailers what would not have been allowed in the headers. `false` if that
/// fails: the request is answered, or reset.
pub fn trailers(stream: &mut Stream<'_>, state: &mut RequestState) -> bool {
    // What any policy of this process knows of: no honest request has any of these.
    let mut edits = KeptEdits::new();
    let mut all_known = true;
    let read = stream.headers(Map::RequestTrailers, |trailers: Headers<'_>| {
        state::each(|_, held| {
            all_known &= held.in_force().is_some();
            for policy in held.policies() {
                strip_trailers(policy, trailers, &mut edits);
            }
        });
    });
    let stripped = read.and_then(|()| edits.apply(stream, Map::RequestTrailers));
    if stripped.is_ok() && all_known {
        return true;
    }
    refuse(&UNAVAILABLE, None, stream, state);
    false
}

/// Adds to the response whose headers have arrived what its request asked for.
pub fn response(stream: &mut Stream<'_>, state: &mut RequestState) {
    for (name, value) in state.fields.take().into_iter().flatten() {
        let _ = stream.set_header(Map::Response, name, value.as_bytes());
    }
}

/// The main thread has found that the key of a tunnel may no longer be valid.
pub fn asked_again(config: &Config, stream: &mut Stream<'_>, state: &mut RequestState) {
    let Some(denial) = state.tunnel.as_ref().and_then(Tunnel::denied) else {
        return;
    };
    if !core::mem::replace(&mut state.answered, true) {
        config.metrics.tunnel_ended(stream, denial.code());
    }
    marks::reason(stream, denial.code());
    let keyset = config.store().and_then(|store| state::newest(store).ok());
    let policy = keyset.as_ref().map(InForce::policy);
    // Envoy resets the stream, because its answer has begun; where it has not, the caller gets the
    // refusal as any other.
    let to = AnsweredRequest {
        protocol: Protocol::Plain,
        ..answered(stream)
    };
    stream.reply(&reply(&denial, &to, policy, None));
}
