//! The contents of the store as types: clients, keys, signing keys, policies.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use keystile_core::keyset::{Algorithm, Network, SigningKey};
use keystile_core::policy::{By, Limit, RawLimit};
use serde_json::{Value, json};

pub use crate::key::Key;
use crate::{events, when};

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
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Active, Self::Accepted, Self::Retired]
            .into_iter()
            .find(|s| s.as_str() == word)
    }
}

/// A signing key; without its secret if it is retired.
pub struct SigningRecord {
    /// Its id.
    pub kid: String,
    /// How it signs.
    pub algorithm: Algorithm,
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
    /// Since when nothing is sent to it, in seconds; messages wait meanwhile.
    pub paused: Option<u64>,
}

/// An attempt to deliver a message to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryAttempt {
    /// Number of the audit record that the message is about.
    pub seq: u64,
    /// The event.
    pub action: String,
    /// Which attempt it was for this message, from 1 on.
    pub attempt: u32,
    /// When, in seconds.
    pub at: u64,
    /// How long the receiver took, in milliseconds.
    pub took_ms: u64,
    /// The status of its answer, if there was one.
    pub status: Option<u16>,
    /// Why the message was not accepted; none if it was.
    pub failure: Option<String>,
    /// When it is sent again, in seconds; only for the last attempt of a message that waits.
    pub next: Option<u64>,
}

impl Webhook {
    /// Whether it is sent an action.
    pub fn wants(&self, action: &str) -> bool {
        self.events.iter().any(|event| events::means(event, action))
    }

    /// As JSON for the audit log: the fields that are set, without the secret.
    pub fn json(&self) -> Value {
        let mut all = json!({
            "webhook": self.name,
            "url": self.url,
            "events": self.events,
            "created": when::rfc3339(self.created),
        });
        if let (Some(paused), Some(all)) = (self.paused, all.as_object_mut()) {
            all.insert("paused".to_owned(), when::rfc3339(paused).into());
        }
        all
    }
}
