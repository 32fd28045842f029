//! The policy in force: apply another one.

use std::collections::BTreeMap;

use crate::error::{Result, refuse_all};
use crate::policy_file::PolicyFile;
use crate::record::{Key, Revision};
use crate::registry::key::count;
use crate::store::{Store, Tx};
use crate::world::World;

/// What became of a policy.
pub struct Applied {
    /// Its number.
    pub revision: u64,
    /// It was in force already.
    pub unchanged: bool,
    /// What its author may want to know.
    pub warnings: Vec<String>,
}

/// Puts a policy in force, unless keys or clients that live would be left without their
/// plan.
pub fn apply(store: &mut Store, world: &World, file: &PolicyFile) -> Result<Applied> {
    world.caller.unbound("change the policy")?;
    store.write(world, |tx| apply_in(tx, world, file))
}

/// The same inside another operation.
pub(super) fn apply_in(tx: &mut Tx<'_>, world: &World, file: &PolicyFile) -> Result<Applied> {
    let before = tx.policy()?;
    let warnings = check(tx, file)?;
    if before.text == file.text {
        return Ok(Applied {
            revision: before.revision,
            unchanged: true,
            warnings,
        });
    }
    let revision = tx.insert_policy(&file.text, world.now.seconds())?;
    tx.keyset_changed();
    let json = |r: &Revision| serde_json::json!({"revision": r.revision, "policy": r.text});
    let after = Revision {
        revision,
        text: file.text.clone(),
        applied: world.now.seconds(),
    };
    tx.audit(
        world,
        "policy.apply",
        &revision.to_string(),
        Some(&json(&before)),
        Some(&json(&after)),
    )?;
    Ok(Applied {
        revision,
        unchanged: false,
        warnings,
    })
}

/// What a policy would mean for the keys that are there: a refusal if they would lose
/// their plan, and otherwise warnings.
pub fn check(tx: &Tx<'_>, file: &PolicyFile) -> Result<Vec<String>> {
    let policy = &file.policy;
    let keys: Vec<Key> = tx.keys()?;
    let mut refusals = Vec::new();

    // Revoked keys too: they are in the keyset until they would have expired.
    let mut lost: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for plan in keys.iter().filter_map(Key::effective_plan) {
        if !policy.plans.contains_key(plan) {
            lost.entry(plan).or_default().0 += 1;
        }
    }
    let brand = super::policy(tx)?.policy.brand;
    let ours = keys
        .iter()
        .filter(|k| k.revoked.is_none() && !k.imported)
        .count();
    if ours > 0 && brand != policy.brand {
        refusals.push(format!(
            "brand `{}` would turn away {} that begin with `{brand}_`; keep `brand: {brand}`",
            policy.brand,
            count(ours)
        ));
    }
    let clients = tx.clients()?;
    for plan in clients.iter().filter_map(|(c, _)| c.plan.as_deref()) {
        if !policy.plans.contains_key(plan) {
            lost.entry(plan).or_default().1 += 1;
        }
    }
    for (plan, (keys, clients)) in lost {
        let plural = if clients == 1 { "" } else { "s" };
        refusals.push(format!(
            "plan `{plan}` is gone, but {} and {clients} client{plural} are on it; move them to another plan first, \
             or keep `{plan}`",
            count(keys)
        ));
    }
    if !refusals.is_empty() {
        return Err(refuse_all(refusals));
    }

    let mut warnings = Vec::new();
    let mut unknown: BTreeMap<&str, usize> = BTreeMap::new();
    let living = || keys.iter().filter(|k| k.revoked.is_none());
    for scope in living().flat_map(|k| &k.rules.scopes) {
        if policy.scope_number(scope).is_none() {
            *unknown.entry(scope).or_default() += 1;
        }
    }
    for (scope, n) in unknown {
        warnings.push(format!(
            "no route asks for scope `{scope}` any more, held by {}",
            count(n)
        ));
    }
    let narrowed = living()
        .filter(|k| k.rules.publishable)
        .filter(|k| {
            let mut held = k.rules.scopes.iter();
            held.any(|s| !policy.publishable_scopes.contains(s))
        })
        .count();
    if narrowed > 0 {
        warnings.push(format!(
            "{} that are publishable lose scopes that `publishable.scopes` does not list",
            count(narrowed)
        ));
    }
    let cost = policy.greatest_cost();
    let short = living()
        .filter(|k| k.rules.limits.iter().any(|l| l.burst < cost))
        .count();
    if short > 0 {
        warnings.push(format!(
            "{} with limits of their own can never call the route that costs {cost}: their burst is smaller",
            count(short)
        ));
    }
    let elsewhere = living()
        .filter(|k| !policy.environments.contains(&k.rules.environment))
        .count();
    if elsewhere > 0 {
        warnings.push(format!(
            "{} of other environments will be refused: see `environments`",
            count(elsewhere)
        ));
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy_file::{DEFAULT, parse};
    use crate::registry::key;
    use crate::store::bench::{Bench, NOON};

    fn allowing(scopes: &str) -> PolicyFile {
        let kept = |line: &&str| !line.starts_with("publishable:");
        let lines: Vec<&str> = DEFAULT.lines().filter(kept).collect();
        let text = format!(
            "{}\npublishable: {{ scopes: [{scopes}] }}\n",
            lines.join("\n")
        );
        parse("policy.yaml", text).unwrap()
    }

    #[test]
    fn living_publishable_keys_that_a_policy_narrows_are_counted() {
        let mut b = Bench::new();
        let world = World::at(NOON);
        let warnings = apply(&mut b.store, &world, &allowing("read, write"));
        assert_eq!(warnings.unwrap().warnings, [""; 0]);
        let mut issue = |scopes: &[&str], publishable| {
            let draft = key::Draft {
                publishable,
                scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
                origins: vec!["https://a.example".to_owned()],
                any_scope: true,
                ..key::Draft::default()
            };
            key::issue(&mut b.store, &world, "acme", draft, 1, |_| {})
                .unwrap()
                .0
        };
        issue(&["read", "write"], true);
        issue(&["write"], true);
        issue(&["read"], true);
        issue(&["write"], false);
        let revoked = issue(&["write"], true)[0].key.id;
        key::revoke_all(&mut b.store, &world, &[revoked], "").unwrap();

        let narrowed = allowing("read");
        let told =
            ["2 keys that are publishable lose scopes that `publishable.scopes` does not list"];
        assert_eq!(b.store.read(|tx| check(tx, &narrowed)).unwrap(), told);
        assert_eq!(
            apply(&mut b.store, &world, &narrowed).unwrap().warnings,
            told
        );
        let wide = allowing("read, write");
        assert_eq!(b.store.read(|tx| check(tx, &wide)).unwrap(), [""; 0]);
    }
}
