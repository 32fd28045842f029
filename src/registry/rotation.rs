//! Many keys rotated at once, and those that are due.

use std::collections::BTreeMap;

use keystile_core::key::KeyId;
use keystile_core::policy::Policy;

use super::key::{Issued, New, make, random_ids, shorten};
use super::policy;
use keystile_model::caller::Caller;
use keystile_model::error::Result;
use keystile_model::key::Rules;
use keystile_model::record::Key;
use keystile_model::rules;
use keystile_model::world::World;
use keystile_store::rows::MANY;
use keystile_store::{Store, Tx};

/// How many keys one transaction rotates. Each transaction touches pages all over the index of
/// digests, so fewer and larger ones write less; but every other writer waits meanwhile, so they
/// must end within seconds.
const BATCH: usize = 50_000;

/// How keys are rotated.
pub struct RotationOptions<'f> {
    /// Seconds for which a rotated key goes on working.
    pub grace: &'f dyn Fn(&Key) -> u64,
    /// The new key gets the same lifetime as the old one; otherwise it expires when the old one
    /// would have.
    pub renew: bool,
}

/// A key that was replaced.
pub struct RotatedKey {
    /// The new one, to be shown once.
    pub new: Issued,
    /// The old one.
    pub old: Key,
}

/// A receiver of new keys.
pub trait Receive {
    /// Receives new keys durably, before the store commits them. If that fails, they are not made.
    ///
    /// # Errors
    /// If they cannot be received.
    fn take(&mut self, some: &[RotatedKey]) -> Result<()>;

    /// The store has committed those that were received last.
    fn settle(&mut self);
}

/// The ids of the wanted valid keys that have not been replaced.
///
/// # Errors
/// Those of the store.
pub fn select(
    tx: &Tx<'_>,
    caller: &Caller,
    now: u64,
    wanted: impl Fn(&Key) -> bool,
) -> Result<Vec<KeyId>> {
    let mut out = Vec::new();
    tx.each_living_key(now, |k| {
        if caller.sees(&k.client) && wanted(&k) {
            out.push(k.id);
        }
    })?;
    Ok(out)
}

/// Rotates keys, thousands per transaction, each of which waits until its keys are received: a key
/// is never replaced by one that nobody has. Keys that were revoked, disabled or rotated in the
/// meantime, or that the policy no longer allows, are left as they are. Gives the number of keys
/// rotated.
///
/// # Errors
/// Those of `to` and of the store: what was settled is done, and the rest can be rotated by calling
/// it again.
pub fn rotate_all(
    store: &mut Store,
    world: &World,
    ids: Vec<KeyId>,
    how: &RotationOptions<'_>,
    to: &mut impl Receive,
) -> Result<u64> {
    rotate_by(BATCH, store, world, ids, how, to)
}

fn rotate_by(
    size: usize,
    store: &mut Store,
    world: &World,
    mut ids: Vec<KeyId>,
    how: &RotationOptions<'_>,
    to: &mut impl Receive,
) -> Result<u64> {
    world.caller.unbound("rotate many keys at once")?;
    // Neighbours are on the same pages, and so are their successors.
    ids.sort_unstable();
    ids.dedup();
    let next = random_ids(world, ids.len())?;
    let pairs: Vec<(KeyId, KeyId)> = ids.into_iter().zip(next).collect();
    let mut done = 0;
    for batch in pairs.chunks(size) {
        done += store.write(world, |tx| {
            let rotated = rotate_batch(tx, world, batch, how)?;
            to.take(&rotated)?;
            Ok(rotated.len() as u64)
        })?;
        to.settle();
    }
    Ok(done)
}

fn rotate_batch(
    tx: &mut Tx<'_>,
    world: &World,
    batch: &[(KeyId, KeyId)],
    how: &RotationOptions<'_>,
) -> Result<Vec<RotatedKey>> {
    let policy = policy(tx)?.policy;
    let mut out = Vec::with_capacity(batch.len());
    for some in batch.chunks(MANY) {
        rotate_some(tx, world, &policy, some, how, &mut out)?;
    }
    // Keys with the same end are written together.
    let mut ends: BTreeMap<u64, Vec<KeyId>> = BTreeMap::new();
    for RotatedKey { old, .. } in &out {
        if let Some(end) = old.overlap_end {
            ends.entry(end).or_default().push(old.id);
        }
    }
    for (end, ids) in ends {
        tx.set_overlap_end(&ids, end)?;
    }
    Ok(out)
}

/// Rotates as many keys as one statement takes, except for their ends.
fn rotate_some(
    tx: &mut Tx<'_>,
    world: &World,
    policy: &Policy,
    some: &[(KeyId, KeyId)],
    how: &RotationOptions<'_>,
    out: &mut Vec<RotatedKey>,
) -> Result<()> {
    let now = world.now.seconds();
    let ids: Vec<KeyId> = some.iter().map(|(id, _)| *id).collect();
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for (key, (_, next)) in tx.keys_named(&ids)?.into_iter().zip(some) {
        let mut rules = renewed(&key, now, how.renew);
        shorten(policy, &mut rules, key.client_plan.as_deref(), now);
        if is_living(&key, now) && rules::check(&rules, policy, now, true).is_ok() {
            new.push(New::after(*next, &key, rules));
            old.push(key);
        }
    }
    let new = make(tx, world, policy, new)?;
    for (new, mut old) in new.into_iter().zip(old) {
        let before = old.audit_text();
        let end = now.saturating_add((how.grace)(&old));
        old.overlap_end = Some(end);
        tx.audit_key(world, "key.rotate", &old, before, old.audit_text())?;
        out.push(RotatedKey { new, old });
    }
    Ok(())
}

fn is_living(key: &Key, now: u64) -> bool {
    key.revoked.is_none()
        && !key.disabled
        && key.overlap_end.is_none()
        && key.rules.expires.is_none_or(|t| t > now)
}

fn renewed(old: &Key, now: u64, renew: bool) -> Rules {
    let mut rules = old.rules.clone();
    if renew {
        rules.expires = rules
            .expires
            .map(|t| now.saturating_add(t.saturating_sub(old.created)));
    }
    rules
}

#[cfg(test)]
mod tests;
