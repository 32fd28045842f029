//! A look at all keys before a policy is put in force, for which nobody has to wait.

use super::effects::Found;
use super::text::check_text;
use keystile_model::error::{Result, refuse_all};
use keystile_policy::file::PolicyFile;
use keystile_store::Tx;

/// The result of a look at a policy that no key conflicts with.
pub struct Looked {
    /// The version of the keyset then.
    version: u64,
    warnings: Vec<String>,
}

/// Checks a policy against all keys.
///
/// # Errors
/// Those of [`check`].
pub fn look(tx: &Tx<'_>, file: &PolicyFile) -> Result<Looked> {
    Ok(Looked {
        version: tx.meta().version,
        warnings: check(tx, file)?,
    })
}

impl Looked {
    /// Checks the keys that have changed since. The others do not conflict with the policy, because
    /// they did not then: a policy with another brand is put in force only if no key has the former
    /// one. Warnings count the keys as they were then.
    pub(super) fn again(&self, tx: &Tx<'_>, file: &PolicyFile) -> Result<Vec<String>> {
        let brand = crate::policy(tx)?.policy.brand;
        let mut found = Found::default();
        tx.each_key_since(self.version, |key| found.look(&file.policy, &key))?;
        let refusals = found.refusals(tx, &file.policy, &brand)?;
        match refusals.is_empty() {
            true => Ok(self.warnings.clone()),
            false => Err(refuse_all(refusals)),
        }
    }
}

/// The effects of a policy on existing keys: a refusal if they would lose their plan, and otherwise
/// warnings.
pub fn check(tx: &Tx<'_>, file: &PolicyFile) -> Result<Vec<String>> {
    check_text(file)?;
    let policy = &file.policy;
    let brand = crate::policy(tx)?.policy.brand;
    let mut found = Found::default();
    // One at a time, because there may be more than fit into memory.
    tx.each_key(|key| found.look(policy, &key))?;
    let refusals = found.refusals(tx, policy, &brand)?;
    if !refusals.is_empty() {
        return Err(refuse_all(refusals));
    }
    let mut warnings = found.warnings(policy);
    if policy.require_enrolment && tx.enrolled_nodes()?.iter().all(|n| n.secret.is_none()) {
        warnings.push(
            "no Envoy is enrolled, so all reports will be refused, and no usage counted: enroll each one first"
                .to_owned(),
        );
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, NOON};
    use crate::policy::apply_after;
    use crate::{client, key};
    use keystile_model::world::World;
    use keystile_policy::file::{DEFAULT, parse};
    use keystile_system as system;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    fn policy(extra: &str) -> PolicyFile {
        parse("policy.yaml", format!("{DEFAULT}\n{extra}\n")).unwrap()
    }

    /// The policy in force without one of its plans.
    fn without(plan: &str) -> PolicyFile {
        let line = |l: &&str| !l.trim_start().starts_with(&format!("{plan}:"));
        let lines: Vec<&str> = DEFAULT.lines().filter(line).collect();
        parse("policy.yaml", lines.join("\n")).unwrap()
    }

    fn looked(b: &mut Bench, file: &PolicyFile) -> Looked {
        b.store.read(|tx| look(tx, file)).unwrap()
    }

    fn refused(b: &mut Bench, world: &World, file: &PolicyFile, looked: &Looked) -> String {
        let done = apply_after(&mut b.store, world, file, looked);
        done.err().expect("keys stand in the way").to_string()
    }

    #[test]
    fn a_key_that_stands_in_the_way_since_the_look_is_seen() {
        let mut b = Bench::new();
        let world = system::at(NOON);
        b.issue(&world, 3);
        let file = without("gold");
        let before = looked(&mut b, &file);
        let on_gold = key::KeyDraft {
            plan: Some("gold".to_owned()),
            ..key::KeyDraft::default()
        };
        key::issue(&mut b.store, &world, "acme", on_gold, 2, |_| {}).unwrap();
        let words = refused(&mut b, &world, &file, &before);
        assert!(words.contains("`gold` is gone, but 2 keys"), "{words}");

        // By their client, too.
        let mut b = Bench::new();
        b.issue(&world, 3);
        let before = looked(&mut b, &file);
        let gold = client::ClientPatch {
            plan: Some(Some("gold".to_owned())),
            ..client::ClientPatch::default()
        };
        client::update(&mut b.store, &world, "acme", gold).unwrap();
        let words = refused(&mut b, &world, &file, &before);
        assert!(words.contains("3 keys and 1 client are on it"), "{words}");
    }

    #[test]
    fn keys_that_are_as_they_were_are_not_looked_at_again() {
        let mut b = Bench::new();
        let world = system::at(NOON);
        b.issue(&world, 3);
        let file = policy("realm: example");
        let before = looked(&mut b, &file);
        // Whoever looks at a key now is broken off.
        b.store.break_off_when(Arc::new(AtomicBool::new(true)));
        let again = b.store.read(|tx| before.again(tx, &file));
        assert_eq!(again.unwrap(), [""; 0]);
        assert!(b.store.read(|tx| look(tx, &file)).is_err());
    }

    #[test]
    fn enrolment_that_no_envoy_has_is_warned_of() {
        let mut bench = Bench::new();
        let wanted = policy("require_enrolment: true");
        let warned = |bench: &mut Bench| {
            let warnings = bench.store.read(|tx| check(tx, &wanted)).unwrap();
            warnings
                .iter()
                .any(|w| w.starts_with("no Envoy is enrolled"))
        };
        assert!(warned(&mut bench));
        crate::node::enroll(&mut bench.store, &system::local(), "edge-1").unwrap();
        assert!(!warned(&mut bench));
    }

    #[test]
    fn a_key_of_the_former_brand_since_the_look_is_seen() {
        let mut b = Bench::new();
        let world = system::at(NOON);
        let brand = policy("brand: other");
        let before = looked(&mut b, &brand);
        b.issue(&world, 1);
        let words = refused(&mut b, &world, &brand, &before);
        assert!(words.contains("would turn away 1 key"), "{words}");
    }
}
