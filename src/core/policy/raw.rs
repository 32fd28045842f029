//! What the file says, before any rule is checked.

mod attempts;
#[cfg(not(target_family = "wasm"))]
mod companion;
mod plan;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

pub use attempts::RawAttempts;
#[cfg(not(target_family = "wasm"))]
pub use companion::{ExposedKeys, RawLifetimes};
use plan::is_default;
pub use plan::{By, QuotaPeriod, RawLimit, RawPlan, RawQuota, RollOver};
use serde::{Deserialize, Serialize};

/// `policy.yaml` as written. Every field but `version` has a default.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Refuse plain HTTP on routes that check keys.
    #[serde(default)]
    pub require_tls: bool,
    /// What is required of a client certificate before keys bound to it are accepted.
    #[serde(default, skip_serializing_if = "ClientCertificates::is_default")]
    pub client_certificates: ClientCertificates,
    /// Whether Envoy tells hosts apart by their ports.
    #[serde(default, skip_serializing_if = "HostPorts::is_default")]
    pub host_ports: HostPorts,
    /// Where a key may be sent, tried in order.
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
    /// Names of the headers that tell the upstream who is calling.
    #[serde(default)]
    pub identity: RawIdentity,
    /// The only scopes that a publishable key may hold.
    #[serde(default)]
    pub publishable: RawPublishable,
    /// How long after its issue a keyset is accepted: `12h`, `7d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// Where to report which version is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<RawReport>,
    /// How long keys may live. Not sent to filters.
    #[cfg(not(target_family = "wasm"))]
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_lifetime: RawLifetimes,
    /// Accept reports from enrolled Envoys only. Not sent to filters.
    #[cfg(not(target_family = "wasm"))]
    #[serde(default, skip_serializing_if = "is_default")]
    pub require_enrolment: bool,
    /// What happens to a key that comes over plain HTTP where TLS is required. Not sent to filters.
    #[cfg(not(target_family = "wasm"))]
    #[serde(default, skip_serializing_if = "is_default")]
    pub exposed_keys: ExposedKeys,
    /// How many unknown keys one address may try. None: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brute_force: Option<RawAttempts>,
    /// Named bundles of limits.
    #[serde(default)]
    pub plans: BTreeMap<String, RawPlan>,
    /// What each route requires.
    #[serde(default)]
    pub routes: Vec<RawRoute>,
    /// What happens to requests that no route matches.
    #[serde(default)]
    pub unmatched: Unmatched,
}

impl RawPolicy {
    /// What filters get of it. The rest is for the companion, which issues keys and accepts
    /// reports.
    #[must_use]
    #[cfg(not(target_family = "wasm"))]
    pub fn for_filters(&self) -> Self {
        let mut sent = self.clone();
        sent.max_lifetime = RawLifetimes::default();
        sent.require_enrolment = false;
        sent.exposed_keys = ExposedKeys::default();
        for plan in sent.plans.values_mut() {
            plan.max_lifetime = None;
        }
        sent
    }

    /// They have no more.
    #[must_use]
    #[cfg(target_family = "wasm")]
    pub fn for_filters(&self) -> Self {
        self.clone()
    }
}

/// Whether decisions are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Refusals are answered.
    #[default]
    Enforce,
    /// Refusals are counted and tagged, but everything passes.
    Shadow,
}

/// One place where a key may be sent: exactly one of `header`, `basic`, `query`, `cookie`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCredential {
    /// A request header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// With `header`: the authentication scheme before the key, such as `Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The user name or the password of HTTP Basic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicPart>,
    /// A query parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// A cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

/// A part of what HTTP Basic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BasicPart {
    /// The part before the colon: `curl -u KEY:`.
    Username,
    /// The part after the colon: `curl -u api:KEY`.
    Password,
}

/// What is required of a client certificate before keys bound to it are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Envoy reports that it validated the certificate of this connection. Versions before 1.39
    /// cannot, and none does for a resumed TLS session.
    #[default]
    Validated,
    /// It was presented. Safe only if every listener with this policy refuses connections with an
    /// invalid certificate; otherwise anybody can make their own.
    Presented,
}

impl ClientCertificates {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether Envoy tells hosts apart by their ports when it chooses a virtual host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostPorts {
    /// It may: rules must agree with and without a port.
    #[default]
    Unknown,
    /// It does not: the route configuration has `ignore_port_in_host_matching`.
    Ignore,
}

impl HostPorts {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether CORS preflights pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preflight {
    /// They are requests like any other.
    #[default]
    Deny,
    /// `OPTIONS` with `Origin` and `Access-Control-Request-Method` passes without a key.
    Allow,
}

/// Which replies carry `RateLimit` and `RateLimit-Policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateLimitFields {
    /// Only 429.
    #[default]
    Refused,
    /// Also what the upstream answers.
    Always,
}

/// Names of the headers that tell the upstream who is calling; an empty name leaves one out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// The only scopes that a publishable key may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPublishable {
    /// The scopes allowed to it. None by default.
    pub scopes: Vec<String>,
}

/// Where to report which version is in force, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawReport {
    /// The control plane, as Envoy's configuration names the cluster.
    pub cluster: String,
    /// `1s` to `5m`; at every change in any case.
    #[serde(default = "default_every")]
    pub every: String,
    /// Also report which key used which route, how often and with which outcome.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub usage: bool,
    /// How much of the address that a key was last used from is reported.
    #[serde(default, skip_serializing_if = "is_default")]
    pub address: Address,
    /// Report the user agent that last used a key.
    #[serde(default, skip_serializing_if = "is_default")]
    pub agent: bool,
}

/// How much of an address is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    /// Nothing.
    None,
    /// The network: the first 24 bits of an IPv4 address, the first 48 of an IPv6 one.
    #[default]
    Truncated,
    /// All of it.
    Full,
}

impl Address {
    /// What is kept of an address. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn kept(self, address: IpAddr) -> Option<IpAddr> {
        match (self, address.to_canonical()) {
            (Self::None, _) => None,
            (Self::Full, address) => Some(address),
            (Self::Truncated, IpAddr::V4(a)) => {
                Some(Ipv4Addr::from_bits(a.to_bits() & (u32::MAX << 8)).into())
            }
            (Self::Truncated, IpAddr::V6(a)) => {
                Some(Ipv6Addr::from_bits(a.to_bits() & (u128::MAX << 80)).into())
            }
        }
    }
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Envoy's own choice in place of `hosts`: names of virtual hosts of its routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub virtual_hosts: Vec<String>,
    /// Whether a key is required.
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

/// Whether a route requires a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// A valid key is required.
    #[default]
    Required,
    /// A key must be valid if there is one.
    Optional,
    /// Keys are not checked.
    None,
}

/// What happens to requests that no route matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
fn yes() -> bool {
    true
}
// Defaults are not written, so that a filter of another version can read it.
fn is_true(b: &bool) -> bool {
    *b
}
fn default_every() -> String {
    "10s".to_owned()
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
