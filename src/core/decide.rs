//! One pure function from keyset, request and two clocks to a decision.
//!
//! The order of the questions is the order of [`decide`]'s body; the first "no" ends
//! it. Whoever cannot show a key that we issued learns nothing about keys: expired,
//! disabled and revoked are told only to who holds the secret.

use std::net::IpAddr;

use crate::key::{Digest, KeyId, Malformed, Parsed, Prefix, safe_display};
use crate::keyset::{Entry, InForce, Lookup};
use crate::limit::bucket::Buckets;
use crate::limit::quota::Tallies;
use crate::policy::{Auth, Mode, Preflight, RateLimitFields, Route, Unmatched};
use crate::request::certificate::{Peer, Stranger};
use crate::request::credential::{self, Held};
use crate::request::glance::Glance;
use crate::request::headers::Headers;

mod both;
mod charge;
mod denial;
mod prior;
mod rule;
mod trace;

pub use charge::{Applied, Origin, QuotaState, Rate};
pub use denial::{Denial, Unavailable};
pub use prior::{MARK, NOBODY, Prior};
pub use trace::{Note, Trace};

use charge::{charge, unchanged};
use rule::Call;

/// A request as the decision sees it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Headers and pseudo-headers.
    pub headers: Headers<'a>,
    /// Where it comes from; read only if [`InForce::addresses`] says so.
    pub address: Option<IpAddr>,
    /// Whose certificate came with the connection; read only if [`InForce::certificates`]
    /// says so.
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
    /// What was signed at an instant of the wall clock has been signed: a clock that shows
    /// less is behind, and would revive what has expired.
    fn not_before(self, issued_at: u64) -> Self {
        Self {
            wall: self.wall.max(issued_at),
            ..self
        }
    }
}

/// What was decided, and on what grounds.
pub struct Decision<'k> {
    /// Let in, or turned away.
    pub verdict: Result<(), Denial>,
    /// The key, where one was presented that is ours; also on refusals.
    pub entry: Option<Entry<'k>>,
    /// The head of its digest, to recognise it by on a second pass.
    pub prefix: Option<Prefix>,
    /// Position of the route among the policy's routes.
    pub route: Option<usize>,
    /// The limits that applied, and how they came out.
    pub rate: Option<Rate<'k>>,
    /// The id that an unknown but well-formed key claims. Not proven.
    pub claimed: Option<KeyId>,
    /// An earlier pass over the same request let it in, and has counted it.
    pub again: bool,
    /// The route looks at no key.
    pub open: bool,
    /// On such a route: the request asks by a header for a method or a path that another rule
    /// covers.
    pub overridden: bool,
    /// The request asks by a header to be taken for one for another host, which has another
    /// rule.
    pub another_host: bool,
    /// What a second pass is to know of the key that was presented on such a route: it is
    /// taken out there.
    pub unjudged: Option<Prior>,
    /// What the request may have that is to be taken out.
    pub glance: Glance,
    /// By [`InForce::also`] the route looks at no key.
    pub also_open: bool,
    /// One of two policies asked for no key: the upstream is told of none.
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

/// Decides about a request, by what is in force or else by why nothing is.
///
/// `prior` is asked only if the request itself cannot tell: it holds no key, or the
/// policy leaves keys in place. Who was let in before is checked again against the
/// route at hand, and not charged again.
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

/// What a request that is let in has to pay.
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

/// Whether a request is let in, as long as it can pay what is due.
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

    // Which route.
    let mut call = Call {
        virtual_host: request.virtual_host,
        ..Call::default()
    };
    let (mut has_origin, mut asks_for_method) = (false, false);
    let mut glance = Glance::NOTHING;
    let mut held = Held::default();
    for (name, value) in headers.iter() {
        if glance.see(policy, name, value) {
            held.add(name, value);
        }
        match name {
            b":method" => call.method = value,
            b":path" => call.target = value,
            b":authority" | b"host" => call.add_authority(value),
            b"origin" => has_origin = true,
            b"access-control-request-method" => asks_for_method = true,
            _ => {}
        }
    }
    let alone = held.alone(policy, glance);
    glance.alone = alone.is_some();
    decision.glance = glance;
    decision.route = rule::find(policy, &call, trace)?;
    decision.another_host =
        glance.hosts && rule::names_another_host(policy, &call, decision.route, headers);
    let route = decision.route.and_then(|i| policy.routes.get(i));
    let is_preflight = asks_for_method && has_origin && call.method == b"OPTIONS";
    if is_preflight && policy.preflight == Preflight::Allow {
        trace.note("preflight", true, || {
            "a CORS preflight, which the policy lets through".to_owned()
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
    if policy.require_tls && !request.tls {
        trace.note("tls", false, || {
            "plain HTTP, and the policy requires TLS".to_owned()
        });
        return Err(Denial::TlsRequired);
    }

    // Which key.
    let presented = credential::presented(policy, glance, alone, headers);
    if presented.several {
        trace.note("credential", false, || "several differing keys".to_owned());
        return Err(Denial::MultipleKeys);
    }
    let prior = if presented.key.is_none() || policy.keys_stay() {
        prior()
    } else {
        None
    };
    decision.again = matches!(prior, Some(Prior::Admitted(_)));
    let entry = match (&presented.key, prior) {
        (_, Some(Prior::Refused(denial))) => {
            trace.note("credential", false, || {
                "taken out by an earlier pass over this request".to_owned()
            });
            return Err(denial);
        }
        (_, Some(Prior::Admitted(prefix) | Prior::Presented(prefix))) => {
            let entry = known(keyset, &prefix, decision, trace)?;
            trace.note("credential", entry.is_some(), || {
                "named by an earlier pass over this request".to_owned()
            });
            entry.ok_or(Denial::UnknownKey)?
        }
        (Some(text), None) => identify(keyset, text, decision, trace)?,
        (None, None) if auth == Auth::Optional => {
            trace.note("credential", true, || {
                "none, and the route does not insist".to_owned()
            });
            return Ok(None);
        }
        (None, None) => {
            trace.note("credential", false, || {
                "none in any place that the policy lists".to_owned()
            });
            return Err(Denial::MissingKey);
        }
    };
    decision.entry = Some(entry);

    lifecycle(&entry, clocks.wall, trace)?;
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

/// Whether a key that was let in, and whose request goes on and on, would still be let in.
/// Gives the wall-clock second at which to ask again, should nothing be pushed before.
///
/// It asks whether the keyset is believed and knows the key, and whether the key is revoked,
/// disabled, expired or past its overlap. It does not ask about what was checked when the
/// request came in: route, scopes, environment, TLS, networks, certificate and origin. The
/// request that it would have to be asked of is gone, so a change to any of these counts from
/// the next request on. Nor does it charge anything.
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

/// Whether a text that stands where keys are looked for could be a key of ours: a word of it
/// has our brand, or it has our checksum, or was imported. All else belongs to somebody else.
pub fn could_be_ours(keyset: &InForce, text: &[u8]) -> bool {
    let branded = credential::names_a_key(keyset.policy().brand.as_str(), text);
    let imported = || {
        keyset.foreign()
            && (1..=crate::key::MAX_KEY_BYTES).contains(&text.len())
            && match keyset.lookup(&Digest::of_foreign(text).prefix()) {
                Lookup::Found(entry) => entry.foreign,
                Lookup::Unknown => false,
                // Nobody can tell.
                Lookup::Corrupt => true,
            }
    };
    branded || Parsed::parse(text).is_ok() || imported()
}

/// What is to be remembered of the keys that are taken out of a request unjudged.
fn unjudged(keyset: &InForce, glance: Glance, headers: Headers<'_>) -> Option<Prior> {
    let policy = keyset.policy();
    if policy.keys_stay() || !glance.has_places() {
        return None;
    }
    let ours = |text: &[u8]| could_be_ours(keyset, text);
    let presented = credential::find_ours(glance.places(policy), headers, &ours);
    let text = presented.key?;
    if presented.several {
        return Some(Prior::Refused(Denial::MultipleKeys));
    }
    let mut found = Decision::default();
    match identify(keyset, &text, &mut found, &mut ()) {
        Ok(_) => found.prefix.map(Prior::Presented),
        Err(denial) => Some(Prior::Refused(denial)),
    }
}

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
            format!("version {} is past its not-after", keyset.version())
        });
        return Err(Denial::KeysetUnavailable(Unavailable::Stale));
    }
    trace.note("keyset", true, || {
        let shadow = match keyset.policy().mode {
            Mode::Shadow => ", in shadow mode: whatever follows, the request passes",
            Mode::Enforce => "",
        };
        format!("version {}{shadow}", keyset.version())
    });
    Ok(keyset)
}

fn identify<'k>(
    keyset: &'k InForce,
    text: &[u8],
    decision: &mut Decision<'k>,
    trace: &mut impl Trace,
) -> Result<Entry<'k>, Denial> {
    let refuse = |trace: &mut _, denial: Denial, why: &str| {
        Trace::note(trace, "key", false, || {
            format!("{}: {why}", safe_display(text))
        });
        Err(denial)
    };
    let parsed = Parsed::parse(text);
    let entry = match &parsed {
        Ok(key) => {
            decision.claimed = Some(key.id());
            known(keyset, &key.digest().prefix(), decision, trace)?.filter(|e| !e.foreign)
        }
        Err(_) => None,
    };
    let entry = match (entry, &parsed) {
        // The whole text was issued, brand and environment included, or nothing was.
        (Some(entry), Ok(key)) => {
            let issued = key.brand == keyset.policy().brand.as_str()
                && key.environment
                    == name_of(keyset.environments(), usize::from(entry.environment));
            if issued { Some(entry) } else { None }
        }
        _ if keyset.foreign() && (1..=crate::key::MAX_KEY_BYTES).contains(&text.len()) => {
            known(keyset, &Digest::of_foreign(text).prefix(), decision, trace)?
                .filter(|e| e.foreign)
        }
        _ => None,
    };
    match (entry, parsed) {
        (Some(entry), _) => {
            decision.claimed = None;
            trace.note("key", true, || {
                format!("{} of client `{}`", entry.id, entry.client)
            });
            Ok(entry)
        }
        (None, Err(why @ Malformed::Length)) => {
            refuse(trace, Denial::MalformedKey(why), "too long for a key")
        }
        (None, Err(why @ Malformed::Checksum)) => refuse(
            trace,
            Denial::MalformedKey(why),
            "the checksum is wrong: a typing error",
        ),
        (None, Err(why @ Malformed::Shape)) if !keyset.foreign() => {
            refuse(trace, Denial::MalformedKey(why), "not the shape of a key")
        }
        (None, _) => refuse(trace, Denial::UnknownKey, "no such key"),
    }
}

fn known<'k>(
    keyset: &'k InForce,
    prefix: &Prefix,
    decision: &mut Decision<'k>,
    trace: &mut impl Trace,
) -> Result<Option<Entry<'k>>, Denial> {
    match keyset.lookup(prefix) {
        Lookup::Found(entry) => {
            decision.prefix = Some(*prefix);
            Ok(Some(entry))
        }
        Lookup::Unknown => Ok(None),
        Lookup::Corrupt => {
            trace.note("keyset", false, || {
                "the page where the key would be is not the one that was signed".to_owned()
            });
            Err(Denial::KeysetUnavailable(Unavailable::CorruptPage))
        }
    }
}

fn lifecycle(entry: &Entry<'_>, now: u64, trace: &mut impl Trace) -> Result<(), Denial> {
    let denial = if entry.revoked {
        Some((Denial::RevokedKey, "revoked"))
    } else if entry.disabled {
        Some((Denial::DisabledKey, "disabled"))
    } else if entry.expires.is_some_and(|end| now >= end) {
        Some((Denial::ExpiredKey { rotated: false }, "expired"))
    } else if entry.overlap_end.is_some_and(|end| now >= end) {
        Some((
            Denial::ExpiredKey { rotated: true },
            "rotated, and the grace is over",
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
                Some(_) => "active, in the grace after a rotation".to_owned(),
                None => "active".to_owned(),
            });
            Ok(())
        }
    }
}

fn network(
    entry: &Entry<'_>,
    address: Option<IpAddr>,
    trace: &mut impl Trace,
) -> Result<(), Denial> {
    if !entry.has_networks() {
        return Ok(());
    }
    let shown = || address.map_or("an unknown address".to_owned(), |a| a.to_string());
    // An address that cannot be told is in no range.
    if address.is_some_and(|a| entry.admits(a)) {
        trace.note("address", true, || format!("{} is allowed", shown()));
        return Ok(());
    }
    trace.note("address", false, || format!("{} is not allowed", shown()));
    Err(Denial::AddressDenied)
}

fn certificate(entry: &Entry<'_>, peer: Peer<'_>, trace: &mut impl Trace) -> Result<(), Denial> {
    if !entry.has_certificates() {
        return Ok(());
    }
    let found = peer.is_one_of(entry.certificates());
    trace.note("certificate", found.is_ok(), || match found {
        Ok(()) => "one that the key is bound to".to_owned(),
        Err(Stranger::Anonymous) => {
            "the connection has no client certificate, and the key is bound to some".to_owned()
        }
        Err(Stranger::Unproven) => "not known to be validated, so it proves nothing".to_owned(),
        Err(Stranger::Other) => "none of those that the key is bound to".to_owned(),
    });
    found.map_err(Denial::CertificateDenied)
}

fn origin(entry: &Entry<'_>, headers: Headers<'_>, trace: &mut impl Trace) -> Result<(), Denial> {
    if !entry.has_origins() && !entry.publishable {
        return Ok(());
    }
    // A publishable key without origins is open to none: that it has some is checked
    // where keys are issued, and not believed here. Several `Origin` fields, which no
    // browser sends, must all be its own.
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
        None => "the request has no `Origin`, and the key is bound to some".to_owned(),
    });
    if held {
        Ok(())
    } else {
        Err(Denial::OriginDenied)
    }
}

/// Whether two texts name the same origin: without regard to case, and to a port that goes
/// without saying, which browsers leave out.
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

fn scopes(
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
                "lacks {}, which `publishable.scopes` of the policy does not leave to publishable keys",
                quoted(missing)
            ),
        });
        return Err(Denial::InsufficientScope);
    }
    if !route.any_scope.is_empty() && !route.any_scope.iter().any(|s| holds(*s)) {
        trace.note("scope", false, || {
            let list: Vec<_> = route.any_scope.iter().map(quoted).collect();
            format!("holds none of {}", list.join(", "))
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
            true => "the route asks for none".to_owned(),
            false => format!("holds what the route asks for: {}", list.join(", ")),
        }
    });
    Ok(())
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
