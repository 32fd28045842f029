//! How many living keys a change of the policy lets in somewhere, or keeps out.

use std::collections::BTreeSet;

use keystile_core::policy::Policy;
use keystile_model::error::Result;
use keystile_policy::diff::{Access, RouteChange};
use keystile_store::{LivingKeys, Tx};

/// The changes whose keys are counted: each group of keys is held against each of them.
const COUNTED: usize = 200;

/// Living keys that a change concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeysConcerned {
    /// Keys that can call something that they could not.
    pub gain: u64,
    /// Keys that can no longer call something.
    pub lose: u64,
}

/// Counts them for the first changes of the routes, in their order.
///
/// # Errors
/// Those of the store.
pub fn concerned(
    tx: &Tx<'_>,
    now: u64,
    (before, after): (&Policy, &Policy),
    changes: &[RouteChange],
) -> Result<Vec<KeysConcerned>> {
    let mut all = vec![KeysConcerned::default(); changes.len().min(COUNTED)];
    if all.is_empty() {
        return Ok(all);
    }
    tx.each_living_group(now, |keys| {
        let (then, since) = (scopes_under(before, keys), scopes_under(after, keys));
        for (one, change) in all.iter_mut().zip(changes) {
            let (was, is) = &change.admits;
            match (passes(was, then.as_ref()), passes(is, since.as_ref())) {
                (false, true) => one.gain = one.gain.saturating_add(keys.count),
                (true, false) => one.lose = one.lose.saturating_add(keys.count),
                _ => {}
            }
        }
    })?;
    Ok(all)
}

/// The scopes that count under a policy; none if it accepts no keys of their environment.
fn scopes_under(policy: &Policy, keys: &LivingKeys) -> Option<BTreeSet<String>> {
    let accepted = policy.environments.iter();
    if !accepted.map(|e| e.as_str()).any(|e| e == keys.environment) {
        return None;
    }
    let counts = |s: &&String| !keys.publishable || policy.publishable_scopes.contains(s);
    Some(keys.scopes.iter().filter(counts).cloned().collect())
}

fn passes(access: &Access, scopes: Option<&BTreeSet<String>>) -> bool {
    match scopes {
        Some(scopes) => access.admits(scopes),
        None => access.is_open(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, NOON};
    use crate::key;
    use keystile_policy::diff::diff;
    use keystile_policy::file::{PolicyFile, parse};
    use keystile_system as system;

    fn policy(scope: &str) -> PolicyFile {
        let text = format!(
            "version: 1\nplans: {{free: {{limits: [{{requests: 60, per: 1m}}]}}}}\nroutes: [{{path: /a, scopes: [{scope}]}}, {{path: /b, scopes: [read, write, admin]}}]\n"
        );
        parse("policy.yaml", text).unwrap()
    }

    fn issue(b: &mut Bench, scope: &str, n: u32) {
        let draft = key::KeyDraft {
            scopes: vec![scope.to_owned()],
            ..key::KeyDraft::default()
        };
        key::issue(&mut b.store, &system::at(NOON), "acme", draft, n, |_| {}).unwrap();
    }

    #[test]
    fn living_keys_that_gain_or_lose_are_counted_and_others_not() {
        let mut b = Bench::new();
        let file = policy("read");
        super::super::apply(&mut b.store, &system::at(NOON), &file).unwrap();
        issue(&mut b, "read", 3);
        issue(&mut b, "write", 2);
        issue(&mut b, "admin", 7);
        b.sql(
            "UPDATE key SET revoked = 5 WHERE id = (SELECT min(id) FROM key WHERE scopes = 'read')",
        );
        let after = policy("write");
        let changes = diff(&file, &after).unwrap().routes;
        let counted = |tx: &Tx<'_>| concerned(tx, NOON, (&file.policy, &after.policy), &changes);
        let all = b.store.read(counted).unwrap();
        assert_eq!(all, [KeysConcerned { gain: 2, lose: 2 }]);
    }
}
