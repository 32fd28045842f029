//! `security` as scopes: all of one requirement, any of several.

use std::collections::{BTreeMap, BTreeSet};

use keystile_core::hex;
use keystile_core::policy::is_scope;
use sha2::{Digest as _, Sha256};

use super::credentials::Schemes;
use super::document::{Document, PathOperation};
use super::notes::Notes;

/// What a route requires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// Nothing.
    Open,
    /// A valid key, if there is one.
    Optional,
    /// A key with all of some scopes, and one of others.
    Key {
        /// All of these.
        scopes: BTreeSet<String>,
        /// One of these, if there are any.
        any: BTreeSet<String>,
    },
}

impl Demand {
    /// A key, whatever it holds.
    pub fn key() -> Self {
        Self::Key {
            scopes: BTreeSet::new(),
            any: BTreeSet::new(),
        }
    }

    /// Whether a request needs a key.
    pub fn needs_key(&self) -> bool {
        matches!(self, Self::Key { .. })
    }

    /// What satisfies both.
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Open, d) | (d, Self::Open) => d.clone(),
            (Self::Optional, d) | (d, Self::Optional) => d.clone(),
            (
                Self::Key { scopes, any },
                Self::Key {
                    scopes: more,
                    any: others,
                },
            ) => {
                let mut scopes: BTreeSet<String> = scopes.union(more).cloned().collect();
                let any = if any.is_empty() || any == others {
                    others.clone()
                } else {
                    // A route has only one such list: a key that holds all of the second also holds
                    // one.
                    scopes.extend(others.iter().cloned());
                    any.clone()
                };
                Self::Key { scopes, any }
            }
        }
    }
}

/// What an operation requires.
pub fn demand(
    document: &Document,
    schemes: &Schemes,
    operation: &PathOperation,
    place: &str,
    notes: &mut Notes,
) -> Demand {
    let Some(list) = operation.security.as_ref().or(document.security.as_ref()) else {
        notes.add(
            place,
            "has no `security`; any key is accepted, whatever its scopes (`security: []` would make it open)",
        );
        return Demand::key();
    };
    let mut optional = false;
    let mut dropped = false;
    let mut alternatives: Vec<BTreeSet<String>> = Vec::new();
    for requirement in list {
        let allows_anyone = requirement.allows_anyone();
        let requirement = requirement.schemes(|name| document.has_scheme(name));
        if allows_anyone {
            optional = true;
            continue;
        }
        match alternative(schemes, &requirement, place, notes) {
            Some(scopes) => alternatives.push(scopes),
            None => dropped = true,
        }
    }
    match (optional, dropped, alternatives.is_empty()) {
        (_, false, true) => Demand::Open,
        (true, true, true) => Demand::Optional,
        (false, true, true) => Demand::key(),
        (true, ..) => {
            if alternatives.iter().any(|a| !a.is_empty()) {
                notes.add(
                    place,
                    "requires scopes but also allows requests without a key; the scopes are not required",
                );
            }
            Demand::Optional
        }
        (false, _, false) => any_of(alternatives, place, notes),
    }
}

/// The scopes of one requirement; none if no key could satisfy it.
fn alternative(
    schemes: &Schemes,
    requirement: &BTreeMap<&String, &[String]>,
    place: &str,
    notes: &mut Notes,
) -> Option<BTreeSet<String>> {
    let mut scopes = BTreeSet::new();
    let mut keys = 0;
    let mut others = Vec::new();
    for (name, asked) in requirement {
        if schemes.stands_for_key(name) {
            keys += 1;
            scopes.extend(asked.iter().map(|s| scope(s, place, notes)));
        } else {
            others.push(format!("`{name}`"));
        }
    }
    if requirement.is_empty() {
        notes.add(
            place,
            "names no security scheme in a requirement, but other fields; a key is required",
        );
        return None;
    }
    let others = others.join(", ");
    if keys == 0 {
        notes.add(
            place,
            format!("requires {others}, which is not an API key; a key is required anyway"),
        );
        return None;
    }
    if !others.is_empty() {
        notes.add(
            place,
            format!("requires {others} in addition to a key; that is not checked here"),
        );
    }
    Some(scopes)
}

/// Any of several sets, as one list of scopes that are all required and one of which any is.
fn any_of(alternatives: Vec<BTreeSet<String>>, place: &str, notes: &mut Notes) -> Demand {
    // A key that holds more than another alternative requires satisfies that one.
    let mut least: Vec<BTreeSet<String>> = Vec::new();
    let mut left: BTreeSet<String> = BTreeSet::new();
    for a in alternatives {
        if least.iter().any(|l| l.is_subset(&a)) {
            left.extend(a);
            continue;
        }
        for more in least.extract_if(.., |l| a.is_subset(l)) {
            left.extend(more);
        }
        least.push(a);
    }
    left.retain(|scope| !least.iter().any(|l| l.contains(scope)));
    if !left.is_empty() {
        let words: Vec<String> = left.into_iter().collect();
        notes.add(
            place,
            format!(
                "one alternative requires `{}`, another does not; a key does not need it",
                words.join(" ")
            ),
        );
    }
    let common: BTreeSet<String> = match least.split_first() {
        None => return Demand::key(),
        Some((first, rest)) => first
            .iter()
            .filter(|s| rest.iter().all(|l| l.contains(*s)))
            .cloned()
            .collect(),
    };
    let rests: Vec<BTreeSet<String>> = least
        .iter()
        .map(|l| l.difference(&common).cloned().collect())
        .collect();
    if rests.iter().all(|r| r.len() == 1) && rests.len() > 1 {
        return Demand::Key {
            scopes: common,
            any: rests.into_iter().flatten().collect(),
        };
    }
    let mut least = least.into_iter();
    let scopes = least.next().unwrap_or_default();
    for other in least {
        let words: Vec<String> = other.into_iter().collect();
        notes.add(
            place,
            format!(
                "`{}` would also be enough, but a policy cannot express two alternatives of several scopes; the first is required",
                words.join(" ")
            ),
        );
    }
    Demand::Key {
        scopes,
        any: BTreeSet::new(),
    }
}

/// A scope as a policy can write it.
fn scope(text: &str, place: &str, notes: &mut Notes) -> String {
    if is_scope(text) {
        return text.to_owned();
    }
    let mut plain: String = text
        .chars()
        .map(|c| {
            let mut utf8 = [0; 4];
            if is_scope(c.encode_utf8(&mut utf8)) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let mark = hex::start(Sha256::digest(text.as_bytes()), 4);
    plain.truncate(55);
    let name = format!("{plain}-{mark}");
    let shown: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
    notes.add(
        place,
        format!("scope `{shown}` is not a valid scope in a policy; it becomes `{name}`"),
    );
    name
}
