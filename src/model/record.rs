//! What the store holds, as types: clients, keys, signing keys, policies.

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

/// Free `key=value` pairs.
pub type Labels = BTreeMap<String, String>;

/// Who holds keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Stable, never used again.
    pub number: u32,
    /// Unique among the living.
    pub name: String,
    /// For keys without a plan of their own.
    pub plan: Option<String>,
    /// Free text.
    pub description: String,
    /// Free pairs.
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
    /// Public id.
    pub id: KeyId,
    /// Never printed.
    pub digest: Digest,
    /// Not made here.
    pub imported: bool,
    /// Number of its client.
    pub client_number: u32,
    /// Name of its client.
    pub client: String,
    /// Plan of its client.
    pub client_plan: Option<String>,
    /// What it may do.
    pub rules: Rules,
    /// When it gives way to the key it was rotated to.
    pub overlap_end: Option<u64>,
    /// Switched off for now.
    pub disabled: bool,
    /// Since when it is switched off for good.
    pub revoked: Option<u64>,
    /// Why.
    pub reason: String,
    /// First key in its line of rotations.
    pub lineage: KeyId,
    /// The key before it.
    pub rotated_from: Option<KeyId>,
    /// Seconds.
    pub created: u64,
}

impl AsRef<Self> for Key {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// What a key is good for at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Status {
    /// Good.
    Active,
    /// Good until its overlap with a newer key ends.
    Rotating,
    /// Not good yet.
    Pending,
    /// Switched off for now.
    Disabled,
    /// Past its end, or past the overlap with the key it was rotated to.
    Expired,
    /// Switched off for good.
    Revoked,
}

impl Status {
    /// The word for it.
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
    /// What it is good for now, in seconds.
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

    /// When it ends by itself.
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
        // Text and lists of it: nothing in there that JSON could not say.
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

/// A range as the keyset wants it.
pub fn network(net: IpNet) -> Network {
    let address: IpAddr = net.network();
    let network = Network {
        address,
        prefix_len: net.prefix_len(),
    };
    network.canonical()
}

/// Things as words.
pub fn words<T: fmt::Display>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Limits as they are typed: `100/1m:20`, with `@client` behind if all keys of a client
/// share it.
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

/// What becomes of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningState {
    /// Signs.
    Active,
    /// Signs no more, but keysets that it signed are still taken.
    Accepted,
    /// Gone; its secret is erased.
    Retired,
}

impl SigningState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Accepted => "accepted",
            Self::Retired => "retired",
        }
    }

    /// The state that a word says.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Active, Self::Accepted, Self::Retired]
            .into_iter()
            .find(|s| s.as_str() == word)
    }
}

/// A signing key; without its secret when it is retired.
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
    /// Counts from 1.
    pub revision: u64,
    /// The file.
    pub text: String,
    /// Seconds.
    pub applied: u64,
}

/// Who is told what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Names it in the store.
    pub number: u32,
    /// Unique.
    pub name: String,
    /// Where messages go.
    pub url: String,
    /// `key.revoke`, `key.*`, `*`.
    pub events: Vec<String>,
    /// The last audit record that was looked at for it.
    pub cursor: u64,
    /// Seconds.
    pub created: u64,
    /// Messages that it has not taken yet.
    pub waiting: u64,
}

impl Webhook {
    /// Whether it wants to hear of an action.
    pub fn wants(&self, action: &str) -> bool {
        self.events
            .iter()
            .any(|event| match event.strip_suffix('*') {
                Some(head) => action.starts_with(head),
                None => action == event,
            })
    }

    /// As JSON for the audit log: what is there, without the secret.
    pub fn json(&self) -> Value {
        json!({
            "webhook": self.name,
            "url": self.url,
            "events": self.events,
            "created": when::rfc3339(self.created),
        })
    }
}
