//! What a key may do, described once. Each entry of the table below is a property that is given
//! when a key is issued and can be changed afterwards; everything that spells out such properties
//! is made from it:
//!
//! * [`Rules`], what the store keeps, and its part of the audit log;
//! * [`Issue`] and [`Update`], the requests, and [`KeyView`], the answer: JSON and OpenAPI;
//! * [`KeyDraft`] and [`KeyPatch`], the same requests with every value checked by itself;
//! * [`PROPERTIES`], from which the command line has its options, `key show` its lines, an import
//!   its columns and the console its fields.
//!
//! An entry reads `name: shape, type in a request, type in an answer`; `null` repeats the former
//! where it may be null. What a shape reads, keeps and shows is in [`shape`]. [`crate::rules`]
//! checks rules against the policy.

use std::collections::BTreeMap;

use keystile_core::key::{Digest, KeyId, Name};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::{Code, Error, Result, advised, refuse, refuse_all};
use crate::record::Status;
use crate::when;
use crate::wire::{
    self, Environment, Id, KeyStatus, LimitWords, Range, Span, Time, TimeWords, is_default,
};
use crate::words;
use keystile_core::advice::Advice;
use shape::{
    CertificateIdentity, Date, Length, Limits, Origin, OwnPlan, Pairs, Ranges, Scope, Shape, Text,
    Texts,
};

/// How labels are typed in the console.
pub const LABELS: &str =
    "Separated by spaces; quote a value that contains any: owner=\"Jane Doe\".";

mod concern;
mod order;
mod property;
pub mod shape;
#[macro_use]
mod structs;
mod used;

pub use concern::KeyConcern;
pub use order::KeyOrder;
pub use property::Property;
pub use used::KeyUseView;

properties! {
    name: Text<{ words::NAME }>, String, String {
        issue: "Free text to tell keys apart.",
        update: "Free text.",
        view: "Free text.",
        option: "name" "TEXT",
        help: "Free text to tell keys apart", "Free text",
        heading: "name",
        field: "Name" "billing worker",
        hint: "To tell keys apart.", change "",
        imported: true,
    }

    scopes: Texts<Scope>, Vec<String>, Vec<String> {
        issue: "Scopes.",
        update: "All its scopes.",
        view: "Its scopes.",
        option: "scope" "SCOPE",
        help: "A scope; can be repeated",
            "A scope; all scopes given replace the present ones",
        heading: "scopes",
        field: "Scopes" "",
        hint: "What the key may do. Grant no more than it needs.", change "Separated by spaces.",
        imported: true,
    }

    plan: OwnPlan, Option<String>, Option<String> {
        issue: "A plan for the keys, in place of the client's.",
        update: "A plan for this key, or null for the client's plan.",
        null: Option<String>,
        view: #[serde(rename = "own_plan")] "Its own plan, if it has one.",
        option: "plan" "PLAN",
        help: "A plan for this key, in place of the client's", "A plan for this key",
        none: "no-plan" "Use the client's plan again",
        heading: "plan",
        field: "Own plan" "",
        hint: "", change "Empty: the client's plan.",
        imported: true,
    }

    limits: Limits, Vec<LimitWords>, Vec<String> {
        issue: "Limits for the keys, in place of the plan's.",
        update: "All limits of this key; empty for those of the plan.",
        view: "Its own limits, in place of the plan's.",
        option: "limit" "LIMIT",
        help: "A limit for this key, in place of the plan's: 100/1m, 100/1m:20 with a burst, 100/1m@client for all keys of the client together; can be repeated",
            "A limit for this key; all limits given replace the present ones",
        none: "no-limit" "Use the limits of the plan again",
        heading: "limits",
        field: "Own limits" "100/1m:20",
        hint: "In place of the plan's.", change "Empty: the limits of the plan.",
        imported: false,
    }

    not_before: Date, Option<TimeWords>, Option<Time> {
        issue: "When they become valid.",
        update: "When it becomes valid, or null for immediately.",
        null: Option<TimeWords>,
        view: "When it becomes valid.",
        option: "not-before" "WHEN",
        help: "When the key becomes valid", "When the key becomes valid",
        none: "no-not-before" "The key is valid immediately",
        heading: "not before",
        field: "Not before" "24h, 2027-01-31",
        hint: "",
        imported: true,
    }

    expires: Date, Option<TimeWords>, Option<Time> {
        issue: "When they expire.",
        update: "When it expires, or null for never.",
        null: Option<TimeWords>,
        view: "When it expires.",
        option: "expires" "WHEN",
        help: "When the key expires", "When the key expires",
        none: "no-expiry" "The key never expires",
        heading: "expires",
        field: "Expires" "90d, 2027-01-31",
        hint: "Empty: never. An expiry ensures that no key is forgotten.",
            change "Empty: never.",
        imported: true,
    }

    cidrs: Ranges, Vec<Range>, Vec<String> {
        issue: "Address ranges from which they may be used.",
        update: "All address ranges from which it may be used; empty for everywhere.",
        view: "Address ranges from which it may be used.",
        option: "cidr" "CIDR",
        help: "An address range from which the key may be used; can be repeated",
            "An address range from which the key may be used; all given replace the present ones",
        none: "no-cidr" "The key may be used from everywhere",
        heading: "networks",
        field: "Allowed networks" "10.0.0.0/8",
        hint: "", change "Empty: from everywhere.",
        imported: true,
    }

    deny_cidrs: Ranges, Vec<Range>, Vec<String> {
        issue: "Address ranges from which they may not be used.",
        update: "All address ranges from which it may not be used.",
        view: "Address ranges from which it may not be used.",
        option: "deny-cidr" "CIDR",
        help: "An address range from which the key may not be used; can be repeated",
            "An address range from which the key may not be used; all given replace the present ones",
        none: "no-deny-cidr" "No address range is excluded",
        heading: "not from",
        field: "Denied networks" "10.9.0.0/16",
        hint: "",
        imported: true,
    }

    origins: Texts<Origin>, Vec<String>, Vec<String> {
        issue: "Web origins from which they may be used.",
        update: "All web origins from which it may be used; empty for any.",
        view: "Web origins from which it may be used.",
        option: "origin" "ORIGIN",
        help: "A web origin from which the key may be used; can be repeated",
            "A web origin from which the key may be used; all given replace the present ones",
        none: "no-origin" "The key may be used from any origin",
        heading: "origins",
        field: "Origins" "https://app.example.com",
        hint: "A publishable key needs one.",
        imported: true,
    }

    certificates: Texts<CertificateIdentity>, Vec<String>, Vec<String> {
        issue: "Identities of client certificates that they are bound to: `spiffe://…` or `dns:…`.",
        update: "All identities of client certificates that it is bound to: `spiffe://…` or\n`dns:…`; empty for any connection.",
        view: #[serde(default)] "Identities of the client certificates that it is bound to.",
        option: "certificate" "IDENTITY",
        help: "An identity of a client certificate that the key is bound to, spiffe://example.org/billing or dns:api.example.com; can be repeated",
            "An identity of a client certificate that the key is bound to; all given replace the present ones",
        none: "no-certificate" "The key may be used without a client certificate",
        heading: "certificates",
        field: "Client certificates" "spiffe://example.org/billing",
        hint: "The key works only with one of these.",
        imported: true,
    }

    labels: Pairs, BTreeMap<String, String>, BTreeMap<String, String> {
        issue: "Labels of your choice.",
        update: "Labels to set.",
        view: "Labels of your choice.",
        option: "label" "NAME=VALUE",
        help: "A label of your choice; can be repeated", "A label to set; can be repeated",
        heading: "labels",
        field: "Labels" "team=web",
        hint: LABELS,
            change LABELS,
        imported: true,
    }

    rotate_every: Length, Option<Span>, Option<Span> {
        issue: "How often they are to be replaced; by default as their plan says.",
        update: "How often it is to be replaced, or null for what its plan says.",
        null: Option<Span>,
        view: "How often it is to be replaced; if null, as its plan says.",
        option: "rotate-every" "DURATION",
        help: "How often the key is to be replaced [default: as the plan says]",
            "How often the key is to be replaced",
        none: "no-rotate-every" "As the plan says",
        heading: "rotated every",
        field: "Rotate every" "90d",
        hint: "",
        imported: false,
    }

    grace: Length, Option<Span>, Option<Span> {
        issue: "How long the old key works after that; by default as their plan says.",
        update: "How long the old key works after that, or null for what its plan says.",
        null: Option<Span>,
        view: "How long the old key works after that; if null, as its plan says.",
        option: "grace" "DURATION",
        help: "How long the old key works after that [default: as the plan says]", "How long the old key works after that",
        none: "no-grace" "As the plan says",
        heading: "grace",
        field: "Grace period" "7d",
        hint: "How long the old key works after a rotation.",
        imported: false,
    }
}

fn unknown(name: &str) -> Error {
    refuse(
        Code::FieldUnknown,
        format_args!("`{name}` is not a property of a key"),
        "use one of those that the documentation lists",
    )
}

/// The refusal of what was typed.
fn wrong(name: &str, all: &[Advice]) -> Error {
    let one = |advice| advised(Code::InvalidValue, advice).into_faults();
    refuse_all(all.iter().flat_map(one).collect()).field(name.to_owned())
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

impl Key {
    /// Its status at a time, in seconds since the epoch.
    pub fn status(&self, now: u64) -> Status {
        if self.revoked.is_some() {
            Status::Revoked
        } else if self.effective_expiry().is_some_and(|end| end <= now) {
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
    pub fn effective_expiry(&self) -> Option<u64> {
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
        all.insert("type", json!(KeyType::from_rules(rules).as_str()));
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

/// For servers, or for browsers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// Kept secret on a server
    #[default]
    Secret,
    /// Visible in a web page, and bound to its origin
    Publishable,
}

impl KeyType {
    /// The type of a key with these rules.
    pub fn from_rules(rules: &Rules) -> Self {
        match rules.publishable {
            true => Self::Publishable,
            false => Self::Secret,
        }
    }

    /// The type as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Publishable => "publishable",
        }
    }
}

/// Called after each key with the number of keys so far.
pub type Progress = Option<Box<dyn FnMut(u32) + Send>>;

impl Update {
    /// A change that changes nothing yet.
    pub fn nothing_for(id: KeyId) -> Self {
        Self::nothing(Id(id))
    }
}

impl KeyView {
    /// When it stops working by itself, in seconds since the epoch.
    pub fn effective_expiry(&self) -> Option<u64> {
        let ends = [&self.expires, &self.works_until];
        ends.into_iter().flatten().map(|t| t.0).min()
    }
}

#[cfg(test)]
mod tests;
