//! `policy.yaml` as types that cannot be wrong.
//!
//! [`RawPolicy`] is what the file says; [`Policy`] is what holds once every rule has been checked,
//! and nothing after it checks again. The companion reads the raw form from YAML, the filter from
//! the signed manifest, both through [`Policy::new`].

use core::fmt;
use std::collections::BTreeMap;

use crate::key::Name;
use crate::limit::bucket::Bucket;
use crate::request::glance::Watched;
use crate::request::route::Router;
use crate::sort;

mod check;
mod raw;
mod report;
#[cfg(test)]
mod tests;

pub use raw::*;

use check::{Errors, checked_plan, credentials, environments, identity, limits, not_after};
use check::{routes, scope_table, version_and_realm};
pub use report::ReportTarget;

/// A mistake in a policy: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The field: `routes[3].limit.requests`.
    pub field: String,
    /// The fact and the next step.
    pub problem: String,
    /// Another field that it is about: the first of two routes that no request could tell apart.
    pub beside: Option<String>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.field, self.problem)
    }
}

impl std::error::Error for PolicyError {}

/// A valid policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The realm in `WWW-Authenticate`; without quotes and control characters.
    pub realm: String,
    /// The first part of keys issued under this policy.
    pub brand: Name,
    /// Whether decisions are carried out.
    pub mode: Mode,
    /// Refuse plain HTTP on routes that check keys.
    pub require_tls: bool,
    /// What is required of client certificates.
    pub client_certificates: ClientCertificates,
    /// Whether Envoy tells hosts apart by their ports.
    pub host_ports: HostPorts,
    /// Where a key may be sent; at least one place.
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
    /// The only scopes that publishable keys may hold.
    pub publishable_scopes: Vec<String>,
    /// Their numbers, in rising order.
    publishable: Vec<u16>,
    /// Seconds after its issue for which a keyset is accepted.
    pub not_after: Option<u64>,
    /// Where to report which version is in force, if anywhere.
    pub report: Option<ReportTarget>,
    /// Plans by name.
    pub plans: BTreeMap<String, Plan>,
    /// Their limits, by number: the position among the names.
    numbered: Vec<(String, Vec<Limit>)>,
    /// Routes in the order of the file.
    pub routes: Vec<Route>,
    /// Which of them a request belongs to.
    pub router: Router,
    /// What happens to the others.
    pub unmatched: Unmatched,
    /// Headers that the policy is concerned with.
    pub(crate) watched: Watched,
    /// Every known scope, sorted; scope numbers are positions in it.
    pub scopes: Vec<String>,
}

/// A place where a key may be sent. Header names are lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A header, with the authentication scheme before the key, if any.
    Header {
        /// Lower case.
        name: String,
        /// Compared without case (RFC 9110 section 11.1).
        scheme: Option<String>,
    },
    /// A part of what HTTP Basic carries in `authorization`.
    Basic(BasicPart),
    /// A query parameter.
    Query(String),
    /// A cookie.
    Cookie(String),
}

/// A valid plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most [`crate::limit::bucket::MAX_LIMITS`], each with another `per` or `by`.
    pub limits: Vec<Limit>,
    /// The quota.
    pub quota: Option<RawQuota>,
    /// Seconds after which its keys are due for rotation; 0 for never.
    pub rotate_every: Option<u64>,
    /// Seconds for which a rotated key goes on working.
    pub grace: Option<u64>,
}

/// A valid limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The bucket.
    pub bucket: Bucket,
    /// Tokens refilled in each period.
    pub requests: u64,
    /// The period, in seconds.
    pub per: u64,
    /// The bucket's size.
    pub burst: u64,
    /// Whose requests it counts.
    pub by: By,
}

/// A valid route.
#[derive(Clone, Debug)]
pub struct Route {
    /// The template as written.
    pub path: String,
    /// Methods, hosts (or virtual hosts) and template as written, where there are any:
    /// `GET,HEAD /v1/{*rest}`.
    /// No two routes of a policy have the same.
    pub name: String,
    /// Whether a key is required.
    pub auth: Auth,
    /// Numbers of scopes that the key must hold.
    pub scopes: Vec<u16>,
    /// Numbers of scopes of which the key must hold one; empty if not required.
    pub any_scope: Vec<u16>,
    /// Tokens that a request takes from each limit, at least 1; from a smaller bucket, all that it
    /// can hold.
    pub cost: u64,
    /// The route's own limit.
    pub limit: Option<Limit>,
    /// Identifies the route in bucket keys: the same for the same hosts, path shape and methods,
    /// wherever it is in the file.
    pub stable_id: u64,
}

/// The most scopes that a policy and its keys may use.
pub const MAX_SCOPES: usize = 16_384;

impl Policy {
    /// Whether keys stay in requests that are passed on: in shadow mode the upstream may still
    /// check them itself.
    pub fn keys_stay(&self) -> bool {
        self.forward_credential || self.mode == Mode::Shadow
    }

    /// Checks a policy. `more_scopes` are those that keys hold and no route asks for.
    ///
    /// # Errors
    /// Every mistake found, in the order of the file.
    pub fn new<'a>(
        raw: &RawPolicy,
        more_scopes: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Vec<PolicyError>> {
        let mut e = Errors(Vec::new());
        version_and_realm(raw, &mut e);
        let brand = e.name("brand", &raw.brand);
        let environments = environments(raw, &mut e);
        let credentials = credentials(raw, &mut e);
        let identity = identity(raw, &credentials, &mut e);
        let not_after = not_after(raw, &mut e);
        let report = raw.report.as_ref().and_then(|raw| {
            let target = ReportTarget::new(raw);
            target.map_err(|error| e.0.push(error)).ok()
        });
        let scopes = scope_table(raw, more_scopes, &mut e);
        let plans: BTreeMap<String, Plan> = raw
            .plans
            .iter()
            .map(|(name, plan)| (name.clone(), checked_plan(name, plan, &mut e)))
            .collect();
        let numbered = plans
            .iter()
            .map(|(name, plan)| (name.clone(), plan.limits.clone()))
            .collect();
        let (routes, router) = routes(raw, &scopes, &mut e);
        match (brand, e.0.is_empty()) {
            (Some(brand), true) => Ok(Self {
                watched: Watched::new(&credentials, &identity),
                realm: raw.realm.clone(),
                brand,
                mode: raw.mode,
                require_tls: raw.require_tls,
                client_certificates: raw.client_certificates,
                host_ports: raw.host_ports,
                credentials,
                forward_credential: raw.forward_credential,
                environments,
                preflight: raw.preflight,
                rate_limit_fields: raw.rate_limit_fields,
                identity,
                publishable: {
                    let all = raw.publishable.scopes.iter();
                    let mut numbers: Vec<u16> = all.filter_map(|s| number(&scopes, s)).collect();
                    sort::many(&mut numbers, |a, b| a < b);
                    numbers
                },
                publishable_scopes: raw.publishable.scopes.clone(),
                not_after,
                report,
                plans,
                numbered,
                routes,
                router,
                unmatched: raw.unmatched,
                scopes,
            }),
            _ => Err(e.0),
        }
    }

    /// Whether a host with a port may be another host than the same without.
    pub fn ports_count(&self) -> bool {
        self.host_ports != HostPorts::Ignore
    }

    /// Name and limits of the plan with this number: its position among the names.
    pub fn plan(&self, number: usize) -> Option<(&str, &[Limit])> {
        let (name, limits) = self.numbered.get(number)?;
        Some((name, limits))
    }

    /// Whether a key that was issued with a scope still holds it: a publishable key holds only what
    /// the present policy allows such keys, whatever it allowed when the key was issued.
    pub fn leaves(&self, is_publishable: bool, scope: u16) -> bool {
        !is_publishable || self.publishable.binary_search(&scope).is_ok()
    }

    /// The number of a scope.
    pub fn scope_number(&self, scope: &str) -> Option<u16> {
        number(&self.scopes, scope)
    }

    /// The highest cost of any route, which a limit's burst must allow.
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
        && text
            .bytes()
            .all(|b| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E) && b != b',')
}

/// A client's name: fit for headers, logs and file names.
pub fn is_client_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
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
    (1..=100 * 366 * 86_400)
        .contains(&seconds)
        .then_some(seconds)
}

fn number(table: &[String], scope: &str) -> Option<u16> {
    let at = table.binary_search_by(|s| s.as_str().cmp(scope)).ok()?;
    u16::try_from(at).ok()
}
