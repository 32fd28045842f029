//! Keys: issue, update, disable, revoke, rotate.

use ipnet::IpNet;
use keystile_core::key::{KeyId, Name};
use keystile_core::policy::{Policy, RawLimit, checked_limits};

use super::client;
use super::policy;
use keystile_model::caller::{Caller, forbidden};
use keystile_model::error::{Act, Code, Error, Kind, Result, defect, named, refuse, told_all};
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

/// What is said about new keys.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Free text.
    pub name: String,
    /// The policy's first if it is not said.
    pub environment: Option<Name>,
    /// Bound to browser origins.
    pub publishable: bool,
    /// In any order.
    pub scopes: Vec<String>,
    /// Take scopes that no route asks for.
    pub any_scope: bool,
    /// A plan of its own.
    pub plan: Option<String>,
    /// Limits of its own.
    pub limits: Vec<RawLimit>,
    /// Seconds.
    pub expires: Option<u64>,
    /// Seconds.
    pub not_before: Option<u64>,
    /// Ranges that it may be used from.
    pub allow: Vec<IpNet>,
    /// Ranges that it may not be used from.
    pub deny: Vec<IpNet>,
    /// Browser origins.
    pub origins: Vec<String>,
    /// Identities of client certificates.
    pub certificates: Vec<String>,
    /// Free pairs.
    pub labels: Labels,
    /// Seconds after which it is to give way to a new one.
    pub rotate_every: Option<u64>,
    /// Seconds for which it then goes on.
    pub grace: Option<u64>,
}

/// What is to change about a key; `None` leaves as it is.
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
    /// Take scopes that no route asks for.
    pub any_scope: bool,
    /// A plan of its own, or none.
    pub plan: Option<Option<String>>,
    /// Limits of its own; none for those of the plan.
    pub limits: Option<Vec<RawLimit>>,
    /// An end, or none.
    pub expires: Option<Option<u64>>,
    /// A beginning, or none.
    pub not_before: Option<Option<u64>>,
    /// Ranges that it may be used from.
    pub allow: Option<Vec<IpNet>>,
    /// Ranges that it may not be used from.
    pub deny: Option<Vec<IpNet>>,
    /// Browser origins.
    pub origins: Option<Vec<String>>,
    /// Identities of client certificates.
    pub certificates: Option<Vec<String>>,
    /// Pairs to set.
    pub labels: Labels,
    /// Names of pairs to remove.
    pub remove_labels: Vec<String>,
    /// Seconds after which it is to give way to a new one; none for what its plan says.
    pub rotate_every: Option<Option<u64>>,
    /// Seconds for which it then goes on; none for what its plan says.
    pub grace: Option<Option<u64>>,
}

impl Draft {
    /// Rules that hold under a policy.
    pub fn checked(self, policy: &Policy, now: u64) -> Result<Rules> {
        let environment = match (self.environment, policy.environments.first()) {
            (Some(e), _) => e,
            (None, Some(first)) => first.clone(),
            (None, None) => {
                return Err(refuse(
                    Code::NoEnvironment,
                    "the policy accepts no environment",
                    "list one in `environments`",
                )
                .about("environment"));
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
        .map_err(|errors| told_all(Code::InvalidValue, &errors).about("limits"))
}

/// One key, if the caller may know of it; otherwise it is refused as one that is not
/// there.
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

/// Hands the keys that a caller may know of to `each`, in the order of their ids, those
/// after `cursor`, of one client if it is named, until `each` has enough.
///
/// # Errors
/// There is no such client; those of the store.
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

/// A key that is not switched off for good.
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

/// Writes a changed key and says so in the audit log; does nothing if it is the same.
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
        // Scopes that the key holds already have been looked at when they were given.
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

/// Switches a key off for now, or on again.
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

/// Switches keys off for good. Again is no error: who revokes wants it revoked.
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

/// Replaces a key by a new one with the same rules. The old one works for `grace`
/// seconds more; both share their buckets.
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
                        "give the new one an end of its own, as in ",
                        named("expires").value("90d")
                    ],
                )
                .about("expires")
                .of(Kind::Invalid));
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
        // Whose end is set already does not get a later one by it.
        after.overlap_end = Some(old.overlap_end.map_or(end, |set| set.min(end)));
        let after = change(tx, world, "key.rotate", &old, after)?;
        Ok((issued, after))
    })
}

/// Makes the successor of a key that was handed over: with the same rules, and no later end.
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
