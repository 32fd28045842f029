//! Keys: issue, update, disable, revoke, rotate.

use ipnet::IpNet;
use keystile_core::key::{KeyId, Name};
use keystile_core::policy::{Policy, RawLimit, checked_limits};

use super::client;
use super::policy;
use keystile_model::caller::{Caller, forbidden};
use keystile_model::error::{Error, Kind, Result, refuse, refuse_all};
use keystile_model::record::{Key, Labels, Rules, Status};
use keystile_model::rules;
use keystile_model::when;
use keystile_model::words;
use keystile_model::world::World;
use keystile_store::{Store, Tx};

mod bounds;
mod making;

pub use making::{Issued, issue};
pub(super) use making::{New, make, random_ids};

/// The settings of new keys.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Free text.
    pub name: String,
    /// By default the policy's first.
    pub environment: Option<Name>,
    /// Bound to browser origins.
    pub publishable: bool,
    /// In any order.
    pub scopes: Vec<String>,
    /// Accept scopes that no route asks for.
    pub any_scope: bool,
    /// A plan for the key.
    pub plan: Option<String>,
    /// Limits of its own.
    pub limits: Vec<RawLimit>,
    /// Seconds.
    pub expires: Option<u64>,
    /// Seconds.
    pub not_before: Option<u64>,
    /// Address ranges from which it may be used.
    pub allow: Vec<IpNet>,
    /// Address ranges from which it may not be used.
    pub deny: Vec<IpNet>,
    /// Browser origins.
    pub origins: Vec<String>,
    /// Identities of client certificates.
    pub certificates: Vec<String>,
    /// Labels.
    pub labels: Labels,
    /// Seconds after which it is to be replaced.
    pub rotate_every: Option<u64>,
    /// Seconds for which it goes on working after that.
    pub grace: Option<u64>,
}

/// Changes to a key; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    /// Free text.
    pub name: Option<String>,
    /// All its scopes.
    pub scopes: Option<Vec<String>>,
    /// Scopes to add.
    pub add_scopes: Vec<String>,
    /// Scopes to remove.
    pub remove_scopes: Vec<String>,
    /// Accept scopes that no route asks for.
    pub any_scope: bool,
    /// A plan for the key, or none.
    pub plan: Option<Option<String>>,
    /// Limits for the key; empty for those of the plan.
    pub limits: Option<Vec<RawLimit>>,
    /// An expiry, or none.
    pub expires: Option<Option<u64>>,
    /// A start, or none.
    pub not_before: Option<Option<u64>>,
    /// Address ranges from which it may be used.
    pub allow: Option<Vec<IpNet>>,
    /// Address ranges from which it may not be used.
    pub deny: Option<Vec<IpNet>>,
    /// Browser origins.
    pub origins: Option<Vec<String>>,
    /// Identities of client certificates.
    pub certificates: Option<Vec<String>>,
    /// Labels to set.
    pub labels: Labels,
    /// Names of labels to remove.
    pub remove_labels: Vec<String>,
    /// Seconds after which it is to be replaced; none for what its plan says.
    pub rotate_every: Option<Option<u64>>,
    /// Seconds for which it goes on working after that; none for what its plan says.
    pub grace: Option<Option<u64>>,
}

impl Draft {
    /// Rules that are valid under a policy.
    pub fn checked(self, policy: &Policy, now: u64) -> Result<Rules> {
        let environment = match (self.environment, policy.environments.first()) {
            (Some(e), _) => e,
            (None, Some(first)) => first.clone(),
            (None, None) => {
                return Err(refuse(
                    "the policy accepts no environment",
                    "list one in `environments`",
                ));
            }
        };
        let rules = Rules {
            name: self.name,
            environment,
            publishable: self.publishable,
            scopes: sorted(self.scopes),
            plan: self.plan,
            limits: limits(&self.limits)?,
            expires: self.expires,
            not_before: self.not_before,
            allow: sorted(self.allow),
            deny: sorted(self.deny),
            origins: sorted(self.origins),
            certificates: sorted(self.certificates),
            labels: self.labels,
            rotate_every: self.rotate_every,
            grace: self.grace,
        };
        rules::check(&rules, policy, now, self.any_scope)?;
        rules::check_words(&rules, None)?;
        Ok(rules)
    }
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list.dedup();
    list
}

fn limits(raw: &[RawLimit]) -> Result<Vec<keystile_core::policy::Limit>> {
    checked_limits("--limit", raw)
        .map_err(|errors| refuse_all(errors.iter().map(ToString::to_string).collect()))
}

/// One key, if the caller may see it; otherwise refused as if it did not exist.
pub fn find(tx: &Tx<'_>, caller: &Caller, id: KeyId) -> Result<Key> {
    let found = tx.key(id)?.filter(|k| caller.sees(&k.client));
    found.ok_or_else(|| {
        refuse(
            format_args!("there is no key `{id}`"),
            "see `keystilectl key list` for the ids",
        )
        .of(Kind::NotFound)
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
    let client = match (of, caller.narrowed(of)) {
        (None, None) => None,
        (asked, own) => {
            let name = asked.or(own).unwrap_or_default();
            Some(client(tx, caller, name)?.number)
        }
    };
    tx.keys_after(client, cursor, each)
}

/// A key that is not revoked.
fn find_living(tx: &Tx<'_>, caller: &Caller, id: KeyId) -> Result<Key> {
    let key = find(tx, caller, id)?;
    match key.revoked {
        None => Ok(key),
        Some(at) => Err(refuse(
            format_args!("key `{id}` was revoked on {}, for good", when::short(at)),
            format_args!(
                "issue a new one with `keystilectl key issue {}`",
                key.client
            ),
        )
        .of(Kind::Conflict)),
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
pub fn update(store: &mut Store, world: &World, id: KeyId, patch: Patch) -> Result<Key> {
    store.write(world, |tx| {
        let before = find_living(tx, &world.caller, id)?;
        let policy = policy(tx)?.policy;
        let mut after = before.clone();
        let r = &mut after.rules;
        let mut scopes = patch.scopes.unwrap_or_else(|| r.scopes.clone());
        scopes.extend(patch.add_scopes);
        scopes.retain(|s| !patch.remove_scopes.contains(s));
        let scopes = sorted(scopes);
        // Scopes that the key holds already were checked when they were granted.
        let new: Vec<String> = scopes
            .iter()
            .filter(|s| !r.scopes.contains(s))
            .cloned()
            .collect();
        r.scopes = scopes;
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(v) = value {
                *field = v;
            }
        }
        set(&mut r.name, patch.name);
        set(&mut r.plan, patch.plan);
        set(
            &mut r.limits,
            patch.limits.as_deref().map(limits).transpose()?,
        );
        set(&mut r.expires, patch.expires);
        set(&mut r.not_before, patch.not_before);
        set(&mut r.allow, patch.allow.map(sorted));
        set(&mut r.deny, patch.deny.map(sorted));
        set(&mut r.origins, patch.origins.map(sorted));
        set(&mut r.certificates, patch.certificates.map(sorted));
        set(&mut r.rotate_every, patch.rotate_every);
        set(&mut r.grace, patch.grace);
        r.labels.extend(patch.labels);
        r.labels
            .retain(|name, _| !patch.remove_labels.contains(name));
        let known = Rules {
            scopes: new,
            ..r.clone()
        };
        rules::check(&known, &policy, world.now.seconds(), patch.any_scope)?;
        rules::check(r, &policy, world.now.seconds(), true)?;
        rules::check_words(r, Some(&before.rules))?;
        if let Some(ceilings) = world.caller.bound() {
            bounds::not_ended(&before, world.now.seconds())?;
            let plan = before.client_plan.as_deref();
            ceilings.admit_change(&before.rules, r, plan, world.now.seconds())?;
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
                "a token of the role `client` may not switch a disabled key on again",
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
                format_args!("key `{id}` was rotated to `{}` already", next.id),
                format_args!("rotate that one: `keystilectl key rotate {}`", next.id),
            )
            .of(Kind::Conflict));
        }
        let mut new = old.rules.clone();
        match expires {
            Some(expires) => new.expires = expires,
            None if old.status(now) == Status::Expired => {
                return Err(refuse(
                    format_args!("key `{id}` has expired, and a new one would inherit that"),
                    "give the new one an end of its own, as in `--expires 90d`",
                ));
            }
            None => {}
        }
        let policy = policy(tx)?.policy;
        rules::check(&new, &policy, now, true)?;
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
            format_args!("key `{}` was rotated to `{}` already", old.id, next.id),
            "use that one",
        )
        .of(Kind::Conflict));
    }
    let mut new = old.rules.clone();
    new.not_before = None;
    let policy = policy(tx)?.policy;
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
    made.into_iter().next().ok_or_else(|| {
        refuse(
            "no key was made",
            "nothing was changed; this is a defect of keystilectl",
        )
    })
}

fn no_longer(client: &str) -> Error {
    refuse(
        format_args!("client `{client}` was deleted"),
        "issue a key for another client",
    )
}

/// `1 key`, `2 keys`.
pub fn count(n: usize) -> String {
    keystile_model::plural::count(n, "key")
}
