//! A key that stands in an export twice: wherever it is narrower, ended, disabled or left out, that
//! counts, in any order.

use std::collections::BTreeMap;

use keystile_model::import_lines::KeyLine;
use keystile_model::when::When;

use super::found::{Dead, Found};

impl Found {
    /// Keeps each key once.
    pub(crate) fn join_twice(&mut self, dead: &Dead) {
        let mut of: BTreeMap<String, Result<usize, String>> = BTreeMap::new();
        let mut kept: Vec<KeyLine> = Vec::new();
        for key in std::mem::take(&mut self.keys) {
            let first = of.get(&key.sha256).cloned();
            if let Some(at) = dead.get(&key.sha256) {
                self.leave(&key.place, format!("is the same key as {at}: left out"));
                continue;
            }
            match first {
                None => {
                    of.insert(key.sha256.clone(), Ok(kept.len()));
                    kept.push(key);
                }
                Some(Err(at)) => self.leave(&key.place, format!("is the same key as {at}")),
                Some(Ok(i)) => {
                    let Some(there) = kept.get_mut(i) else {
                        continue;
                    };
                    let at = there.place.clone();
                    self.leave(&key.place, format!("is the same key as {at}"));
                    if let Err(field) = join(there, &key) {
                        self.leave(
                            &at,
                            format!("is the same key as {}, with another `{field}`: left out, because it is unclear which counts", key.place),
                        );
                        there.sha256.clear();
                        of.insert(key.sha256.clone(), Err(at));
                    }
                }
            }
        }
        kept.retain(|key| !key.sha256.is_empty());
        self.keys = kept;
    }
}

/// Narrows a key to what both say. The field that cannot be joined, if there is one.
fn join(there: &mut KeyLine, other: &KeyLine) -> Result<(), &'static str> {
    // No place is narrower than the other in these.
    let same = [
        ("client", &there.client, &other.client),
        ("environment", &there.environment, &other.environment),
        ("type", &there.kind, &other.kind),
        ("plan", &there.plan, &other.plan),
    ];
    if let Some((field, ..)) = same.iter().find(|(_, one, other)| one != other) {
        return Err(field);
    }
    let both = [
        ("cidrs", &mut there.cidrs, &other.cidrs),
        ("origins", &mut there.origins, &other.origins),
        ("certificates", &mut there.certificates, &other.certificates),
    ];
    for (field, one, other) in both {
        if one.is_empty() {
            one.clone_from(other);
        } else if !other.is_empty() {
            one.retain(|word| other.contains(word));
            if one.is_empty() {
                return Err(field);
            }
        }
    }
    there.scopes.retain(|scope| other.scopes.contains(scope));
    for range in &other.deny_cidrs {
        if !there.deny_cidrs.contains(range) {
            there.deny_cidrs.push(range.clone());
        }
    }
    // Each limit of a key has a bucket of its own, and a request needs room in all of them.
    for limit in &other.limits {
        if !there.limits.contains(limit) {
            there.limits.push(limit.clone());
        }
    }
    there.disabled |= other.disabled;
    there.expires = stricter(&there.expires, &other.expires, true).ok_or("expires")?;
    there.not_before = stricter(&there.not_before, &other.not_before, false).ok_or("not_before")?;
    Ok(())
}

/// The earlier or later of two times; an empty one is none. `None` if it cannot be said.
pub fn stricter(one: &str, other: &str, earlier: bool) -> Option<String> {
    if other.is_empty() || one == other {
        return Some(one.to_owned());
    }
    if one.is_empty() {
        return Some(other.to_owned());
    }
    let (a, b) = match (one.parse().ok()?, other.parse().ok()?) {
        (When::At(a), When::At(b)) | (When::After(a), When::After(b)) => (a, b),
        _ => return None,
    };
    let first = if earlier { a <= b } else { a >= b };
    Some(if first { one } else { other }.to_owned())
}
