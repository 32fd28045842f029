//! How long a key may live, as the policy says.

use keystile_core::policy::Policy;

use keystile_model::error::{Code, Result, named, refuse};
use keystile_model::key::Rules;
use keystile_model::when;

/// The latest expiry of a key that was issued then, if the policy limits it.
pub fn latest_end(
    policy: &Policy,
    rules: &Rules,
    client_plan: Option<&str>,
    born: u64,
) -> Option<u64> {
    let plan = rules.plan.as_deref().or(client_plan);
    let most = policy.longest_life(rules.environment.as_str(), rules.publishable, plan)?;
    Some(born.saturating_add(most))
}

/// Checks that a key expires in time.
///
/// # Errors
/// If it never expires, or later than that.
pub fn check(policy: &Policy, rules: &Rules, client_plan: Option<&str>, born: u64) -> Result<()> {
    let Some(latest) = latest_end(policy, rules, client_plan, born) else {
        return Ok(());
    };
    if rules.expires.is_some_and(|end| end <= latest) {
        return Ok(());
    }
    let most = when::duration(latest.saturating_sub(born));
    Err(refuse(
        Code::BeyondMaxLifetime,
        format_args!("such a key may live for {most} at most"),
        keystile_model::next![
            "give ",
            named("expires").value(&most),
            " or less, counted from its issue"
        ],
    )
    .about("expires"))
}

/// Checks a change of a key. It may keep an expiry that it had before the policy limited it.
///
/// # Errors
/// Those of [`check`].
pub fn change(
    policy: &Policy,
    (before, after): (&Rules, &Rules),
    client_plan: Option<&str>,
    born: u64,
) -> Result<()> {
    let same = before.expires == after.expires && before.plan == after.plan;
    match same {
        true => Ok(()),
        false => check(policy, after, client_plan, born),
    }
}

/// Shortens the life of a successor to what the policy allows.
pub fn shorten(policy: &Policy, rules: &mut Rules, client_plan: Option<&str>, born: u64) {
    if let Some(latest) = latest_end(policy, rules, client_plan, born) {
        rules.expires = Some(rules.expires.map_or(latest, |end| end.min(latest)));
    }
}
