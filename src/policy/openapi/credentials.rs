//! Security schemes as places for keys.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Document, LocatedOperation, Scheme};
use super::extensible::Requirement;
use super::notes::Notes;
use super::reference::DocumentFiles;
use keystile_model::error::Result;

/// Words before a key in `Authorization` that descriptions mention.
const WORDS: [&str; 9] = [
    "Bearer", "Token", "ApiKey", "Api-Key", "Key", "Bot", "GenieKey", "SSWS", "Basic",
];

/// The schemes that operations require.
pub struct Schemes {
    /// By the names in requirements; none for one that is not described.
    all: BTreeMap<String, Option<Scheme>>,
    /// What operations require, each once.
    requirements: BTreeSet<BTreeSet<String>>,
}

impl Schemes {
    /// Those of a document.
    ///
    /// # Errors
    /// A reference that leads nowhere.
    pub fn new(
        document: &Document,
        operations: &[(String, LocatedOperation)],
        files: &DocumentFiles<'_>,
        notes: &mut Notes,
    ) -> Result<Self> {
        let lists = operations
            .iter()
            .filter_map(|(_, f)| f.operation.security.as_ref());
        let all: Vec<&Requirement> = lists.chain(&document.security).flatten().collect();
        let all: Vec<BTreeSet<String>> = all
            .iter()
            .map(|r| r.schemes(|name| document.has_scheme(name)))
            .map(|schemes| schemes.into_keys().cloned().collect())
            .collect();
        let names: BTreeSet<&String> = all.iter().flatten().collect();
        let mut schemes = BTreeMap::new();
        for name in names {
            let scheme = document.scheme(name, files)?;
            if scheme.is_none() {
                notes.add(
                    &format!("security scheme `{name}`"),
                    "is not described in this document",
                );
            }
            schemes.insert(name.clone(), scheme);
        }
        Ok(Self {
            all: schemes,
            requirements: all.into_iter().collect(),
        })
    }

    /// Whether a key can satisfy a scheme.
    pub fn stands_for_key(&self, name: &str) -> bool {
        let Some(Some(scheme)) = self.all.get(name) else {
            return false;
        };
        match scheme.kind.as_str() {
            "apiKey" | "oauth2" | "openIdConnect" => true,
            "http" => ["bearer", "basic"]
                .iter()
                .any(|s| scheme.scheme.eq_ignore_ascii_case(s)),
            _ => false,
        }
    }

    /// Where keys are sent, as a policy writes it: `{header: x-api-key}`.
    pub fn credentials(&self, notes: &mut Notes) -> Vec<String> {
        let mut out = Vec::new();
        for name in self.looked_at(notes) {
            let Some(Some(scheme)) = self.all.get(&name) else {
                continue;
            };
            let line = line(scheme, &format!("security scheme `{name}`"), notes);
            out.extend(line.filter(|line| !out.contains(line)));
        }
        out
    }

    /// The schemes whose places are used: only one of several that a request needs at once, because
    /// a request has one key. The values in the other places are passed on to the upstream.
    fn looked_at(&self, notes: &mut Notes) -> Vec<String> {
        let mut chosen: BTreeSet<String> = BTreeSet::new();
        let keys = |r: &BTreeSet<String>| -> Vec<String> {
            let keys = r.iter().filter(|name| self.stands_for_key(name));
            keys.cloned().collect()
        };
        let mut all: Vec<Vec<String>> = self.requirements.iter().map(keys).collect();
        all.sort_by_key(Vec::len);
        for together in &all {
            if !together.iter().any(|name| chosen.contains(name)) {
                chosen.extend(together.iter().min_by_key(|name| self.rank(name)).cloned());
            }
        }
        for together in &all {
            let (looked, left): (Vec<&String>, Vec<&String>) =
                together.iter().partition(|name| chosen.contains(*name));
            let looked: Vec<String> = looked.iter().map(|n| format!("`{n}`")).collect();
            for name in left {
                notes.add(
                    &format!("security scheme `{name}`"),
                    format!(
                        "is required together with {0}, but a request carries only one key: `credentials` lists only {0} (if this one is the key, list it there instead)",
                        looked.join(", ")
                    ),
                );
            }
            if looked.len() > 1 {
                notes.add(
                    &format!("security schemes {}", looked.join(", ")),
                    "are required together in one place and each alone in another: a request with two different keys is refused",
                );
            }
        }
        chosen.into_iter().collect()
    }

    /// Lower the more likely a scheme carries the secret.
    fn rank(&self, name: &str) -> (usize, String) {
        let header = match self.all.get(name) {
            Some(Some(scheme)) => scheme.name.to_ascii_lowercase(),
            _ => String::new(),
        };
        let words: [&[&str]; 2] = [&["secret"], &["key", "token", "auth"]];
        let rank = words
            .iter()
            .position(|words| words.iter().any(|w| header.contains(w)))
            .unwrap_or(words.len());
        (rank, name.to_owned())
    }
}

fn line(scheme: &Scheme, place: &str, notes: &mut Notes) -> Option<String> {
    let name = &scheme.name;
    let plain = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    Some(match (scheme.kind.as_str(), scheme.place.as_str()) {
        ("apiKey", "header") if name.eq_ignore_ascii_case("authorization") => {
            authorization(scheme, place, notes)
        }
        ("apiKey", "header") if plain => {
            format!("{{header: \"{}\"}}", name.to_ascii_lowercase())
        }
        ("apiKey", "query") if plain => format!("{{query: \"{name}\"}}"),
        ("apiKey", "cookie") if plain => format!("{{cookie: \"{name}\"}}"),
        ("apiKey", _) => {
            notes.add(
                place,
                "is in a place that a policy cannot express; left out",
            );
            return None;
        }
        ("http", _) if scheme.scheme.eq_ignore_ascii_case("basic") => {
            notes.add(
                place,
                "the key is expected as the user name of HTTP Basic (write `basic: password` if it is the password)",
            );
            "{basic: username}".to_owned()
        }
        _ => "{header: authorization, scheme: Bearer}".to_owned(),
    })
}

/// A key in `Authorization`, with the word before it that the description mentions.
fn authorization(scheme: &Scheme, place: &str, notes: &mut Notes) -> String {
    match word(&scheme.description) {
        Some("Bearer") => "{header: authorization, scheme: Bearer}".to_owned(),
        Some(word) => {
            notes.add(
                place,
                format!(
                    "the key is expected as `Authorization: {word} KEY`, as the description says"
                ),
            );
            format!("{{header: authorization, scheme: {word}}}")
        }
        None => {
            notes.add(
                place,
                "does not say which scheme precedes the key in `Authorization`: none is expected (if clients send one, add it, such as `scheme: Token`)",
            );
            "{header: authorization}".to_owned()
        }
    }
}

/// The word before a key that a description mentions: in quotes, or before a key.
fn word(description: &str) -> Option<&'static str> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let says = |word: &&str| {
        description.match_indices(*word).any(|(at, _)| {
            let (before, after) = description.split_at(at);
            let after = after.get(word.len()..).unwrap_or_default();
            let quoted = before.ends_with(['"', '\'', '`', '“', '‘', ':'])
                || before.ends_with(": ")
                || before.ends_with("prefix ");
            let alone = !before.ends_with(is_letter) && !after.starts_with(is_letter);
            let placeholder = after.trim_start().starts_with(['<', '{', '[', '$']);
            alone && (quoted || placeholder)
        })
    };
    WORDS.iter().find(|w| says(w)).copied()
}
