//! The policy in force: apply another one.

mod look;

use std::collections::BTreeMap;

use keystile_core::key::Name;
use keystile_core::policy::Policy;

use serde_json::Value;

use crate::key::count;
use keystile_model::error::{Code, Error, Fault, Result, refuse, refuse_all};
use keystile_model::record::{Key, Revision};
use keystile_model::words;
use keystile_model::world::World;
use keystile_policy::file::PolicyFile;
use keystile_store::{Store, Tx};
pub use look::{Looked, look};

/// The result of applying a policy.
pub struct Applied {
    /// Its number.
    pub revision: u64,
    /// It was in force already.
    pub unchanged: bool,
    /// Warnings for its author.
    pub warnings: Vec<String>,
}

/// Puts a policy in force, unless existing keys or clients would be left without their plan.
pub fn apply(store: &mut Store, world: &World, file: &PolicyFile) -> Result<Applied> {
    world.caller.unbound("change the policy")?;
    let looked = store.read(|tx| look(tx, file))?;
    apply_after(store, world, file, &looked)
}

/// The same after a look at all keys, however long ago: in the transaction, only those that have
/// changed since are looked at again.
pub fn apply_after(
    store: &mut Store,
    world: &World,
    file: &PolicyFile,
    looked: &Looked,
) -> Result<Applied> {
    world.caller.unbound("change the policy")?;
    store.write(world, |tx| put(tx, world, file, looked))
}

/// The same inside another operation.
pub(super) fn apply_in(tx: &mut Tx<'_>, world: &World, file: &PolicyFile) -> Result<Applied> {
    let looked = look(tx, file)?;
    put(tx, world, file, &looked)
}

fn put(tx: &mut Tx<'_>, world: &World, file: &PolicyFile, looked: &Looked) -> Result<Applied> {
    let before = tx.policy()?;
    let warnings = looked.again(tx, file)?;
    if before.text == file.text {
        return Ok(Applied {
            revision: before.revision,
            unchanged: true,
            warnings,
        });
    }
    let revision = tx.insert_policy(&file.text, world.now.seconds())?;
    tx.keyset_changed();
    let json =
        |r: &Revision| serde_json::json!({"revision": r.revision, "policy": without_keys(&r.text)});
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

/// Checks that neither the lines of a policy nor its values contain a key or a token: all of it is
/// stored permanently, in the audit log too.
///
/// # Errors
/// The lines that do, or the values if it is not visible in a line.
pub fn check_text(file: &PolicyFile) -> Result<()> {
    let lines = file.text.lines().zip(1..);
    let held = lines.filter(|(line, _)| words::holds_key(line));
    let refusals: Vec<Fault> = held
        .flat_map(|(_, number)| {
            holds_secret()
                .at(format_args!("{}:{number}", file.name))
                .into_faults()
        })
        .collect();
    if !refusals.is_empty() {
        return Err(refuse_all(refusals));
    }
    match held_in(&serde_json::to_value(&file.raw).unwrap_or_default()) {
        None => Ok(()),
        Some(field) => Err(holds_secret().field(field).at(&file.name)),
    }
}

fn holds_secret() -> Error {
    refuse(
        Code::SecretInText,
        "it holds a key, a token or a secret, which would be stored for good",
        "leave it out, and revoke it if others could have seen it",
    )
}

/// The path of a value that contains a key, however it is written. For a name that does, the path
/// of its parent.
fn held_in(value: &Value) -> Option<String> {
    let join = |name: &str, rest: String| match rest.is_empty() {
        true => name.to_owned(),
        false => format!("{name}.{rest}"),
    };
    match value {
        Value::String(text) => words::holds_key(text).then(String::new),
        Value::Array(all) => all
            .iter()
            .enumerate()
            .find_map(|(n, v)| held_in(v).map(|rest| join(&n.to_string(), rest))),
        Value::Object(all) => all
            .iter()
            .find_map(|(name, v)| match words::holds_key(name) {
                true => Some(String::new()),
                false => held_in(v).map(|rest| join(name, rest)),
            }),
        _ => None,
    }
}

/// A policy for the audit log: one that is older than [`check_text`] may contain keys.
fn without_keys(text: &str) -> String {
    let hides_one = keystile_policy::file::parse("policy", text.to_owned())
        .is_ok_and(|file| check_text(&file).is_err());
    if hides_one && !text.lines().any(words::holds_key) {
        return "# a policy that held a key\n".to_owned();
    }
    let shown = |line| match words::holds_key(line) {
        true => "# a line that held a key\n",
        false => line,
    };
    text.split_inclusive('\n').map(shown).collect()
}

/// The effects of a policy on existing keys: a refusal if they would lose their plan, and otherwise
/// warnings.
pub fn check(tx: &Tx<'_>, file: &PolicyFile) -> Result<Vec<String>> {
    check_text(file)?;
    let policy = &file.policy;
    let brand = super::policy(tx)?.policy.brand;
    let mut found = Found::default();
    // One at a time, because there may be more than fit into memory.
    tx.each_key(|key| found.look(policy, &key))?;
    let refusals = found.refusals(tx, policy, &brand)?;
    match refusals.is_empty() {
        true => Ok(found.warnings(policy)),
        false => Err(refuse_all(refusals)),
    }
}

/// The effects of a policy, counted key by key.
#[derive(Default)]
struct Found {
    /// Keys on plans that it does not have.
    lost: BTreeMap<String, usize>,
    /// Valid keys that were issued here.
    ours: usize,
    /// Valid keys with scopes that no route asks for.
    unknown: BTreeMap<String, usize>,
    narrowed: usize,
    short: usize,
    elsewhere: usize,
}

impl Found {
    fn look(&mut self, policy: &Policy, key: &Key) {
        // Revoked keys too: they are in the keyset until they would have expired.
        if let Some(plan) = key.effective_plan()
            && !policy.plans.contains_key(plan)
        {
            *self.lost.entry(plan.to_owned()).or_default() += 1;
        }
        if key.revoked.is_some() {
            return;
        }
        let rules = &key.rules;
        self.ours += usize::from(!key.imported);
        for scope in &rules.scopes {
            if policy.scope_number(scope).is_none() {
                *self.unknown.entry(scope.clone()).or_default() += 1;
            }
        }
        let mut held = rules.scopes.iter();
        let loses = rules.publishable && held.any(|s| !policy.publishable_scopes.contains(s));
        self.narrowed += usize::from(loses);
        let cost = policy.greatest_cost();
        self.short += usize::from(rules.limits.iter().any(|l| l.burst < cost));
        self.elsewhere += usize::from(!policy.environments.contains(&rules.environment));
    }

    fn refusals(&self, tx: &Tx<'_>, policy: &Policy, brand: &Name) -> Result<Vec<Fault>> {
        let mut refusals = Vec::new();
        if self.ours > 0 && *brand != policy.brand {
            let fact = format!(
                "brand `{}` would turn away {} that begin with `{brand}_`",
                policy.brand,
                count(self.ours)
            );
            let next = format_args!("keep `brand: {brand}`");
            let gone = refuse(Code::PolicyBreaksKeys, fact, next).about("brand");
            refusals.extend(gone.into_faults());
        }
        let mut lost: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (plan, keys) in &self.lost {
            lost.entry(plan).or_default().0 = *keys;
        }
        let on_plans = tx.clients_on_plans(None)?;
        for (plan, clients) in &on_plans {
            if !policy.plans.contains_key(plan) {
                lost.entry(plan).or_default().1 = usize::try_from(*clients).unwrap_or(usize::MAX);
            }
        }
        for (plan, (keys, clients)) in lost {
            let plural = if clients == 1 { "" } else { "s" };
            let fact = format!(
                "plan `{plan}` is gone, but {} and {clients} client{plural} are on it",
                count(keys)
            );
            let next = format_args!("move them to another plan first, or keep `{plan}`");
            let gone = refuse(Code::PolicyBreaksKeys, fact, next).about("plans");
            refusals.extend(gone.into_faults());
        }
        Ok(refusals)
    }

    fn warnings(&self, policy: &Policy) -> Vec<String> {
        let mut warnings = Vec::new();
        for (scope, n) in &self.unknown {
            warnings.push(format!(
                "no route asks for scope `{scope}` any more, held by {}",
                count(*n)
            ));
        }
        if self.narrowed > 0 {
            warnings.push(format!(
                "{} that are publishable lose scopes that `publishable.scopes` does not list",
                count(self.narrowed)
            ));
        }
        if self.short > 0 {
            warnings.push(format!(
                "{} with limits of their own can never call the route that costs {}: their burst is smaller",
                count(self.short),
                policy.greatest_cost()
            ));
        }
        if self.elsewhere > 0 {
            warnings.push(format!(
                "{} of other environments will be refused: see `environments`",
                count(self.elsewhere)
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, NOON};
    use crate::client;
    use crate::key;
    use keystile_policy::file::{DEFAULT, parse};
    use keystile_store::Query;
    use keystile_system as system;

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
        let world = system::at(NOON);
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

    #[test]
    fn a_policy_that_holds_a_key_is_refused_by_its_line_and_never_in_the_audit_log() {
        let mut b = Bench::new();
        let world = system::at(NOON);
        let held = b.issue(&world, 1)[0].text.expose_secret().to_owned();
        let mut file = allowing("read");
        let number = file.text.lines().count() + 1;
        file.text.push_str(&format!("# was {held} before\n"));
        let refused = apply(&mut b.store, &world, &file).err().unwrap();
        let words = refused.to_string();
        assert!(
            words.starts_with(&format!("policy.yaml:{number}: it holds a key")),
            "{words}"
        );
        assert!(!words.contains(&held));

        // Written so that no line shows it.
        let hidden = held.replace('_', "\\x5f");
        for (held_in, text) in [
            ("realm", format!("realm: \"{hidden}\"")),
            ("routes.0.path", format!("routes:\n  - path: \"/{hidden}\"")),
        ] {
            let text = format!("version: 1\n{text}\n");
            let file = parse("policy.yaml", text).unwrap();
            let refused = apply(&mut b.store, &world, &file).err().unwrap();
            let words = refused.to_string();
            let want = format!("policy.yaml: `{held_in}`: it holds a key");
            assert!(words.starts_with(&want), "{words}");
            assert_eq!(without_keys(&file.text), "# a policy that held a key\n");
        }

        // One that is in force since before that was checked.
        let former = file.text.clone();
        b.store
            .write(&world, |tx| tx.insert_policy(&former, NOON))
            .unwrap();
        apply(&mut b.store, &world, &allowing("write")).unwrap();
        let log = b
            .store
            .read(|tx| tx.audit_forth(&Query::default(), 100, 100));
        let log = log.unwrap().records;
        let applied = log.last().unwrap();
        assert_eq!(applied.action, "policy.apply");
        assert!(applied.before.contains("a line that held a key"));
        assert!(
            log.iter()
                .all(|r| !r.before.contains(&held) && !r.after.contains(&held))
        );
    }

    #[test]
    fn a_look_at_all_keys_is_broken_off_for_what_goes_first() {
        use std::sync::Arc;
        use std::sync::atomic::AtomicBool;
        let mut b = Bench::new();
        b.issue(&system::at(NOON), 3);
        b.store.break_off_when(Arc::new(AtomicBool::new(true)));
        let file = allowing("read");
        let words = b.store.read(|tx| check(tx, &file)).unwrap_err();
        assert!(words.to_string().contains("it was interrupted"), "{words}");
    }

    #[test]
    fn keys_are_counted_by_plan_from_an_index_alone() {
        let mut b = Bench::new();
        let world = system::at(NOON);
        let issued = b.issue(&world, 3);
        let on_gold = key::Draft {
            plan: Some("gold".to_owned()),
            ..key::Draft::default()
        };
        key::issue(&mut b.store, &world, "acme", on_gold, 2, |_| {}).unwrap();
        let free = client::Patch {
            plan: Some(Some("free".to_owned())),
            ..client::Patch::default()
        };
        client::update(&mut b.store, &world, "acme", free).unwrap();
        key::revoke_all(&mut b.store, &world, &[issued[0].key.id], "").unwrap();
        let counted = b.store.read(|tx| tx.keys_on_plans(None)).unwrap();
        let want = [("free".to_owned(), 2), ("gold".to_owned(), 2)];
        assert_eq!(counted, want.into());
        let plan = b.store.plan_of_plans();
        assert!(plan.contains("USING COVERING INDEX key_living"), "{plan}");
        assert!(!plan.contains("SCAN key USING INDEX"), "{plan}");
    }
}
