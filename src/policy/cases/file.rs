//! The file of cases.

mod raw;

use std::net::IpAddr;

use ipnet::IpNet;
use keystile_core::decide::Denial;
use keystile_core::key::{Fresh, Name};
use keystile_core::keyset::{KeyRow, Network};
use keystile_core::policy::{Policy, checked_limits, is_client_name, is_scope};
use keystile_core::request::certificate;
use serde::Deserialize;

use crate::explain::Certificate;
use crate::file as policy_file;
use keystile_model::error::{Act, Code, Fault, Next, Result, refuse, refuse_all, told, told_all};
use keystile_model::rules::{self, check_plan};
use raw::RawCases;

/// Where to look if there is no better hint.
fn help() -> Next {
    keystile_model::next!["see the example of ", Act::PolicyTest.of("--help")]
}

/// The codes that a request can be answered with, and `ok`.
pub(super) fn codes() -> impl Iterator<Item = &'static str> + Clone {
    std::iter::once("ok").chain(Denial::CODES.iter().map(Denial::code))
}

/// A file of cases.
pub struct Cases {
    /// Its name.
    pub file: String,
    /// The policy that it is for, relative to it.
    pub policy: Option<String>,
    /// In the order of the file.
    pub cases: Vec<Case>,
}

/// A request, who sends it, and the answer that it must get.
pub struct Case {
    /// Its line.
    pub line: u64,
    /// Its name; the request if it has none.
    pub name: String,
    /// Who sends it.
    pub holder: Holder,
    /// What is sent.
    pub request: Sent,
    /// How many times, at the same time; the last answer counts.
    pub times: u32,
    /// The answer.
    pub expect: Expect,
}

/// Who sends a request.
#[derive(Clone)]
pub enum Holder {
    /// No key.
    Nobody,
    /// A key that was never issued.
    Stranger,
    /// A key with a typing error.
    Typist,
    /// A key with these properties.
    Key(Box<Key>),
}

/// The parts of a request other than its key.
pub struct Sent {
    /// Its method.
    pub method: String,
    /// Its path, with the query if any.
    pub path: String,
    /// Its host; empty for a request that names none.
    pub host: String,
    /// The virtual host that Envoy would choose; none if no rule names one.
    pub virtual_host: Option<String>,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// The client certificate of its connection.
    pub certificate: Option<Certificate>,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Whether the request comes over TLS.
    pub tls: bool,
}

/// The answer that a request must get.
#[derive(Clone)]
pub struct Expect {
    /// `ok`, or the code of a refusal.
    pub code: String,
    /// The route that it belongs to, as the policy writes it.
    pub route: Option<String>,
}

/// A key's properties.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Key {
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

/// Reads a text; `file` is what messages call it.
pub fn parse(file: &str, text: &str) -> Result<Cases> {
    let root = policy_file::root(file, text)?;
    let raw: RawCases = policy_file::shape(file, &root, &help())?;
    let mut bad: Vec<Fault> = raw
        .keys
        .keys()
        .filter(|k| matches!(k.as_str(), "none" | "unknown" | "malformed"))
        .flat_map(|k| {
            let field = format!("keys.{k}");
            let line = root.line_of(&field);
            refuse(
                Code::InvalidName,
                "this name has a meaning already",
                "choose another",
            )
            .field(field)
            .at(format_args!("{file}:{line}"))
            .into_faults()
        })
        .collect();
    let mut cases = Vec::new();
    for (i, case) in raw.cases.into_iter().enumerate() {
        let line = root.line_of(&format!("cases[{i}]"));
        match case.checked(line, &raw.keys) {
            Ok(case) => cases.push(case),
            Err(e) => {
                let at = format!("{file}:{line}: `cases[{i}]`");
                bad.extend(e.at(at).into_faults());
            }
        }
    }
    if bad.is_empty() && cases.is_empty() {
        let none = refuse(Code::CasesInvalid, "is empty", "write at least one");
        let none = none.field("cases").at(format_args!("{file}:1"));
        bad.extend(none.into_faults());
    }
    if !bad.is_empty() {
        return Err(refuse_all(bad));
    }
    Ok(Cases {
        file: file.to_owned(),
        policy: raw.policy,
        cases,
    })
}

impl Key {
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
                format_args!("`{client}` is no name for a client"),
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
            checked_limits("limits", &limits).map_err(|e| told_all(Code::InvalidValue, &e))?;
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

fn each<T>(words: &[String], read: fn(&str) -> std::result::Result<T, String>) -> Result<Vec<T>> {
    words
        .iter()
        .map(|w| read(w).map_err(|e| told(Code::InvalidValue, e)))
        .collect()
}
