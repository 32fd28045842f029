//! What a key may do, described once. Each entry of the table below is a property that is given
//! when a key is issued and can be changed afterwards; everything that spells out such properties
//! is made from it:
//!
//! * [`Rules`], what the store keeps, and its part of the audit log;
//! * [`Issue`] and [`Update`], the requests, and [`KeyView`], the answer: JSON and OpenAPI;
//! * [`Draft`] and [`Patch`], the same requests with every value checked by itself;
//! * [`PROPERTIES`], from which the command line has its options, `key show` its lines, an import
//!   its columns and the console its fields.
//!
//! An entry reads `name: shape, type in a request, type in an answer`; `null` is the former once
//! more where it may be null. What a shape reads, keeps and shows is in [`shape`].
//! [`crate::rules`] checks rules against the policy.

use std::collections::BTreeMap;

use keystile_core::key::{KeyId, Name};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::{Error, Result, refuse_all};
use crate::record::Key;
use crate::wire::{
    self, Environment, Id, KeyStatus, LimitWords, Range, Span, Time, TimeWords, is_default,
};
use crate::words;
use shape::{
    Certificate, Date, Length, Limits, Origin, OwnPlan, Pairs, Ranges, Scope, Shape, Text, Texts,
};

/// How labels are typed in the console.
pub const LABELS: &str =
    "Separated by spaces; quote a value that contains any: owner=\"Jane Doe\".";

pub mod shape;
#[macro_use]
mod structs;

properties! {
    name: Text<{ words::NAME }>, String, String {
        issue: "Free text, to tell keys apart.",
        update: "Free text.",
        view: "Free text.",
        option: "name" "TEXT",
        help: "Free text, to tell keys apart", "Free text",
        heading: "name",
        field: "Name" "billing worker",
        hint: "To tell keys apart.", change "",
        imported: true,
    }

    scopes: Texts<Scope>, Vec<String>, Vec<String> {
        issue: "Permissions.",
        update: "All its permissions.",
        view: "Its permissions.",
        option: "scope" "SCOPE",
        help: "A permission; can be repeated",
            "A permission; repeated, they replace all that it has",
        heading: "scopes",
        field: "Scopes" "",
        hint: "What it may do. Give it no more than it needs.", change "Parted by spaces.",
        imported: true,
    }

    plan: OwnPlan, Option<String>, Option<String> {
        issue: "A plan of their own, in place of their client's.",
        update: "A plan of its own, or null for its client's.",
        null: Option<String>,
        view: #[serde(rename = "own_plan")] "Its own plan, if it has one.",
        option: "plan" "PLAN",
        help: "A plan of its own, in place of its client's", "A plan of its own",
        none: "no-plan" "Back to its client's plan",
        heading: "plan",
        field: "OwnPlan of its own" "",
        hint: "", change "Empty: its client's.",
        imported: true,
    }

    limits: Limits, Vec<LimitWords>, Vec<String> {
        issue: "Limits of their own, in place of the plan's.",
        update: "All limits of its own; none for those of its plan.",
        view: "Its own limits, in place of the plan's.",
        option: "limit" "LIMIT",
        help: "A limit of its own, in place of the plan's: 100/1m, 100/1m:20 with a burst, 100/1m@client for all keys of the client together; can be repeated",
            "A limit of its own; repeated, they replace all that it has",
        none: "no-limit" "Back to the limits of its plan",
        heading: "limits",
        field: "Limits of its own" "100/1m:20",
        hint: "In place of its plan's.", change "Empty: those of its plan.",
        imported: false,
    }

    not_before: Date, Option<TimeWords>, Option<Time> {
        issue: "When they begin.",
        update: "When it begins, or null for at once.",
        null: Option<TimeWords>,
        view: "When it begins.",
        option: "not-before" "WHEN",
        help: "When it begins", "When it begins",
        none: "no-not-before" "It is good at once",
        heading: "not before",
        field: "Begins" "24h, 2027-01-31",
        hint: "",
        imported: true,
    }

    expires: Date, Option<TimeWords>, Option<Time> {
        issue: "When they end.",
        update: "When it ends, or null for never.",
        null: Option<TimeWords>,
        view: "When it ends.",
        option: "expires" "WHEN",
        help: "When it ends", "When it ends",
        none: "no-expiry" "It never ends by itself",
        heading: "expires",
        field: "Ends" "90d, 2027-01-31",
        hint: "Empty: never. A key that ends is one that cannot be forgotten.",
            change "Empty: never.",
        imported: true,
    }

    cidrs: Ranges, Vec<Range>, Vec<String> {
        issue: "Ranges that they may be used from.",
        update: "All ranges that it may be used from; none for everywhere.",
        view: "Ranges that it may be used from.",
        option: "cidr" "CIDR",
        help: "An address range that it may be used from; can be repeated",
            "A range that it may be used from; repeated, they replace all that it has",
        none: "no-cidr" "It may be used from everywhere",
        heading: "networks",
        field: "Only from" "10.0.0.0/8",
        hint: "", change "Empty: from everywhere.",
        imported: true,
    }

    deny_cidrs: Ranges, Vec<Range>, Vec<String> {
        issue: "Ranges that they may not be used from.",
        update: "All ranges that it may not be used from.",
        view: "Ranges that it may not be used from.",
        option: "deny-cidr" "CIDR",
        help: "An address range that it may not be used from; can be repeated",
            "A range that it may not be used from; repeated, they replace all that it has",
        none: "no-deny-cidr" "No range is excluded",
        heading: "not from",
        field: "Never from" "10.9.0.0/16",
        hint: "",
        imported: true,
    }

    origins: Texts<Origin>, Vec<String>, Vec<String> {
        issue: "Origins that they may be used from.",
        update: "All origins that it may be used from; none for every page.",
        view: "Browser origins that it may be used from.",
        option: "origin" "ORIGIN",
        help: "A web page's origin that it may be used from; can be repeated",
            "An origin that it may be used from; repeated, they replace all that it has",
        none: "no-origin" "It may be used from every page",
        heading: "origins",
        field: "Origins" "https://app.example.com",
        hint: "A publishable key needs one.",
        imported: true,
    }

    certificates: Texts<Certificate>, Vec<String>, Vec<String> {
        issue: "Identities of client certificates that they may be used with: `spiffe://…` or `dns:…`.",
        update: "All identities of client certificates that it may be used with: `spiffe://…` or\n`dns:…`; none for any connection.",
        view: #[serde(default)] "Identities of client certificates that it may be used with.",
        option: "certificate" "IDENTITY",
        help: "An identity of a client certificate that it may be used with, spiffe://example.org/billing or dns:api.example.com; can be repeated",
            "An identity of a client certificate that it may be used with; repeated, they replace all that it has",
        none: "no-certificate" "It may be used without a client certificate",
        heading: "certificates",
        field: "Client certificates" "spiffe://example.org/billing",
        hint: "Of no use without one of them.",
        imported: true,
    }

    labels: Pairs, BTreeMap<String, String>, BTreeMap<String, String> {
        issue: "Free pairs.",
        update: "Pairs to set.",
        view: "Free pairs.",
        option: "label" "NAME=VALUE",
        help: "A free pair; can be repeated", "A free pair to set; can be repeated",
        heading: "labels",
        field: "Labels" "team=web",
        hint: LABELS,
            change LABELS,
        imported: true,
    }

    rotate_every: Length, Option<Span>, Option<Span> {
        issue: "After how long they are to give way to new ones; otherwise as their plan says.",
        update: "After how long it is to give way to a new one, or null for what its plan says.",
        null: Option<Span>,
        view: "After how long it is to give way to a new one; otherwise as its plan says.",
        option: "rotate-every" "DURATION",
        help: "After how long it is to give way to a new one [default: as its plan says]",
            "After how long it is to give way to a new one",
        none: "no-rotate-every" "As its plan says",
        heading: "rotated every",
        field: "Rotate every" "90d",
        hint: "",
        imported: false,
    }

    grace: Length, Option<Span>, Option<Span> {
        issue: "How long they then go on; otherwise as their plan says.",
        update: "How long it then goes on, or null for what its plan says.",
        null: Option<Span>,
        view: "How long it then goes on; otherwise as its plan says.",
        option: "grace" "DURATION",
        help: "How long it then goes on [default: as its plan says]", "How long it then goes on",
        none: "no-grace" "As its plan says",
        heading: "grace",
        field: "Works on for" "7d",
        hint: "After it was rotated.",
        imported: false,
    }
}

/// A property of keys, as the surfaces speak of it.
pub struct Property {
    /// Its name in JSON, in the audit log and in the header of an import.
    pub name: &'static str,
    /// Its option on the command line, without the dashes.
    pub option: &'static str,
    /// What stands behind the option.
    pub value: &'static str,
    /// It holds several words.
    pub many: bool,
    /// Checks one word.
    pub check: fn(&str) -> std::result::Result<(), String>,
    /// What the option says of a new key.
    pub issue_help: &'static str,
    /// What it says of a change.
    pub update_help: &'static str,
    /// The option that empties it, and what that one says; none if there is no such option.
    pub none: Option<(&'static str, &'static str)>,
    /// Its line in `key show`.
    pub heading: &'static str,
    /// Its label in the console.
    pub label: &'static str,
    /// What could stand in its field there.
    pub placeholder: &'static str,
    /// What is said below its field for a new key.
    pub hint: &'static str,
    /// The same in the form that changes a key; none if it is not in that form.
    pub change_hint: Option<&'static str>,
    /// It is a column of an import.
    pub imported: bool,
}

/// The refusal of what was typed.
fn wrong(name: &str, words: Vec<String>) -> Error {
    refuse_all(
        words
            .into_iter()
            .map(|e| format!("`{name}`: {e}"))
            .collect(),
    )
}

impl Property {
    /// What an option, a field or a column holds, as words: one, or several that were parted.
    pub fn words(&self, text: &str, parted: impl Fn(char) -> bool) -> Vec<String> {
        match self.many {
            true => text
                .split(parted)
                .filter(|w| !w.is_empty())
                .map(str::to_owned)
                .collect(),
            false if text.is_empty() => Vec::new(),
            false => vec![text.to_owned()],
        }
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
    pub fn of(rules: &Rules) -> Self {
        match rules.publishable {
            true => Self::Publishable,
            false => Self::Secret,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Publishable => "publishable",
        }
    }
}

/// Hears after each key how many there are.
pub type Progress = Option<Box<dyn FnMut(u32) + Send>>;

/// How a key was used, as far as the policy has it noted: requests that were let through.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyUse {
    /// When first.
    pub first_used: Option<Time>,
    /// When last, to the minute.
    pub last_used: Option<Time>,
    /// From where first.
    pub first_address: Option<String>,
    /// From where last.
    pub last_address: Option<String>,
    /// By what last.
    pub last_agent: Option<String>,
}

impl Update {
    /// Changes nothing about a key.
    pub fn of(id: KeyId) -> Self {
        Self::nothing(Id(id))
    }
}

impl KeyView {
    /// When it ends by itself, in seconds.
    pub fn ends(&self) -> Option<u64> {
        let of = |t: &Option<Time>| t.as_ref().map(|t| t.0);
        match (of(&self.expires), of(&self.works_until)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

#[cfg(test)]
mod tests;
