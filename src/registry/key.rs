//! Keys: issue, update, disable, revoke, rotate.

use keystile_core::key::KeyId;
use keystile_core::policy::Policy;

use super::client;
use super::policy;
use keystile_model::caller::{Caller, forbidden};
use keystile_model::error::{Act, Code, Error, Kind, Result, defect, named, refuse};
use keystile_model::key::Rules;
use keystile_model::record::{Key, Status};
use keystile_model::rules;
use keystile_model::when;
use keystile_model::words;
use keystile_model::world::World;
use keystile_store::{Store, Tx};

pub use keystile_model::key::{KeyDraft, KeyOrder, KeyPatch};

mod bounds;
mod checked;
mod lifetime;
mod making;

pub use checked::checked;
pub(super) use lifetime::{check as check_lifetime, latest_end, shorten};
pub use making::{Issued, issue};
pub(super) use making::{New, make, random_ids};

/// One key, if the caller may see it; otherwise refused as if it did not exist.
pub fn find(tx: &Tx<'_>, caller: &Caller, id: KeyId) -> Result<Key> {
    let found = tx.key(id)?.filter(|k| caller.sees(&k.client));
    found.ok_or_else(|| {
        refuse(
            Code::KeyNotFound,
            format_args!("there is no key `{id}`"),
            keystile_model::next!["see ", Act::KeyList, " for the ids"],
        )
        .about("id")
    })
}

/// Passes the keys that the caller may see to `each`, sorted by id, after `cursor`, of one client
/// if named, until `each` has enough.
///
/// # Errors
/// If there is no such client; those of the store.
pub fn each(
    tx: &Tx<'_>,
    caller: &Caller,
    of: Option<&str>,
    cursor: Option<KeyId>,
    each: impl FnMut(Key) -> bool,
) -> Result<()> {
    let client = number_of(tx, caller, of)?;
    tx.keys_after(client, cursor, each)
}

/// The same in another order; `cursor` is the last key that was passed before.
///
/// # Errors
/// If there is no such client or no key `cursor`; those of the store.
pub fn each_sorted(
    tx: &Tx<'_>,
    world: &World,
    order: KeyOrder,
    of: Option<&str>,
    cursor: Option<KeyId>,
    each: impl FnMut(Key) -> bool,
) -> Result<()> {
    let client = number_of(tx, &world.caller, of)?;
    // An id has its place among ids even if no key has it.
    let after = match (order, cursor) {
        (KeyOrder::Id, _) => return tx.keys_after(client, cursor, each),
        (_, Some(id)) => Some(find(tx, &world.caller, id)?),
        (_, None) => None,
    };
    tx.keys_in_order(order, client, after.as_ref(), world.now.seconds(), each)
}

/// The client that a list is narrowed to.
fn number_of(tx: &Tx<'_>, caller: &Caller, of: Option<&str>) -> Result<Option<u32>> {
    match (of, caller.narrowed(of)) {
        (None, None) => Ok(None),
        (asked, own) => {
            let name = asked.or(own).unwrap_or_default();
            Ok(Some(client(tx, caller, name)?.number))
        }
    }
}

/// A key that is not revoked.
fn find_living(tx: &Tx<'_>, caller: &Caller, id: KeyId) -> Result<Key> {
    let key = find(tx, caller, id)?;
    match key.revoked {
        None => Ok(key),
        Some(at) => Err(refuse(
            Code::KeyRevoked,
            format_args!("key `{id}` was revoked on {}, for good", when::short(at)),
            keystile_model::next!["issue a new one with ", Act::KeyIssue.of(&key.client)],
        )
        .about("id")),
    }
}

/// Writes a changed key and its audit record; does nothing if it is the same.
pub fn change(
    tx: &mut Tx<'_>,
    world: &World,
    action: &str,
    before: &Key,
    after: Key,
) -> Result<Key> {
    let (old, new) = (before.audit_text(), after.audit_text());
    if old == new {
        return Ok(after);
    }
    tx.update_key(&after)?;
    tx.keyset_changed();
    tx.audit_key(world, action, &after, old, new)?;
    Ok(after)
}

/// Changes what a key may do.
pub fn update(store: &mut Store, world: &World, id: KeyId, patch: KeyPatch) -> Result<Key> {
    store.write(world, |tx| {
        let before = find_living(tx, &world.caller, id)?;
        let policy = policy(tx)?.policy;
        let mut after = before.clone();
        let r = &mut after.rules;
        let any_scope = patch.any_scope;
        patch.apply(r);
        // Scopes that the key holds already were checked when they were granted.
        let held = &before.rules.scopes;
        let new = r
            .scopes
            .iter()
            .filter(|s| !held.contains(s))
            .cloned()
            .collect();
        let known = Rules {
            scopes: new,
            ..r.clone()
        };
        // First, so that a refusal tells nobody which other plans and scopes there are.
        let ceilings = world.caller.bound();
        if let Some(ceilings) = ceilings {
            bounds::not_ended(&before, world.now.seconds())?;
            let plan = before.client_plan.as_deref();
            ceilings.admit_change(&before.rules, r, plan, world.now.seconds())?;
        }
        rules::check(&known, &policy, world.now.seconds(), any_scope)?;
        rules::check(r, &policy, world.now.seconds(), true)?;
        r.check_words(Some(&before.rules))?;
        let plan = before.client_plan.as_deref();
        lifetime::change(&policy, (&before.rules, r), plan, before.created)?;
        if ceilings.is_some() {
            bounds::schedule(&policy, &before, r)?;
        }
        change(tx, world, "key.update", &before, after)
    })
}

/// Disables or enables a key.
pub fn set_disabled(store: &mut Store, world: &World, id: KeyId, disabled: bool) -> Result<Key> {
    store.write(world, |tx| {
        let before = find_living(tx, &world.caller, id)?;
        if !disabled && before.disabled && world.caller.bound().is_some() {
            return Err(forbidden(
                "a token of the role `client` may not enable a disabled key again",
            ));
        }
        let mut after = before.clone();
        after.disabled = disabled;
        let action = if disabled {
            "key.disable"
        } else {
            "key.enable"
        };
        change(tx, world, action, &before, after)
    })
}

/// Revokes keys permanently. Revoking again is not an error: the caller wants it revoked.
pub fn revoke_all(
    store: &mut Store,
    world: &World,
    ids: &[KeyId],
    reason: &str,
) -> Result<Vec<Key>> {
    words::check("reason", reason, words::REASON)?;
    store.write(world, |tx| {
        ids.iter()
            .map(|id| {
                let key = find(tx, &world.caller, *id)?;
                if key.revoked.is_some() {
                    Ok(key)
                } else {
                    revoke_in(tx, world, key, reason)
                }
            })
            .collect()
    })
}

/// The same inside another operation.
pub fn revoke_in(tx: &mut Tx<'_>, world: &World, before: Key, reason: &str) -> Result<Key> {
    let mut after = before.clone();
    after.revoked = Some(world.now.seconds());
    reason.clone_into(&mut after.reason);
    change(tx, world, "key.revoke", &before, after)
}

/// Replaces a key with a new one that has the same rules. The old one works for another `grace`
/// seconds; both share their buckets.
pub fn rotate(
    store: &mut Store,
    world: &World,
    id: KeyId,
    grace: u64,
    expires: Option<Option<u64>>,
) -> Result<(Issued, Key)> {
    store.write(world, |tx| {
        let now = world.now.seconds();
        let old = find_living(tx, &world.caller, id)?;
        if let Some(next) = tx.key_after(id)? {
            return Err(refuse(
                Code::KeyRotated,
                format_args!("key `{id}` was rotated to `{}` already", next.id),
                keystile_model::next!["rotate that one: ", Act::KeyRotate.of(next.id)],
            )
            .about("id"));
        }
        let mut new = old.rules.clone();
        match expires {
            Some(expires) => new.expires = expires,
            None if old.status(now) == Status::Expired => {
                return Err(refuse(
                    Code::KeyExpired,
                    format_args!("key `{id}` has expired, and a new one would inherit that"),
                    keystile_model::next![
                        "give the new one an expiry of its own, as in ",
                        named("expires").value("90d")
                    ],
                )
                .about("expires")
                .with_kind(Kind::Invalid));
            }
            None => {}
        }
        let policy = policy(tx)?.policy;
        rules::check(&new, &policy, now, true)?;
        let plan = old.client_plan.as_deref();
        match expires {
            Some(_) => lifetime::check(&policy, &new, plan, now)?,
            None => lifetime::shorten(&policy, &mut new, plan, now),
        }
        bounds::rotation(tx, world, &policy, &old, &new, grace)?;
        if tx.client(&old.client)?.is_none() {
            return Err(no_longer(&old.client));
        }
        let issued = one(tx, world, &policy, &old, new)?;
        let mut after = old.clone();
        let end = now.saturating_add(grace);
        // An end that is already set is not moved to a later time.
        after.overlap_end = Some(old.overlap_end.map_or(end, |set| set.min(end)));
        let after = change(tx, world, "key.rotate", &old, after)?;
        Ok((issued, after))
    })
}

/// Makes the successor of a key that was handed over, with the same rules and no later expiry.
pub fn succeed(tx: &mut Tx<'_>, world: &World, old: &Key) -> Result<Issued> {
    let now = world.now.seconds();
    if let Some(next) = tx.key_after(old.id)? {
        return Err(refuse(
            Code::KeyRotated,
            format_args!("key `{}` was rotated to `{}` already", old.id, next.id),
            "use that one",
        )
        .about("id"));
    }
    let mut new = old.rules.clone();
    new.not_before = None;
    let policy = policy(tx)?.policy;
    lifetime::shorten(&policy, &mut new, old.client_plan.as_deref(), now);
    if let Some(ceilings) = world.caller.bound() {
        new.expires = ceilings.nearest_end(new.expires, now);
        ceilings.admit_successor(&new, old.client_plan.as_deref(), now)?;
        bounds::room(tx, ceilings, old, now)?;
    }
    rules::check(&new, &policy, now, true)?;
    one(tx, world, &policy, old, new)
}

/// Makes the successor of a key.
fn one(tx: &mut Tx<'_>, world: &World, policy: &Policy, old: &Key, rules: Rules) -> Result<Issued> {
    let id = KeyId::random(world.entropy)?;
    let made = make(tx, world, policy, vec![New::after(id, old, rules)])?;
    made.into_iter()
        .next()
        .ok_or_else(|| defect("no key was made"))
}

fn no_longer(client: &str) -> Error {
    refuse(
        Code::ClientDeleted,
        format_args!("client `{client}` was deleted"),
        "issue a key for another client",
    )
}

/// `1 key`, `2 keys`.
pub fn count(n: usize) -> String {
    keystile_model::plural::count(n, "key")
}
