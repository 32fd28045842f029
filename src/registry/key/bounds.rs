//! Limits for callers that are bound to a client, in addition to their ceilings: how many keys may
//! be valid at once while they replace one another, and for how long.

use keystile_core::policy::Policy;

use keystile_model::caller::{Ceilings, forbidden};
use keystile_model::error::{Code, Result, named, refuse};
use keystile_model::key::Rules;
use keystile_model::record::{Key, Status};
use keystile_model::rotation::{EVERY, GRACE};
use keystile_model::when;
use keystile_model::world::World;
use keystile_store::Tx;

/// Checks a rotation.
///
/// # Errors
/// The first bound that it exceeds.
pub fn rotation(
    tx: &Tx<'_>,
    world: &World,
    policy: &Policy,
    old: &Key,
    new: &Rules,
    grace: u64,
) -> Result<()> {
    let Some(ceilings) = world.caller.bound() else {
        return Ok(());
    };
    let now = world.now.seconds();
    if old.disabled {
        return Err(forbidden(
            "a token of the role `client` may not rotate a disabled key, because that would enable it again",
        ));
    }
    not_ended(old, now)?;
    let most = longest_grace(policy, old.effective_plan());
    if grace > most {
        let most = when::duration(most);
        return Err(refuse(
            Code::BeyondCeiling,
            format_args!("a rotated key of this client goes on working for {most} at most"),
            keystile_model::next!["give ", named("grace").value(&most), " or less"],
        )
        .about("grace"));
    }
    ceilings.admit_rotation(&old.rules, new, old.client_plan.as_deref(), now)?;
    room(tx, ceilings, old, now)
}

/// Checks that a key has not ended: it no longer counts among the client's keys, and would be one
/// more if it came back.
///
/// # Errors
/// If it has.
pub fn not_ended(key: &Key, now: u64) -> Result<()> {
    if key.status(now) == Status::Expired {
        return Err(forbidden(format_args!(
            "key `{}` has expired, and a token of the role `client` may not revive it",
            key.id
        )));
    }
    Ok(())
}

/// Checks that a key may get a successor: a key that is being replaced and its successor count as
/// one, and no more may be replaced at once than the number allowed.
///
/// # Errors
/// If there are too many keys.
pub fn room(tx: &Tx<'_>, ceilings: &Ceilings, old: &Key, now: u64) -> Result<()> {
    let Some(most) = ceilings.max_keys.map(|n| u64::from(n).saturating_mul(2)) else {
        return Ok(());
    };
    let living = tx.living_keys_of(old.client_number, now, most.saturating_add(1))?;
    if living < most {
        return Ok(());
    }
    Err(refuse(
        Code::KeyLimitReached,
        format_args!(
            "client `{}` has {living} keys, including those that newer ones are replacing",
            old.client
        ),
        "wait until they have expired, or revoke them",
    ))
}

/// Checks that a key is rotated at least as often as its plan says, and stops working at least as
/// fast.
///
/// # Errors
/// If a change makes it live longer than that.
pub fn schedule(policy: &Policy, before: &Key, after: &Rules) -> Result<()> {
    new_schedule(
        policy,
        after,
        before.client_plan.as_deref(),
        Some(&before.rules),
    )
}

/// The same for a new key, or for one with the rules `before`, which it may keep.
///
/// # Errors
/// Those of [`schedule`].
pub fn new_schedule(
    policy: &Policy,
    after: &Rules,
    client_plan: Option<&str>,
    before: Option<&Rules>,
) -> Result<()> {
    let plan = after.plan.as_deref().or(client_plan);
    let every = match plan.and_then(|p| policy.plans.get(p)?.rotate_every) {
        Some(0) => None,
        said => Some(said.unwrap_or(EVERY)),
    };
    let rotates = |own: u64| every.is_none_or(|most| (1..=most).contains(&own));
    if let Some(own) = after.rotate_every
        && before.and_then(|b| b.rotate_every) != Some(own)
        && !rotates(own)
    {
        let most = when::duration(every.unwrap_or_default());
        return Err(refuse(
            Code::BeyondCeiling,
            format_args!("keys of this client have to be rotated every {most}, or more often"),
            format_args!("give `{most}` or less, or leave it out"),
        )
        .field("rotate_every"));
    }
    let most = longest_grace(policy, plan);
    if let Some(own) = after.grace
        && before.and_then(|b| b.grace) != Some(own)
        && own > most
    {
        let most = when::duration(most);
        return Err(refuse(
            Code::BeyondCeiling,
            format_args!("a rotated key of this client goes on working for {most} at most"),
            format_args!("give `{most}` or less, or leave it out"),
        )
        .field("grace"));
    }
    Ok(())
}

/// How long a key may remain valid next to its successor; otherwise the client would have two for
/// one.
fn longest_grace(policy: &Policy, plan: Option<&str>) -> u64 {
    let said = plan.and_then(|p| policy.plans.get(p)?.grace);
    said.unwrap_or(GRACE).max(86_400)
}
