//! The contents of the store as types: clients, keys, signing keys, policies.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use keystile_core::key::{Digest, KeyId};
use keystile_core::keyset::{Network, SigningKey};
use keystile_core::policy::{By, Limit, RawLimit};
use serde_json::{Value, json};

use crate::key::{KeyType, Rules};
use crate::when;

/// Labels: `key=value` pairs.
pub type Labels = BTreeMap<String, String>;

/// A holder of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Stable, never reused.
    pub number: u32,
    /// Unique among existing clients.
    pub name: String,
    /// The plan for keys without a plan of their own.
    pub plan: Option<String>,
    /// Free text.
    pub description: String,
    /// Labels.
    pub labels: Labels,
    /// Seconds.
    pub created: u64,
}

impl Client {
    /// As JSON, for programs and for the audit log.
    pub fn json(&self) -> Value {
        json!({
            "client": self.name,
            "number": self.number,
            "plan": self.plan,
            "description": self.description,
            "labels": self.labels,
            "created": when::rfc3339(self.created),
        })
    }
}

/// A key as the store holds it: everything but the key.
#[derive(Clone, Debug)]
pub struct Key {
    /// The public id.
    pub id: KeyId,
    /// Never printed.
    pub digest: Digest,
    /// It was imported.
    pub imported: bool,
    /// Number of its client.
    pub client_number: u32,
    /// Name of its client.
    pub client: String,
    /// Plan of its client.
    pub client_plan: Option<String>,
    /// What it may do.
    pub rules: Rules,
    /// When it stops working because it was rotated.
    pub overlap_end: Option<u64>,
    /// Disabled.
    pub disabled: bool,
    /// When it was revoked.
    pub revoked: Option<u64>,
    /// The reason.
    pub reason: String,
    /// First key in its chain of rotations.
    pub lineage: KeyId,
    /// The key that it replaced.
    pub rotated_from: Option<KeyId>,
    /// Seconds.
    pub created: u64,
}

impl AsRef<Self> for Key {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// The status of a key at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Status {
    /// It works.
    Active,
    /// It works until its overlap with a newer key ends.
    Rotating,
    /// Not valid yet.
    Pending,
    /// Disabled.
    Disabled,
    /// Past its expiry, or past the overlap with the key that replaced it.
    Expired,
    /// Revoked.
    Revoked,
}

impl Status {
    /// The outcome, state or kind as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Rotating => "rotating",
            Self::Pending => "pending",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Key {
    /// Its status at a time, in seconds since the epoch.
    pub fn status(&self, now: u64) -> Status {
        if self.revoked.is_some() {
            Status::Revoked
        } else if self.ends().is_some_and(|end| end <= now) {
            Status::Expired
        } else if self.disabled {
            Status::Disabled
        } else if self.rules.not_before.is_some_and(|t| t > now) {
            Status::Pending
        } else if self.overlap_end.is_some() {
            Status::Rotating
        } else {
            Status::Active
        }
    }

    /// When it stops working without further action.
    pub fn ends(&self) -> Option<u64> {
        match (self.rules.expires, self.overlap_end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The plan that its limits come from.
    pub fn effective_plan(&self) -> Option<&str> {
        self.rules.plan.as_deref().or(self.client_plan.as_deref())
    }

    /// As JSON for the audit log: what is there, without key and digest, in the order of the
    /// names. A rotation of all keys makes millions of them.
    pub fn audit_text(&self) -> String {
        let rules = &self.rules;
        let mut all: BTreeMap<&str, Value> = rules.audited().collect();
        all.insert("client", json!(self.client));
        all.insert("environment", json!(rules.environment.as_str()));
        all.insert("type", json!(KeyType::of(rules).as_str()));
        let switched = [("disabled", self.disabled), ("imported", self.imported)];
        all.extend(
            switched
                .into_iter()
                .filter(|(_, is)| *is)
                .map(|(name, is)| (name, json!(is))),
        );
        if !self.reason.is_empty() {
            all.insert("reason", json!(self.reason));
        }
        for (name, at) in [("revoked", self.revoked), ("works_until", self.overlap_end)] {
            all.extend(at.map(|at| (name, json!(when::rfc3339(at)))));
        }
        all.extend(
            self.rotated_from
                .map(|id| ("rotated_from", json!(id.to_string()))),
        );
        // Only text and lists of text, all of which JSON can represent.
        serde_json::to_string(&all).unwrap_or_default()
    }
}

pub(super) fn is_nothing(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        _ => false,
    }
}

/// A range in the form of the keyset.
pub fn network(net: IpNet) -> Network {
    let address: IpAddr = net.network();
    let network = Network {
        address,
        prefix_len: net.prefix_len(),
    };
    network.canonical()
}

/// Values as text.
pub fn words<T: fmt::Display>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Limits as they are typed: `100/1m:20`, followed by `@client` if all keys of a client share it.
pub fn limit_words(limits: &[Limit]) -> Vec<String> {
    limits
        .iter()
        .map(|l| {
            let raw = raw_limit(l);
            let burst = raw.burst.map(|b| format!(":{b}")).unwrap_or_default();
            let by = if l.by == By::Client { "@client" } else { "" };
            format!("{}/{}{burst}{by}", raw.requests, raw.per)
        })
        .collect()
}

/// A limit as a policy would write it.
pub fn raw_limit(l: &Limit) -> RawLimit {
    RawLimit {
        requests: l.requests,
        per: when::duration(l.per),
        burst: (l.burst != l.requests).then_some(l.burst),
        by: l.by,
    }
}

/// The state of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningState {
    /// Signs.
    Active,
    /// No longer active, but keysets that it signed are still accepted.
    Accepted,
    /// Retired; its secret is erased.
    Retired,
}

impl SigningState {
    /// The outcome, state or kind as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Accepted => "accepted",
            Self::Retired => "retired",
        }
    }

    /// The state with this name.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Active, Self::Accepted, Self::Retired]
            .into_iter()
            .find(|s| s.as_str() == word)
    }
}

/// A signing key; without its secret if it is retired.
pub struct SigningRecord {
    /// Its id.
    pub kid: String,
    /// What becomes of it.
    pub state: SigningState,
    /// Id and secret.
    pub key: Option<SigningKey>,
    /// Seconds.
    pub created: u64,
    /// Seconds.
    pub retired: Option<u64>,
}

/// A policy as it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The number, from 1.
    pub revision: u64,
    /// The file.
    pub text: String,
    /// Seconds.
    pub applied: u64,
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its number in the store.
    pub number: u32,
    /// Unique.
    pub name: String,
    /// Where messages are sent.
    pub url: String,
    /// `key.revoke`, `key.*`, `*`.
    pub events: Vec<String>,
    /// The last audit record that was processed for it.
    pub cursor: u64,
    /// Seconds.
    pub created: u64,
    /// Messages that it has not accepted yet.
    pub waiting: u64,
}

impl Webhook {
    /// Whether it is sent an action.
    pub fn wants(&self, action: &str) -> bool {
        self.events
            .iter()
            .any(|event| match event.strip_suffix('*') {
                Some(head) => action.starts_with(head),
                None => action == event,
            })
    }

    /// As JSON for the audit log: the fields that are set, without the secret.
    pub fn json(&self) -> Value {
        json!({
            "webhook": self.name,
            "url": self.url,
            "events": self.events,
            "created": when::rfc3339(self.created),
        })
    }
}
