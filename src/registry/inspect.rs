//! A keyset read back from a file: whether it is intact, what is in it, what has changed.

use std::collections::BTreeMap;

use keystile_core::key::{KeyId, Prefix};
use keystile_core::keyset::envelope;
use keystile_core::keyset::{Entry, Keyset, KeysetRefusal, Manifest, Network, Signed, SigningKeys};
use keystile_core::policy::RawPolicy;
use serde_json::{Value, json};

use keystile_model::record::limit_words;
use keystile_model::when;

/// A keyset with a valid signature.
pub struct Opened {
    /// What was signed.
    pub manifest: Manifest,
    /// As the filter loads it.
    pub keyset: Keyset,
}

/// Reads a plugin configuration.
pub fn open(bytes: &[u8], keys: &SigningKeys) -> Result<Opened, KeysetRefusal> {
    match envelope::open(&mut &bytes[..], keys, |_| {})? {
        (Signed::Keyset(manifest, name), pages) => Ok(Opened {
            keyset: Keyset::new(Manifest::clone(&manifest), name, pages)?,
            manifest: *manifest,
        }),
        (Signed::Overlay(_), _) => Err(KeysetRefusal::Overlay),
    }
}

impl Opened {
    /// Reads every key, which checks every page that a request could touch. Gives the
    /// number of keys that cannot be read.
    pub fn unreadable(&self) -> usize {
        let found = self.entries().count();
        self.keyset.len() - found
    }

    /// Every key that can be read.
    pub fn entries(&self) -> impl Iterator<Item = (Prefix, Entry<'_>)> {
        self.keyset.entries()
    }

    /// A key as JSON.
    pub fn entry_json(&self, e: &Entry<'_>) -> Value {
        let keyset = &self.keyset;
        let scope = |n: u16| keyset.policy.scopes.get(usize::from(n)).cloned();
        let plan = e
            .plan
            .and_then(|n| keyset.policy.plans.keys().nth(usize::from(n)));
        let word = |w: &[u8]| String::from_utf8_lossy(w).into_owned();
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
            "allow": networks(e.allow()),
            "deny": networks(e.deny()),
            "origins": e.origins().map(word).collect::<Vec<_>>(),
            "certificates": e.certificates().map(word).collect::<Vec<_>>(),
            "lineage": e.lineage.to_string(),
        })
    }
}

fn networks(list: impl Iterator<Item = Network>) -> Vec<String> {
    list.map(|n| format!("{}/{}", n.address, n.prefix_len))
        .collect()
}

/// The difference between two keysets.
#[derive(Debug, Default, PartialEq)]
pub struct Difference {
    /// Only in the second.
    pub added: Vec<(KeyId, Value)>,
    /// Only in the first.
    pub removed: Vec<(KeyId, Value)>,
    /// In both: field, before, after.
    pub changed: Vec<(KeyId, Vec<Change>)>,
    /// Differences of the policy.
    pub policy: Vec<Change>,
}

/// A field that differs.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// Its path.
    pub field: String,
    /// In the first version; null if absent.
    pub before: Value,
    /// In the second version; null if absent.
    pub after: Value,
}

impl Difference {
    /// Compares.
    pub fn between(a: &Opened, b: &Opened) -> Self {
        let by_id = |o: &Opened| -> BTreeMap<KeyId, Value> {
            o.entries().map(|(_, e)| (e.id, o.entry_json(&e))).collect()
        };
        let policies = (&a.manifest.policy, &b.manifest.policy);
        Self::between_entries(by_id(a), by_id(b), policies)
    }

    /// Compares keys by id, and policies.
    pub fn between_entries(
        before: BTreeMap<KeyId, Value>,
        mut after: BTreeMap<KeyId, Value>,
        policies: (&RawPolicy, &RawPolicy),
    ) -> Self {
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
            &policy(policies.0),
            &policy(policies.1),
            &mut out.policy,
        );
        out
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Fields that differ, by path. A list is one field: its order matters, and an element inserted at
/// the front would make all others differ.
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
