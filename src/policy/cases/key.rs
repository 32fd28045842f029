//! The key of a case.

use ipnet::IpNet;
use keystile_core::advice::Advice;
use keystile_core::key::{Fresh, Name};
use keystile_core::keyset::{KeyRow, Network};
use keystile_core::policy::{Policy, checked_limits, is_client_name, is_scope};
use keystile_core::request::certificate;
use serde::Deserialize;

use keystile_model::error::{Code, Result, advised, mistaken, refuse};
use keystile_model::rules::{self, check_plan};

/// A key's properties.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaseKey {
    client: Option<String>,
    scopes: Vec<String>,
    plan: Option<String>,
    limits: Vec<String>,
    /// The policy's first by default.
    #[serde(deserialize_with = "name")]
    pub environment: Option<Name>,
    #[serde(rename = "type")]
    kind: Kind,
    cidrs: Vec<String>,
    deny_cidrs: Vec<String>,
    origins: Vec<String>,
    certificates: Vec<String>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Secret,
    Publishable,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Active,
    /// In the grace period after a rotation.
    Rotating,
    /// Not valid yet.
    Pending,
    Disabled,
    Expired,
    Revoked,
}

fn name<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Option<Name>, D::Error> {
    Option::<String>::deserialize(d)?
        .map(|text| text.parse().map_err(serde::de::Error::custom))
        .transpose()
}

impl CaseKey {
    /// The scopes that no route of a policy asks for.
    pub fn unknown_scopes<'k>(&'k self, policy: &Policy) -> impl Iterator<Item = &'k str> {
        self.scopes
            .iter()
            .map(String::as_str)
            .filter(|s| policy.scope_number(s).is_none())
    }

    /// The key as a keyset holds it.
    pub(super) fn row(
        &self,
        policy: &Policy,
        environment: Name,
        fresh: &Fresh,
        now: u64,
    ) -> Result<KeyRow> {
        let client = self.client.clone().unwrap_or_else(|| "client".to_owned());
        if !is_client_name(&client) {
            return Err(refuse(
                Code::InvalidName,
                format_args!("`{client}` is not a valid name for a client"),
                "use 1 to 63 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`, a letter or digit first",
            ));
        }
        if let Some(bad) = self.scopes.iter().find(|s| !is_scope(s)) {
            return Err(refuse(
                Code::InvalidScope,
                format_args!("`{bad}` is not a scope"),
                "use up to 64 printable characters without spaces, commas, quotes and backslashes",
            ));
        }
        check_plan(policy, self.plan.as_deref())?;
        let limits = each(&self.limits, rules::limit)?;
        let limits =
            checked_limits("limits", &limits).map_err(|e| mistaken(Code::InvalidValue, &e))?;
        let (past, future) = (now.saturating_sub(1), now.saturating_add(3600));
        let state = self.state;
        Ok(KeyRow {
            id: fresh.id,
            digest: fresh.digest,
            foreign: false,
            client,
            client_number: 1,
            environment,
            publishable: self.kind == Kind::Publishable,
            scopes: self.scopes.clone(),
            plan: self.plan.clone(),
            limits,
            expires: (state == State::Expired).then_some(past),
            not_before: (state == State::Pending).then_some(future),
            overlap_end: (state == State::Rotating).then_some(future),
            disabled: state == State::Disabled,
            revoked: state == State::Revoked,
            lineage: fresh.id,
            allow: networks(&self.cidrs)?,
            deny: networks(&self.deny_cidrs)?,
            origins: each(&self.origins, rules::origin)?,
            certificates: each(&self.certificates, certificate::identity)?,
        })
    }
}

fn networks(words: &[String]) -> Result<Vec<Network>> {
    let nets: Vec<IpNet> = each(words, rules::cidr)?;
    Ok(nets
        .into_iter()
        .map(|n| Network {
            address: n.addr(),
            prefix_len: n.prefix_len(),
        })
        .collect())
}

fn each<T>(words: &[String], read: fn(&str) -> std::result::Result<T, Advice>) -> Result<Vec<T>> {
    words
        .iter()
        .map(|w| read(w).map_err(|e| advised(Code::InvalidValue, &e)))
        .collect()
}
