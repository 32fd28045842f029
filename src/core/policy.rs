//! `policy.yaml` as types that cannot be wrong.
//!
//! [`RawPolicy`] is what the file says; [`Policy`] is what holds once every rule has been checked,
//! and nothing after it checks again. The companion reads the raw form from YAML, the filter from
//! the signed manifest, both through [`Policy::new`].

use std::collections::BTreeMap;

use crate::key::Name;
use crate::limit::bucket::Bucket;
use crate::request::route::Router;
use crate::request::watched::Watched;
use crate::sort;

mod check;
mod error;
#[cfg(not(target_family = "wasm"))]
mod lifetimes;
mod parts;
mod raw;
mod report;
#[cfg(test)]
mod tests;
mod words;

pub use error::PolicyError;
pub use parts::{Credential, Limit, Plan, Route};
pub use raw::*;
pub use words::{MAX_SCOPES, is_client_name, is_plan_name, is_scope, seconds};

#[cfg(not(target_family = "wasm"))]
pub use lifetimes::Lifetimes;

use check::{
    Errors, attempts, checked_plan, credentials, environments, identity, limits, not_after,
};
use check::{routes, scope_table, version_and_realm};
pub use report::ReportTarget;
use words::number;

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
    /// Accept reports from enrolled Envoys only.
    #[cfg(not(target_family = "wasm"))]
    pub require_enrolment: bool,
    /// What happens to a key that came over plain HTTP.
    #[cfg(not(target_family = "wasm"))]
    pub exposed_keys: ExposedKeys,
    /// How long keys may live, plans aside.
    #[cfg(not(target_family = "wasm"))]
    pub lifetimes: Lifetimes,
    /// How many unknown keys one address may try.
    pub brute_force: Option<Bucket>,
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

impl Policy {
    /// Whether keys stay in requests that are passed on: in shadow mode the upstream may still
    /// check them itself.
    pub fn keys_stay(&self) -> bool {
        self.forward_credential || self.mode == Mode::Shadow
    }

    /// How many seconds a key may live, if there is a limit.
    #[cfg(not(target_family = "wasm"))]
    pub fn longest_life(
        &self,
        environment: &str,
        is_publishable: bool,
        plan: Option<&str>,
    ) -> Option<u64> {
        let of_plan = plan.and_then(|p| self.plans.get(p)?.max_lifetime);
        let others = self.lifetimes.shortest(environment, is_publishable);
        of_plan.into_iter().chain(others).min()
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
        let report = raw.report.as_ref();
        let report = report.and_then(|raw| ReportTarget::checked(raw, &mut e));
        #[cfg(not(target_family = "wasm"))]
        let lifetimes = Lifetimes::new(&raw.max_lifetime, &mut e);
        let brute_force = raw.brute_force.as_ref();
        let brute_force = brute_force.and_then(|raw| attempts(raw, &mut e));
        let scopes = scope_table(raw, more_scopes, &mut e);
        // One by one, which is less code than collecting them.
        let mut plans: BTreeMap<String, Plan> = BTreeMap::new();
        for (name, plan) in &raw.plans {
            plans.insert(name.clone(), checked_plan(name, plan, &mut e));
        }
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
                #[cfg(not(target_family = "wasm"))]
                require_enrolment: raw.require_enrolment,
                #[cfg(not(target_family = "wasm"))]
                exposed_keys: raw.exposed_keys,
                brute_force,
                #[cfg(not(target_family = "wasm"))]
                lifetimes,
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
