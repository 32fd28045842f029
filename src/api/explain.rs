//! Why a request is let in or refused.

use keystile_registry::explain as stored;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoint, Operation, STAFF};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::wire::{Secret, Time, TimeWords};
use keystile_model::world::World;
use keystile_policy::explain::{ClientCertificate, PresentedKey, Question};
use keystile_store::Store;

/// Explains why a request is let in or refused, rule by rule.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The key: its id, or the whole key.
    #[serde(default)]
    pub key: Option<Secret>,
    /// The method.
    #[serde(default = "get")]
    pub method: String,
    /// The path, as the caller sends it.
    pub path: String,
    /// The host, with its port if the request names one; by default the request names no host.
    #[serde(default)]
    pub host: String,
    /// The virtual host that Envoy would choose, if a rule of the policy names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_host: Option<String>,
    /// The address that the request comes from.
    #[serde(default)]
    pub ip: Option<String>,
    /// Identities in the client certificate: at most one URI such as `spiffe://…` and one `dns:…`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// Headers: names and values.
    #[serde(default)]
    #[schema(value_type = Vec<Vec<String>>)]
    pub headers: Vec<(String, String)>,
    /// Whether the request comes over TLS.
    #[serde(default)]
    pub tls: bool,
    /// When the request comes; now by default.
    #[serde(default)]
    pub at: Option<TimeWords>,
}

fn get() -> String {
    "GET".to_owned()
}

/// What the filter would do.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// `ok`, or the code of the refusal.
    pub code: String,
    /// The status of the refusal; 200 for `ok`.
    pub status: u16,
    /// Whether the request is let in.
    pub allowed: bool,
    /// The policy is in shadow mode, so the request is let in in any case.
    pub shadow: bool,
    /// What the caller is told; or, if the request is let in, what that depends on.
    pub detail: String,
    /// False if the request is let in only while buckets have tokens and the quota is not used up:
    /// both live in each Envoy's memory and cannot be seen from here.
    #[serde(default)]
    pub limits_seen: bool,
    /// If no route matches: the methods or hosts that have one for this path. If the key is none of
    /// the store's: what its form and checksum tell, such as that it was not copied whole.
    #[serde(default)]
    pub hint: Option<String>,
    /// The client of the key.
    pub client: Option<String>,
    /// The id of the key.
    pub key: Option<String>,
    /// The route's template.
    pub route: Option<String>,
    /// The time for which the answer holds.
    pub at: Time,
    /// Version of the keyset.
    pub keyset_version: u64,
    /// The checks, one by one.
    pub rules: Vec<Rule>,
}

/// A check that the filter makes.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Rule {
    /// Its name.
    pub rule: String,
    /// Whether the request passed the check.
    pub held: bool,
    /// The result in words.
    pub text: String,
}

impl Operation for Explain {
    type Output = Explanation;
    const ENDPOINT: Endpoint = Endpoint::ask(
        "explain",
        "/v1/explain",
        STAFF,
        "Explain why a request is let in or refused, rule by rule",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<Explanation> {
        let now = world.now.seconds();
        let key = match self.key {
            None => PresentedKey::Nothing,
            Some(key) => stored::shown(store, key.expose_secret().to_owned())?,
        };
        let address = self.ip.map(|ip| {
            ip.parse().map_err(|_| {
                refuse(
                    Code::InvalidAddress,
                    format_args!("`{ip}` is not an address"),
                    "write `192.0.2.1` or `2001:db8::1`",
                )
                .field("ip")
            })
        });
        let question = Question {
            key,
            method: self.method,
            path: self.path,
            host: self.host,
            virtual_host: self.virtual_host,
            address: address.transpose()?,
            certificate: ClientCertificate::from_identities(&self.certificates)?,
            headers: self.headers,
            tls: self.tls,
            at: self.at.map_or(now, |w| w.0.at(now)),
        };
        let at = Time(question.at);
        let a = stored::explain(store, world, question)?;
        let (client, key) = a.caller.unzip();
        Ok(Explanation {
            code: a.code.to_owned(),
            status: a.status,
            allowed: a.code == "ok" || a.shadow,
            shadow: a.shadow,
            detail: a.detail,
            limits_seen: a.limits_seen,
            hint: a.hint,
            client,
            key,
            route: a.route,
            at,
            keyset_version: a.version,
            rules: a
                .notes
                .into_iter()
                .map(|n| Rule {
                    rule: n.rule.to_owned(),
                    held: n.held,
                    text: n.text,
                })
                .collect(),
        })
    }
}
