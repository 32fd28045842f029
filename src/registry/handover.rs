//! Automatic rotation: keys that are due are handed over to their successors, and holders are
//! warned.

use std::collections::HashMap;

use keystile_core::key::KeyId;
use keystile_core::policy::Policy;
use serde_json::json;

use super::key;
use super::policy;
use keystile_model::caller::Ceilings;
use keystile_model::error::{Act, Code, Result, refuse};
use keystile_model::key::Rules;
use keystile_model::record::{Key, Status};
use keystile_model::rotation::{EVERY, GRACE, RotationStep, Schedule, step};
use keystile_model::when;
use keystile_model::world::World;
use keystile_store::{Store, Tx};

/// How many keys are examined in one transaction.
const STEP: usize = 2_000;

/// The result of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandoverTurn {
    /// Where the next one begins; `None` at the end.
    pub next: Option<KeyId>,
    /// Holders warned.
    pub warned: u32,
    /// Keys handed over.
    pub handed_over: u32,
}

/// Examines a few thousand keys after `after`.
///
/// # Errors
/// Those of the store.
pub fn turn(store: &mut Store, world: &World, after: Option<KeyId>) -> Result<HandoverTurn> {
    let now = world.now.seconds();
    // Read without a lock, because most keys need nothing.
    let (keys, due) = store.read(|tx| {
        let policy = policy(tx)?.policy;
        let holders = Holders::read(tx, now)?;
        let mut keys = Vec::new();
        tx.keys_after(None, after, |key| {
            keys.push(key);
            keys.len() < STEP
        })?;
        let mut due = Vec::new();
        for key in &keys {
            let fetched = holders.can_fetch(key, now);
            if next_step(tx, &policy, key, fetched, now)?.is_some() {
                due.push(key.id);
            }
        }
        Ok((keys.last().map(|k| k.id), due))
    })?;
    let mut turn = HandoverTurn {
        next: keys,
        ..HandoverTurn::default()
    };
    if due.is_empty() {
        return Ok(turn);
    }
    store.write(world, |tx| {
        let policy = policy(tx)?.policy;
        let holders = Holders::read(tx, now)?;
        for id in due {
            // Read again, because it may have changed since.
            let Some(key) = tx.key(id)? else { continue };
            let fetched = holders.can_fetch(&key, now);
            match next_step(tx, &policy, &key, fetched, now)? {
                Some(RotationStep::HandOver { grace }) => {
                    hand_over(tx, world, &key, grace)?;
                    turn.handed_over += 1;
                }
                Some(RotationStep::Warn {
                    days,
                    deadline,
                    expires,
                }) => {
                    warn(tx, world, &key, days, deadline, expires)?;
                    turn.warned += 1;
                }
                None => {}
            }
        }
        Ok(())
    })?;
    Ok(turn)
}

/// The clients that can fetch successors, and what their tokens may grant.
struct Holders(HashMap<String, Vec<Ceilings>>);

impl Holders {
    fn read(tx: &Tx<'_>, now: u64) -> Result<Self> {
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        // An invitation is not a token until it is accepted.
        for token in tx
            .tokens()?
            .into_iter()
            .filter(|t| t.status(now) == "active")
        {
            if let Some(client) = token.grant.client {
                all.entry(client).or_default().push(token.grant.ceilings);
            }
        }
        Ok(Self(all))
    }

    /// Otherwise its end is not set, because nobody could replace it.
    fn can_fetch(&self, key: &Key, now: u64) -> bool {
        let plan = key.client_plan.as_deref();
        let admits = |ceilings: &Ceilings| {
            let rules = Rules {
                expires: ceilings.nearest_end(key.rules.expires, now),
                ..key.rules.clone()
            };
            ceilings.admit_successor(&rules, plan, now).is_ok()
        };
        let ceilings = self.0.get(&key.client);
        ceilings.is_some_and(|all| all.iter().any(admits))
    }
}

fn next_step(
    tx: &Tx<'_>,
    policy: &Policy,
    key: &Key,
    fetched: bool,
    now: u64,
) -> Result<Option<RotationStep>> {
    // The text of an imported key is not ours to generate.
    let fetched = fetched && !key.imported;
    let schedule = schedule(policy, key);
    let step = step(key, schedule, fetched, None, now);
    let Some(RotationStep::Warn { days, deadline, .. }) = step else {
        return Ok(step);
    };
    let given = tx.warning(key.id)?;
    let said = given.is_some_and(|(meant, given)| meant == deadline && given <= days);
    Ok(step.filter(|_| !said))
}

/// How a key is rotated: by its own rule, its plan's, or the default.
pub fn schedule(policy: &Policy, key: &Key) -> Schedule {
    let plan = key.effective_plan().and_then(|p| policy.plans.get(p));
    Schedule {
        every: match (key.rules.rotate_every, plan.map(|p| p.rotate_every)) {
            (Some(0), _) => None,
            (Some(own), _) => Some(own),
            (None, Some(Some(0))) => None,
            (None, Some(Some(plan))) => Some(plan),
            (None, _) => Some(EVERY),
        },
        grace: key
            .rules
            .grace
            .or_else(|| plan.and_then(|p| p.grace))
            .unwrap_or(GRACE),
    }
}

/// Sets the end of a key and makes its successor ready to be fetched.
fn hand_over(tx: &mut Tx<'_>, world: &World, before: &Key, grace: u64) -> Result<()> {
    let now = world.now.seconds();
    tx.insert_handover(before.id, now)?;
    let mut after = before.clone();
    after.overlap_end = Some(now.saturating_add(grace));
    key::change(tx, world, "key.hand-over", before, after)?;
    Ok(())
}

fn warn(
    tx: &mut Tx<'_>,
    world: &World,
    key: &Key,
    days: u64,
    deadline: u64,
    expires: bool,
) -> Result<()> {
    tx.set_warning(key.id, deadline, days)?;
    let action = if expires { "key.expiring" } else { "key.due" };
    let after = json!({
        "client": key.client,
        "name": key.rules.name,
        "days": days,
        "at": when::rfc3339(deadline),
    });
    tx.audit(world, action, &key.id.to_string(), None, Some(&after))
}

/// Fetches the successor of a key, once. Its secret is generated here and stored nowhere.
///
/// # Errors
/// If there is none, or it has been fetched.
pub fn fetch(store: &mut Store, world: &World, id: KeyId) -> Result<key::Issued> {
    store.write(world, |tx| {
        let old = key::find(tx, &world.caller, id)?;
        match tx.handover(id)? {
            None => {
                return Err(refuse(
                    Code::NoSuccessor,
                    format_args!("key `{id}` has no successor to fetch"),
                    keystile_model::next!["replace it with ", Act::KeyRotate.of(id)],
                ));
            }
            Some((_, Some(at))) => {
                return Err(refuse(
                    Code::SuccessorFetched,
                    format_args!(
                        "the successor of key `{id}` was fetched on {}, and is shown once",
                        when::short(at)
                    ),
                    "if that was not you, revoke it; otherwise rotate it",
                ));
            }
            Some((_, None)) => {}
        }
        check_giver(&old, world.now.seconds())?;
        let issued = key::succeed(tx, world, &old)?;
        tx.set_fetched(id, world.now.seconds())?;
        Ok(issued)
    })
}

/// Only a valid key that is being replaced is handed over: what was disabled or revoked stays so.
fn check_giver(old: &Key, now: u64) -> Result<()> {
    let id = old.id;
    if old.revoked.is_some() {
        return Err(refuse(
            Code::KeyRevoked,
            format_args!("key `{id}` was revoked, and its successor with it"),
            "issue a new one",
        ));
    }
    if old.disabled {
        return Err(refuse(
            Code::KeyDisabled,
            format_args!("key `{id}` is disabled, so its successor cannot be fetched"),
            "ask the people who run this API to enable it first",
        ));
    }
    if old.status(now) == Status::Expired {
        return Err(refuse(
            Code::KeyExpired,
            format_args!("key `{id}` has expired, and its successor was not fetched in time"),
            "issue a new one",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
