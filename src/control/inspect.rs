//! A keyset read back from a file: is it whole, what is in it, what changed.

use std::collections::BTreeMap;

use keystile::key::{KeyId, Prefix};
use keystile::keyset::envelope;
use keystile::keyset::{Entry, Keyset, Lookup, Manifest, PAGE, Refusal, SigningKeys};
use keystile::policy::RawPolicy;
use serde_json::{Value, json};

use crate::record::limit_words;
use crate::when;

/// Bytes of a record in the index, whose first 16 are the digest's.
const RECORD: usize = 32;
/// Bytes that the directory spends on the first digest of an index page, and on the hash
/// of any page.
const FIRST: usize = 16;
const HASH: usize = 32;

/// A keyset whose signature holds.
pub struct Opened {
    /// What was signed.
    pub manifest: Manifest,
    /// As the filter loads it.
    pub keyset: Keyset,
    prefixes: Vec<Prefix>,
}

/// Reads a plugin configuration.
pub fn open(bytes: &[u8], keys: &SigningKeys) -> Result<Opened, Refusal> {
    let (manifest, pages) = envelope::open(&mut &bytes[..], keys, |_| {})?;
    let keyset = Keyset::load(&mut &bytes[..], keys, |_| {})?;
    let count = keyset.len();
    let index_pages = (count * RECORD).div_ceil(PAGE);
    let index_at = index_pages * FIRST + keyset.pages() * HASH;
    let index = pages.get(index_at..).unwrap_or_default();
    let prefixes = index
        .chunks_exact(RECORD)
        .take(count)
        .filter_map(|record| record.first_chunk().copied())
        .collect();
    Ok(Opened {
        manifest,
        keyset,
        prefixes,
    })
}

impl Opened {
    /// Looks every key up, which checks every page that a request could touch. Gives the
    /// number of keys that cannot be read.
    pub fn unreadable(&self) -> usize {
        let found = self.entries().count();
        self.keyset.len() - found
    }

    /// Every key that can be read.
    pub fn entries(&self) -> impl Iterator<Item = (Prefix, Entry<'_>)> {
        self.prefixes
            .iter()
            .filter_map(|p| match self.keyset.lookup(p) {
                Lookup::Found(entry) => Some((*p, entry)),
                _ => None,
            })
    }

    /// A key as JSON.
    pub fn entry_json(&self, e: &Entry<'_>) -> Value {
        let keyset = &self.keyset;
        let scope = |n: u16| keyset.policy.scopes.get(usize::from(n)).cloned();
        let plan = e
            .plan
            .and_then(|n| keyset.policy.plans.keys().nth(usize::from(n)));
        let origins: Vec<String> = e
            .origins()
            .map(|o| String::from_utf8_lossy(o).into_owned())
            .collect();
        let limits: Vec<_> = e.limits().collect();
        json!({
            "id": e.id.to_string(),
            "client": e.client,
            "environment": keyset.environments.get(usize::from(e.environment)),
            "type": if e.publishable { "publishable" } else { "secret" },
            "imported": e.foreign,
            "disabled": e.disabled,
            "revoked": e.revoked,
            "expires": e.expires.map(when::rfc3339),
            "not_before": (e.not_before > 0).then(|| when::rfc3339(e.not_before)),
            "works_until": e.overlap_end.map(when::rfc3339),
            "scopes": e.scopes().filter_map(scope).collect::<Vec<_>>(),
            "plan": plan,
            "limits": limit_words(&limits),
            "bound_to_networks": e.has_networks(),
            "origins": origins,
            "lineage": e.lineage.to_string(),
        })
    }
}

/// What sets one keyset apart from another.
#[derive(Debug, Default, PartialEq)]
pub struct Difference {
    /// Only in the second.
    pub added: Vec<(KeyId, Value)>,
    /// Only in the first.
    pub removed: Vec<(KeyId, Value)>,
    /// In both: field, before, after.
    pub changed: Vec<(KeyId, Vec<Change>)>,
    /// Of the policy.
    pub policy: Vec<Change>,
}

/// A field that differs.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// Its path.
    pub field: String,
    /// In the first; null if it is not there.
    pub before: Value,
    /// In the second; null if it is not there.
    pub after: Value,
}

impl Difference {
    /// Compares.
    pub fn between(a: &Opened, b: &Opened) -> Self {
        let by_id = |o: &Opened| -> BTreeMap<KeyId, Value> {
            o.entries().map(|(_, e)| (e.id, o.entry_json(&e))).collect()
        };
        let (before, mut after) = (by_id(a), by_id(b));
        let mut out = Self::default();
        for (id, old) in before {
            match after.remove(&id) {
                None => out.removed.push((id, old)),
                Some(new) if new != old => {
                    let mut changes = Vec::new();
                    compare("", &old, &new, &mut changes);
                    out.changed.push((id, changes));
                }
                Some(_) => {}
            }
        }
        out.added.extend(after);
        let policy = |p: &RawPolicy| serde_json::to_value(p).unwrap_or_default();
        compare(
            "",
            &policy(&a.manifest.policy),
            &policy(&b.manifest.policy),
            &mut out.policy,
        );
        out
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Fields that differ, by path. Lists are one field: their order has a meaning, and an
/// element put in front would make all others differ.
fn compare(path: &str, a: &Value, b: &Value, out: &mut Vec<Change>) {
    if a == b {
        return;
    }
    let (Value::Object(x), Value::Object(y)) = (a, b) else {
        out.push(Change {
            field: path.to_owned(),
            before: a.clone(),
            after: b.clone(),
        });
        return;
    };
    let only_y = y.keys().filter(|k| !x.contains_key(*k));
    for name in x.keys().chain(only_y) {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let value =
            |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or(Value::Null);
        compare(&path, &value(x), &value(y), out);
    }
}
