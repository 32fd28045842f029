//! Many keys rotated at once, and those that are due.

use keystile::key::KeyId;

use super::key::{Issued, replace};
use super::{policy, rules};
use crate::caller::Caller;
use crate::error::Result;
use crate::record::{Key, Rules};
use crate::store::{Store, Tx};
use crate::world::World;

/// Keys that one transaction rotates. Each touches pages all over the index of digests, so
/// that fewer and larger ones write less; and meanwhile every other writer waits, so that
/// they end within seconds.
const BATCH: usize = 50_000;

/// How keys are rotated.
pub struct How<'f> {
    /// Seconds for which a key then goes on.
    pub grace: &'f dyn Fn(&Key) -> u64,
    /// The new key of one that ends gets as long a life as that had; otherwise it ends
    /// when that would have.
    pub renew: bool,
}

/// A key that gave way to another one.
pub struct Rotated {
    /// The new one, to be shown once.
    pub new: Issued,
    /// The old one.
    pub old: Key,
}

/// The ids of the living keys that are wanted and that have not given way to others.
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

/// Rotates keys, thousands in a transaction, and hands each to `each` when it is in the
/// store for good. Those that were revoked, disabled or rotated meanwhile, or that the
/// policy would not have any more, are left as they are. Gives the number of those that
/// were rotated.
///
/// # Errors
/// Those of `each` and of the store: what was handed out is done, and the rest can be
/// rotated by doing it again.
pub fn rotate_all(
    store: &mut Store,
    world: &World,
    mut ids: Vec<KeyId>,
    how: &How<'_>,
    mut each: impl FnMut(Rotated) -> Result<()>,
) -> Result<u64> {
    world.caller.unbound("rotate many keys at once")?;
    // Neighbours lie on the same pages, and so do those that follow them.
    ids.sort_unstable();
    let mut next = Vec::with_capacity(ids.len());
    for _ in &ids {
        next.push(KeyId::random(world.entropy)?);
    }
    next.sort_unstable();
    let pairs: Vec<(KeyId, KeyId)> = ids.into_iter().zip(next).collect();
    let mut done = 0;
    for batch in pairs.chunks(BATCH) {
        let rotated = store.write(world, |tx| rotate_batch(tx, world, batch, how))?;
        for one in rotated {
            each(one)?;
            done += 1;
        }
    }
    Ok(done)
}

fn rotate_batch(
    tx: &mut Tx<'_>,
    world: &World,
    batch: &[(KeyId, KeyId)],
    how: &How<'_>,
) -> Result<Vec<Rotated>> {
    let now = world.now.seconds();
    let policy = policy(tx)?.policy;
    let mut out = Vec::with_capacity(batch.len());
    for (id, next) in batch {
        let Some(old) = tx.key(*id)?.filter(|k| is_living(k, now)) else {
            continue;
        };
        let new = renewed(&old, now, how.renew);
        if rules::check(&new, &policy, now, true).is_err() {
            continue;
        }
        let grace = (how.grace)(&old);
        let (new, old) = replace(tx, world, &policy, &old, new, Some(*next), grace)?;
        out.push(Rotated { new, old });
    }
    Ok(out)
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
