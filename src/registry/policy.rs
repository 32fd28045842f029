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
mod tests;
