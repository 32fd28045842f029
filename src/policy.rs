//! `policy.yaml` as types that cannot be wrong.
//!
//! [`RawPolicy`] is what the file says, [`Policy`] what is true once every rule has
//! been checked; past it nobody checks again. The companion reads the raw form from
//! YAML, the filter from the signed manifest, both through [`Policy::new`].

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::bucket::{MAX_LIMITS, Quota};
use crate::key::Name;
use crate::route::{HostPattern, Router, Template};

/// `policy.yaml` as written. Every field but `version` has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPolicy {
    /// The format's version: 1.
    pub version: u32,
    /// Named in `WWW-Authenticate`.
    #[serde(default = "default_realm")]
    pub realm: String,
    /// The first part of the keys issued: `[a-z0-9]{1,16}`.
    #[serde(default = "default_brand")]
    pub brand: String,
    /// Whether decisions are carried out or only counted.
    #[serde(default)]
    pub mode: Mode,
    /// Refuse plain HTTP on routes that look at keys.
    #[serde(default)]
    pub require_tls: bool,
    /// Where a key may stand, tried in order.
    #[serde(default = "default_credentials")]
    pub credentials: Vec<RawCredential>,
    /// Leave the key in the request for the upstream.
    #[serde(default)]
    pub forward_credential: bool,
    /// Environments whose keys are accepted here.
    #[serde(default = "default_environments")]
    pub environments: Vec<String>,
    /// Whether CORS preflights pass without a key.
    #[serde(default)]
    pub preflight: Preflight,
    /// Which replies carry the `RateLimit` fields.
    #[serde(default)]
    pub rate_limit_fields: RateLimitFields,
    /// Header names that tell the upstream who calls.
    #[serde(default)]
    pub identity: RawIdentity,
    /// What a publishable key may hold at most.
    #[serde(default)]
    pub publishable: RawPublishable,
    /// How long after it was issued a keyset is believed: `12h`, `7d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// Named bundles of limits.
    #[serde(default)]
    pub plans: BTreeMap<String, RawPlan>,
    /// What each route asks for.
    #[serde(default)]
    pub routes: Vec<RawRoute>,
    /// What happens to requests that no route matches.
    #[serde(default)]
    pub unmatched: Unmatched,
}

/// Whether decisions are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Refusals are answered.
    #[default]
    Enforce,
    /// Refusals are counted and tagged, and everything passes.
    Shadow,
}

/// One place where a key may stand: exactly one of `header`, `query`, `cookie`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCredential {
    /// A request header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// With `header`: the authentication scheme before the key, such as `Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// A query parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// A cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

/// Whether CORS preflights pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preflight {
    /// They are requests like any other.
    #[default]
    Deny,
    /// `OPTIONS` with `Origin` and `Access-Control-Request-Method` passes without a key.
    Allow,
}

/// Which replies carry `RateLimit` and `RateLimit-Policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateLimitFields {
    /// Only 429.
    #[default]
    Refused,
    /// Also what the upstream answers.
    Always,
}

/// Header names that tell the upstream who calls; an empty name leaves one out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawIdentity {
    /// Carries the client's name.
    pub client: String,
    /// Carries the key's id.
    pub key: String,
    /// Carries the key's scopes, separated by spaces.
    pub scopes: String,
}

impl Default for RawIdentity {
    fn default() -> Self {
        Self {
            client: "x-keystile-client".to_owned(),
            key: "x-keystile-key".to_owned(),
            scopes: "x-keystile-scopes".to_owned(),
        }
    }
}

/// What a publishable key may hold at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPublishable {
    /// The scopes allowed to it. None by default.
    pub scopes: Vec<String>,
}

/// A plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPlan {
    /// All are checked together, then all are taken.
    #[serde(default)]
    pub limits: Vec<RawLimit>,
    /// A longer allowance, counted by the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<RawQuota>,
}

/// A token bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLimit {
    /// Tokens refilled in each `per`.
    pub requests: u64,
    /// `1s`, `1m`, `1h`, `1d`.
    pub per: String,
    /// Its size; `requests` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Whose requests it counts.
    #[serde(default)]
    pub by: By,
}

/// Whose requests a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Each key, with those that it was rotated from.
    #[default]
    Key,
    /// All keys of a client together.
    Client,
}

/// An allowance by day or month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawQuota {
    /// Requests allowed in each period.
    pub requests: u64,
    /// The period.
    pub per: QuotaPeriod,
}

/// The period of a [`RawQuota`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuotaPeriod {
    /// From midnight to midnight, UTC.
    Day,
    /// From the first to the first, UTC.
    Month,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRoute {
    /// A template: `/v1/users/{id}`, `/static/{*rest}`.
    pub path: String,
    /// Methods; every one if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Hosts, `*.example.com` included; every one if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Whether a key is asked for.
    #[serde(default)]
    pub auth: Auth,
    /// The key must hold all of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The key must hold one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any_scope: Vec<String>,
    /// Tokens that a request takes from each limit; 1 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u64>,
    /// A limit of this route's own, beside the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<RawLimit>,
}

/// Whether a route asks for a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// A valid key is needed.
    #[default]
    Required,
    /// A key must be valid if there is one.
    Optional,
    /// Keys are not looked at.
    None,
}

/// What happens to requests that no route matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// 403 `route_denied`.
    #[default]
    Deny,
    /// Any valid key passes.
    Authenticated,
}

fn default_realm() -> String {
    "api".to_owned()
}
fn default_brand() -> String {
    "ks".to_owned()
}
fn default_environments() -> Vec<String> {
    vec!["live".to_owned()]
}
fn default_credentials() -> Vec<RawCredential> {
    vec![
        RawCredential {
            header: Some("authorization".to_owned()),
            scheme: Some("Bearer".to_owned()),
            ..RawCredential::default()
        },
        RawCredential {
            header: Some("x-api-key".to_owned()),
            ..RawCredential::default()
        },
    ]
}

/// A mistake in a policy: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The field: `routes[3].limit.requests`.
    pub field: String,
    /// The fact and the next step.
    pub problem: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.field, self.problem)
    }
}

impl std::error::Error for PolicyError {}

/// A policy that holds.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Named in `WWW-Authenticate`; free of quotes and control characters.
    pub realm: String,
    /// The first part of keys issued under this policy.
    pub brand: Name,
    /// Whether decisions are carried out.
    pub mode: Mode,
    /// Refuse plain HTTP on routes that look at keys.
    pub require_tls: bool,
    /// Where a key may stand; at least one place.
    pub credentials: Vec<Credential>,
    /// Leave the key in the request.
    pub forward_credential: bool,
    /// Environments accepted here; at least one.
    pub environments: Vec<Name>,
    /// Whether CORS preflights pass.
    pub preflight: Preflight,
    /// Which replies carry rate-limit fields.
    pub rate_limit_fields: RateLimitFields,
    /// Identity headers, lower case, all different.
    pub identity: RawIdentity,
    /// What publishable keys may hold at most.
    pub publishable_scopes: Vec<String>,
    /// Seconds after its issue that a keyset is believed.
    pub not_after: Option<u64>,
    /// Plans by name.
    pub plans: BTreeMap<String, Plan>,
    /// Routes in the order of the file.
    pub routes: Vec<Route>,
    /// Which of them a request belongs to.
    pub router: Router,
    /// What happens to the others.
    pub unmatched: Unmatched,
    /// Every scope that is known, sorted; scope numbers are positions in it.
    pub scopes: Vec<String>,
}

/// A place where a key may stand. Header names are lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A header, with the authentication scheme before the key, if any.
    Header {
        /// Lower case.
        name: String,
        /// Compared without case (RFC 9110 section 11.1).
        scheme: Option<String>,
    },
    /// A query parameter.
    Query(String),
    /// A cookie.
    Cookie(String),
}

/// A plan that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most [`MAX_LIMITS`], each with another `per` or `by`.
    pub limits: Vec<Limit>,
    /// The longer allowance.
    pub quota: Option<RawQuota>,
}

/// A limit that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The bucket.
    pub quota: Quota,
    /// Tokens refilled in each period.
    pub requests: u64,
    /// The period, in seconds.
    pub per: u64,
    /// The bucket's size.
    pub burst: u64,
    /// Whose requests it counts.
    pub by: By,
}

/// A route that holds.
#[derive(Clone, Debug)]
pub struct Route {
    /// The template as written.
    pub path: String,
    /// Whether a key is asked for.
    pub auth: Auth,
    /// Numbers of scopes that the key must hold.
    pub scopes: Vec<u16>,
    /// Numbers of scopes of which the key must hold one; empty for no such demand.
    pub any_scope: Vec<u16>,
    /// Tokens that a request takes; at least 1.
    pub cost: u64,
    /// The route's own limit.
    pub limit: Option<Limit>,
    /// Names the route in bucket keys: the same for the same hosts, path shape and
    /// methods, wherever it stands in the file.
    pub stable_id: u64,
}

/// The most scopes that a policy and its keys may speak of.
pub const MAX_SCOPES: usize = 16_384;

impl Policy {
    /// Checks a policy. `more_scopes` are those that keys hold and no route asks for.
    ///
    /// # Errors
    /// Every mistake found, in the order of the file.
    pub fn new<'a>(
        raw: &RawPolicy,
        more_scopes: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Vec<PolicyError>> {
        let mut e = Errors(Vec::new());
        if raw.version != 1 {
            e.push("version", format!("{} is not known; write `version: 1`", raw.version));
        }
        if raw.realm.is_empty()
            || raw.realm.len() > 128
            || !raw.realm.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\')
        {
            e.push("realm", "use 1 to 128 printable ASCII characters without quotes and backslashes");
        }
        let brand = e.name("brand", &raw.brand);
        let environments: Vec<Name> = raw
            .environments
            .iter()
            .enumerate()
            .filter_map(|(i, n)| e.name(&format!("environments[{i}]"), n))
            .collect();
        if raw.environments.is_empty() {
            e.push("environments", "is empty, so no key could ever pass; list at least one, such as `live`");
        }
        let credentials = credentials(raw, &mut e);
        let identity = identity(raw, &credentials, &mut e);
        let not_after = raw.not_after.as_deref().and_then(|text| match seconds(text) {
            Some(s) if s >= 60 => Some(s),
            _ => {
                e.push("not_after", format!("`{text}` is not a duration of a minute or more; write `12h` or `7d`"));
                None
            }
        });
        let scopes = scope_table(raw, more_scopes, &mut e);
        let plans: BTreeMap<String, Plan> = raw
            .plans
            .iter()
            .map(|(name, plan)| (name.clone(), checked_plan(name, plan, &mut e)))
            .collect();
        let (routes, router) = routes(raw, &plans, &scopes, &mut e);
        match (brand, e.0.is_empty()) {
            (Some(brand), true) => Ok(Self {
                realm: raw.realm.clone(),
                brand,
                mode: raw.mode,
                require_tls: raw.require_tls,
                credentials,
                forward_credential: raw.forward_credential,
                environments,
                preflight: raw.preflight,
                rate_limit_fields: raw.rate_limit_fields,
                identity,
                publishable_scopes: raw.publishable.scopes.clone(),
                not_after,
                plans,
                routes,
                router,
                unmatched: raw.unmatched,
                scopes,
            }),
            _ => Err(e.0),
        }
    }

    /// The number of a scope.
    pub fn scope_number(&self, scope: &str) -> Option<u16> {
        number(&self.scopes, scope)
    }

    /// The greatest cost of any route: what a limit's burst must at least allow.
    pub fn greatest_cost(&self) -> u64 {
        self.routes.iter().map(|r| r.cost).max().unwrap_or(1)
    }
}

/// Checks a list of limits, a plan's or a key's own.
///
/// # Errors
/// Every mistake, with `field` before its name.
pub fn checked_limits(field: &str, raw: &[RawLimit]) -> Result<Vec<Limit>, Vec<PolicyError>> {
    let mut e = Errors(Vec::new());
    let limits = limits(field, raw, &mut e);
    if e.0.is_empty() { Ok(limits) } else { Err(e.0) }
}

/// A scope as RFC 6749 section 3.3 spells it, at most 64 bytes.
pub fn is_scope(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E) && b != b',')
}

/// A client's name: fit for headers, logs and file names.
pub fn is_client_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// A plan's name: fit for a structured-field string.
pub fn is_plan_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

/// Reads `90s`, `15m`, `24h`, `7d`, `4w` as seconds; nothing else, and not zero.
pub fn seconds(text: &str) -> Option<u64> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        b'w' => 7 * 86_400,
        _ => return None,
    };
    let digits = text.get(..text.len().checked_sub(1)?)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=100 * 366 * 86_400).contains(&seconds).then_some(seconds)
}

struct Errors(Vec<PolicyError>);

impl Errors {
    fn push(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(PolicyError {
            field: field.into(),
            problem: problem.into(),
        });
    }

    fn name(&mut self, field: &str, text: &str) -> Option<Name> {
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let error: crate::key::NameError = error;
                self.push(field, error.to_string());
                None
            }
        }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(
                    b,
                    b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
                )
        })
}

fn credentials(raw: &RawPolicy, e: &mut Errors) -> Vec<Credential> {
    if raw.credentials.is_empty() {
        e.push("credentials", "is empty, so no key could be found; list at least one, such as `- header: x-api-key`");
    }
    let mut out = Vec::new();
    for (i, c) in raw.credentials.iter().enumerate() {
        let field = format!("credentials[{i}]");
        let place = match (&c.header, &c.query, &c.cookie) {
            (Some(name), None, None) => {
                if !is_token(name) {
                    e.push(format!("{field}.header"), format!("`{name}` is not a header name"));
                    continue;
                }
                if let Some(scheme) = &c.scheme
                    && !is_token(scheme)
                {
                    e.push(format!("{field}.scheme"), format!("`{scheme}` is not an authentication scheme; write `Bearer`"));
                    continue;
                }
                Credential::Header {
                    name: name.to_ascii_lowercase(),
                    scheme: c.scheme.clone(),
                }
            }
            (None, Some(name), None) | (None, None, Some(name)) if c.scheme.is_some() => {
                e.push(format!("{field}.scheme"), format!("goes with `header` only, not with `{name}`"));
                continue;
            }
            (None, Some(name), None) if is_token(name) => Credential::Query(name.clone()),
            (None, None, Some(name)) if is_token(name) => Credential::Cookie(name.clone()),
            (None, Some(name), None) | (None, None, Some(name)) => {
                e.push(field, format!("`{name}` is not a name: use letters, digits, `-`, `_` and `.`"));
                continue;
            }
            _ => {
                e.push(field, "write exactly one of `header`, `query` and `cookie`");
                continue;
            }
        };
        if out.contains(&place) {
            e.push(field, "stands here twice; remove one");
        } else {
            out.push(place);
        }
    }
    out
}

fn identity(raw: &RawPolicy, credentials: &[Credential], e: &mut Errors) -> RawIdentity {
    let mut seen: Vec<String> = Vec::new();
    let mut lower = |field: &str, name: &str| {
        let name = name.to_ascii_lowercase();
        let field = format!("identity.{field}");
        let reserved = matches!(name.as_str(), "host" | "content-length" | "transfer-encoding" | "connection" | "te" | "upgrade" | "cookie" | "authorization");
        let read = credentials
            .iter()
            .any(|c| matches!(c, Credential::Header { name: n, .. } if *n == name));
        if name.is_empty() {
            return name;
        }
        if !is_token(&name) || reserved {
            e.push(field, format!("`{name}` cannot carry an identity; choose a header of your own, such as `x-client`"));
        } else if read {
            e.push(field, format!("`{name}` is listed in `credentials` as well; choose another header"));
        } else if seen.contains(&name) {
            e.push(field, format!("`{name}` is used twice; choose another header"));
        }
        seen.push(name.clone());
        name
    };
    RawIdentity {
        client: lower("client", &raw.identity.client),
        key: lower("key", &raw.identity.key),
        scopes: lower("scopes", &raw.identity.scopes),
    }
}

fn scope_table<'a>(
    raw: &RawPolicy,
    more: impl IntoIterator<Item = &'a str>,
    e: &mut Errors,
) -> Vec<String> {
    let take = |field: &str, list: &[String], e: &mut Errors| {
        for (i, scope) in list.iter().enumerate() {
            if !is_scope(scope) {
                e.push(format!("{field}[{i}]"), format!("`{scope}` is not a scope: use up to 64 printable characters without spaces, commas, quotes and backslashes, such as `read:users`"));
            }
        }
    };
    take("publishable.scopes", &raw.publishable.scopes, e);
    for (i, route) in raw.routes.iter().enumerate() {
        take(&format!("routes[{i}].scopes"), &route.scopes, e);
        take(&format!("routes[{i}].any_scope"), &route.any_scope, e);
    }
    let own = raw
        .routes
        .iter()
        .flat_map(|r| r.scopes.iter().chain(&r.any_scope))
        .chain(&raw.publishable.scopes);
    let mut out: BTreeSet<String> = own.cloned().collect();
    out.extend(more.into_iter().map(str::to_owned));
    if out.len() > MAX_SCOPES {
        e.push("routes", format!("speak of {} scopes with those of the keys; {MAX_SCOPES} is the most", out.len()));
    }
    out.into_iter().collect()
}

fn number(table: &[String], scope: &str) -> Option<u16> {
    let at = table.binary_search_by(|s| s.as_str().cmp(scope)).ok()?;
    u16::try_from(at).ok()
}

fn checked_plan(name: &str, raw: &RawPlan, e: &mut Errors) -> Plan {
    let field = format!("plans.{name}");
    if !is_plan_name(name) {
        e.push(&field, "is not a plan name: use up to 32 of `a-z`, `0-9`, `-` and `_`");
    }
    if let Some(quota) = &raw.quota
        && quota.requests == 0
    {
        e.push(format!("{field}.quota.requests"), "is 0, which would refuse everything; to take access away, disable the key");
    }
    Plan {
        limits: limits(&format!("{field}.limits"), &raw.limits, e),
        quota: raw.quota.clone(),
    }
}

fn limits(field: &str, raw: &[RawLimit], e: &mut Errors) -> Vec<Limit> {
    if raw.len() > MAX_LIMITS {
        e.push(field, format!("holds {} limits; {MAX_LIMITS} is the most", raw.len()));
    }
    let mut out: Vec<Limit> = Vec::new();
    for (i, r) in raw.iter().enumerate() {
        let field = format!("{field}[{i}]");
        if let Some(limit) = limit(&field, r, e) {
            if out.iter().any(|l| l.per == limit.per && l.by == limit.by) {
                e.push(format!("{field}.per"), "is that of another limit in this list; keep the stricter one");
            } else {
                out.push(limit);
            }
        }
    }
    out
}

fn limit(field: &str, raw: &RawLimit, e: &mut Errors) -> Option<Limit> {
    let before = e.0.len();
    if raw.requests == 0 {
        e.push(format!("{field}.requests"), "is 0, which would refuse everything; write 1 or more, or close the route");
    }
    if raw.burst == Some(0) {
        e.push(format!("{field}.burst"), "is 0, which would refuse everything; write 1 or more, or leave it out");
    }
    let per = seconds(&raw.per).filter(|&s| s <= 366 * 86_400);
    if per.is_none() {
        e.push(format!("{field}.per"), format!("`{}` is not a period; write `1s`, `1m`, `1h` or `1d`", raw.per));
    }
    if before != e.0.len() {
        return None;
    }
    let (per, burst) = (per?, raw.burst.unwrap_or(raw.requests));
    let Some(quota) = Quota::new(raw.requests, per, burst) else {
        e.push(format!("{field}.requests"), "with this `per` and `burst` is beyond what a bucket can count; choose smaller figures");
        return None;
    };
    Some(Limit {
        quota,
        requests: raw.requests,
        per,
        burst,
        by: raw.by,
    })
}

fn routes(
    raw: &RawPolicy,
    plans: &BTreeMap<String, Plan>,
    scopes: &[String],
    e: &mut Errors,
) -> (Vec<Route>, Router) {
    let mut out = Vec::new();
    let mut router = Router::default();
    for (i, r) in raw.routes.iter().enumerate() {
        let field = format!("routes[{i}]");
        let template = match Template::parse(&r.path) {
            Ok(t) => t,
            Err(error) => {
                e.push(format!("{field}.path"), error.to_string());
                continue;
            }
        };
        let mut hosts = Vec::new();
        for (j, text) in r.hosts.iter().enumerate() {
            match HostPattern::parse(text) {
                Some(h) => hosts.push(h),
                None => e.push(format!("{field}.hosts[{j}]"), format!("`{text}` is not a host; write `api.example.com` or `*.example.com`")),
            }
        }
        for (j, method) in r.methods.iter().enumerate() {
            if !is_token(method) {
                e.push(format!("{field}.methods[{j}]"), format!("`{method}` is not a method; write `GET`"));
            } else if method.bytes().any(|b| b.is_ascii_lowercase()) {
                e.push(format!("{field}.methods[{j}]"), format!("methods are compared with their case; write `{}`", method.to_ascii_uppercase()));
            }
        }
        if r.auth != Auth::Required && !(r.scopes.is_empty() && r.any_scope.is_empty()) {
            e.push(format!("{field}.auth"), "lets requests in without a key, so `scopes` would be a false promise; remove one of the two");
        }
        if r.auth == Auth::None && (r.limit.is_some() || r.cost.is_some()) {
            e.push(format!("{field}.auth"), "looks at no key, so there is no bucket to charge; remove `limit` and `cost`, or `auth: none`");
        }
        let own_limit = r.limit.as_ref().and_then(|l| limit(&format!("{field}.limit"), l, e));
        let cost = r.cost.unwrap_or(1);
        if cost == 0 {
            e.push(format!("{field}.cost"), "is 0, which would switch every limit off; write 1 or more");
        }
        if let Some(l) = &own_limit
            && cost > l.burst
        {
            e.push(format!("{field}.cost"), format!("{cost} is above this route's own burst of {}, so nobody could ever call it", l.burst));
        }
        for (name, plan) in plans {
            if let Some(l) = plan.limits.iter().find(|l| l.burst < cost) {
                e.push(format!("{field}.cost"), format!("{cost} is above the burst of {} of plan `{name}`, whose clients could never call it; raise `burst` or lower `cost`", l.burst));
            }
        }
        if let Err(conflict) = router.insert(i, &hosts, &template, &r.methods) {
            e.push(field, format!("no request could tell it from `routes[{}]` (`{}`); change its path, methods or hosts, or remove it",
                conflict.first,
                raw.routes.get(conflict.first).map_or("", |r| r.path.as_str())));
            continue;
        }
        let numbers = |list: &[String]| list.iter().filter_map(|s| number(scopes, s)).collect();
        out.push(Route {
            path: r.path.clone(),
            auth: r.auth,
            scopes: numbers(&r.scopes),
            any_scope: numbers(&r.any_scope),
            cost,
            limit: own_limit,
            stable_id: stable_id(&hosts, &template, &r.methods),
        });
    }
    (out, router)
}

fn stable_id(hosts: &[HostPattern], template: &Template, methods: &[String]) -> u64 {
    let mut hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut methods = methods.to_vec();
    hosts.sort_unstable();
    methods.sort_unstable();
    let text = format!("{}\n{template}\n{}", hosts.join(","), methods.join(","));
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let (head, _) = digest.split_at(8);
    // Zero is kept for limits that belong to no route.
    u64::from_be_bytes(head.try_into().unwrap_or_default()).max(1)
}
