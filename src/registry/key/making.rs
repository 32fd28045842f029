//! Making keys, one or many at once.

use keystile_core::key::{self, KeyId, KeyText};
use keystile_core::policy::Policy;

use super::bounds;
use super::checked::checked;
use super::lifetime;
use crate::client;
use crate::policy;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::key::{KeyDraft, Rules};
use keystile_model::plural;
use keystile_model::record::{Client, Key};
use keystile_model::world::World;
use keystile_store::rows::MANY;
use keystile_store::{Store, Tx};

/// A new key, to be shown once.
pub struct Issued {
    /// The key itself.
    pub text: KeyText,
    /// What the store keeps about it.
    pub key: Key,
}

impl AsRef<Key> for Issued {
    fn as_ref(&self) -> &Key {
        &self.key
    }
}

/// Issues `count` identical keys, sorted by id. `progress` is called with the number so far. Also
/// gives the policy, for hints.
///
/// # Errors
/// If there is no such client, or the policy or the caller's ceilings refuse such a key; those of
/// the store.
pub fn issue(
    store: &mut Store,
    world: &World,
    client_name: &str,
    draft: KeyDraft,
    count: u32,
    mut progress: impl FnMut(u32),
) -> Result<(Vec<Issued>, Policy)> {
    store.write(world, |tx| {
        let policy = policy(tx)?.policy;
        let client = client(tx, &world.caller, client_name)?;
        let now = world.now.seconds();
        let plan = client.plan.as_deref();
        let ceilings = world.caller.bound();
        let rules = checked(draft, &policy, now, |rules| {
            ceilings.map_or(Ok(()), |c| c.admit(rules, plan, now))
        })?;
        lifetime::check(&policy, &rules, plan, now)?;
        if let Some(ceilings) = ceilings {
            bounds::new_schedule(&policy, &rules, plan, None)?;
            if let Some(most) = ceilings.max_keys {
                let most = u64::from(most);
                let living = tx.living_keys_of(client.number, now, most.saturating_add(1))?;
                if living.saturating_add(u64::from(count)) > most {
                    return Err(refuse(
                        Code::KeyLimitReached,
                        format_args!(
                            "client `{client_name}` may have {} at once, and has {living}",
                            plural::count(usize::try_from(most).unwrap_or(usize::MAX), "key")
                        ),
                        "revoke one that is not needed, or ask for more",
                    ));
                }
            }
        }
        let ids = random_ids(world, count as usize)?;
        let mut out = Vec::with_capacity(ids.len());
        for some in ids.chunks(MANY) {
            let new = |id: &KeyId| New::first(*id, &client, rules.clone());
            out.extend(make(tx, world, &policy, some.iter().map(new).collect())?);
            progress(u32::try_from(out.len()).unwrap_or(count));
        }
        Ok((out, policy))
    })
}

/// This many different ids, sorted, because neighbouring keys are on the same pages.
pub(in super::super) fn random_ids(world: &World, count: usize) -> Result<Vec<KeyId>> {
    let mut ids = Vec::with_capacity(count);
    while ids.len() < count {
        ids.push(KeyId::random(world.entropy)?);
        if ids.len() == count {
            ids.sort_unstable();
            ids.dedup();
        }
    }
    Ok(ids)
}

/// A key to be made, after all checks.
pub(in super::super) struct New {
    /// Its id, unless another key already has it.
    id: KeyId,
    client_number: u32,
    client: String,
    client_plan: Option<String>,
    rules: Rules,
    /// Its chain of rotations, and the key that it replaces.
    line: Option<(KeyId, KeyId)>,
}

impl New {
    /// The first of its chain.
    fn first(id: KeyId, client: &Client, rules: Rules) -> Self {
        Self {
            id,
            client_number: client.number,
            client: client.name.clone(),
            client_plan: client.plan.clone(),
            rules,
            line: None,
        }
    }

    /// The successor of a key.
    pub(in super::super) fn after(id: KeyId, old: &Key, rules: Rules) -> Self {
        Self {
            id,
            client_number: old.client_number,
            client: old.client.clone(),
            client_plan: old.client_plan.clone(),
            rules,
            line: Some((old.lineage, old.id)),
        }
    }

    fn draw(self, policy: &Policy, world: &World) -> Result<Issued> {
        let environment = &self.rules.environment;
        let fresh = key::generate_as(self.id, &policy.brand, environment, world.entropy)?;
        let key = Key {
            id: fresh.id,
            digest: fresh.digest,
            imported: false,
            client_number: self.client_number,
            client: self.client,
            client_plan: self.client_plan,
            rules: self.rules,
            overlap_end: None,
            disabled: false,
            revoked: None,
            reason: String::new(),
            lineage: self.line.map_or(fresh.id, |(first, _)| first),
            rotated_from: self.line.map(|(_, before)| before),
            created: world.now.seconds(),
        };
        Ok(Issued {
            text: fresh.text,
            key,
        })
    }
}

/// Adds keys, some dozens at a time, with their audit records.
pub(in super::super) fn make(
    tx: &mut Tx<'_>,
    world: &World,
    policy: &Policy,
    mut new: Vec<New>,
) -> Result<Vec<Issued>> {
    // Ten digits collide by chance about once in a billion keys; the database would refuse.
    let ids: Vec<KeyId> = new.iter().map(|n| n.id).collect();
    if tx.has_any_key(&ids)? {
        for n in &mut new {
            while tx.has_key(n.id)? {
                n.id = KeyId::random(world.entropy)?;
            }
        }
    }
    let made = new.into_iter().map(|n| n.draw(policy, world));
    let made = made.collect::<Result<Vec<_>>>()?;
    tx.insert_keys(&made)?;
    tx.keyset_changed();
    for Issued { key, .. } in &made {
        tx.audit_key(world, "key.issue", key, String::new(), key.audit_text())?;
    }
    Ok(made)
}
