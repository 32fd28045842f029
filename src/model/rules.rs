//! What a key may do, checked against the policy.

use keystile_core::policy::{Policy, is_scope};

#[cfg(test)]
use keystile_core::policy::By;

use crate::error::{Act, Code, Result, named, refuse};
use crate::key::Rules;
use crate::nearest::nearest;
pub use crate::spelling::{cidr, hex_digest, label, limit, limit_word, origin};

/// How many ranges, origins, certificates and scopes one key may have.
const MOST: usize = 500;

/// Checks rules. Scopes that no route asks for are a typing error unless `any_scope`.
pub fn check(rules: &Rules, policy: &Policy, now: u64, any_scope: bool) -> Result<()> {
    check_plan(policy, rules.plan.as_deref())?;
    for scope in &rules.scopes {
        check_scope(scope, policy, any_scope)?;
    }
    check_times(rules, now)?;
    check_publishable(rules, policy)?;
    if let Some(l) = rules
        .limits
        .iter()
        .find(|l| l.burst < policy.greatest_cost())
    {
        return Err(refuse(Code::BurstTooSmall, format_args!(
                "a burst of {} is below the cost of {} that a route of the policy has, so the key could never call it",
                l.burst,
                policy.greatest_cost()
            ), format_args!(
                "write a burst, as in `{}/{}s:{}`",
                l.requests,
                l.per,
                policy.greatest_cost()
            )).about("limits"));
    }
    let most = [
        ("cidrs", rules.cidrs.len()),
        ("deny_cidrs", rules.deny_cidrs.len()),
        ("origins", rules.origins.len()),
        ("certificates", rules.certificates.len()),
        ("scopes", rules.scopes.len()),
    ];
    if let Some((field, n)) = most.into_iter().find(|(_, n)| *n > MOST) {
        return Err(refuse(
            Code::TooMany,
            format_args!("{n} are too many for one key"),
            format_args!("give {MOST} at most: wider ranges, or fewer"),
        )
        .field(field));
    }
    Ok(())
}

fn check_scope(scope: &str, policy: &Policy, any_scope: bool) -> Result<()> {
    if !is_scope(scope) {
        return Err(refuse(
            Code::InvalidScope,
            format_args!("`{scope}` is not a scope"),
            "use up to 64 printable characters without spaces, commas, quotes and backslashes, such as `read:users`",
        )
        .about("scopes"));
    }
    if any_scope || policy.scope_number(scope).is_some() {
        return Ok(());
    }
    let fact = format!("no route of the policy asks for scope `{scope}`");
    let known: Vec<&str> = policy.scopes.iter().map(String::as_str).collect();
    Err(match nearest(scope, known.iter().copied()) {
        Some(near) => refuse(
            Code::UnknownScope,
            fact,
            crate::next![
                format_args!("did you mean `{near}`? ("),
                named("allow_unknown_scope"),
                " takes it as it is)"
            ],
        )
        .about("scopes"),
        None if known.is_empty() => refuse(
            Code::UnknownScope,
            fact,
            crate::next![
                "routes ask for none at all; ",
                named("allow_unknown_scope"),
                " takes it as it is"
            ],
        )
        .about("scopes"),
        None => refuse(
            Code::UnknownScope,
            fact,
            crate::next![
                format_args!("they ask for {} (", known.join(", ")),
                named("allow_unknown_scope"),
                " takes it as it is)"
            ],
        )
        .about("scopes"),
    })
}

fn check_times(rules: &Rules, now: u64) -> Result<()> {
    if rules.expires.is_some_and(|t| t <= now) {
        return Err(refuse(
            Code::ExpiryInPast,
            "the key would be expired from the start",
            crate::next!["give a later ", named("expires")],
        )
        .about("expires"));
    }
    if let (Some(from), Some(to)) = (rules.not_before, rules.expires)
        && from >= to
    {
        return Err(refuse(
            Code::EndsBeforeBegin,
            "the key would expire before it becomes valid",
            crate::next![
                "give an earlier ",
                named("not_before"),
                " or a later ",
                named("expires")
            ],
        )
        .about("expires"));
    }
    Ok(())
}

fn check_publishable(rules: &Rules, policy: &Policy) -> Result<()> {
    if !rules.publishable {
        return Ok(());
    }
    if rules.origins.is_empty() {
        return Err(refuse(
            Code::OriginMissing,
            "a publishable key is seen by everybody, so it is bound to the pages that may use it",
            crate::next![
                "give at least one ",
                named("origins").value("https://www.example.com")
            ],
        )
        .about("origins"));
    }
    if let Some(scope) = rules
        .scopes
        .iter()
        .find(|s| !policy.publishable_scopes.contains(s))
    {
        let next = if policy.publishable_scopes.is_empty() {
            "the policy allows none; list it in `publishable: {scopes: […]}` or issue a secret key"
                .to_owned()
        } else {
            format!("the policy allows {}", policy.publishable_scopes.join(", "))
        };
        return Err(refuse(
            Code::ScopeNotPublishable,
            format_args!("a publishable key may not hold scope `{scope}`"),
            next,
        )
        .about("scopes"));
    }
    Ok(())
}

/// Checks that the policy has a plan.
pub fn check_plan(policy: &Policy, plan: Option<&str>) -> Result<()> {
    let Some(plan) = plan else { return Ok(()) };
    if policy.plans.contains_key(plan) {
        return Ok(());
    }
    let fact = format!("the policy has no plan `{plan}`");
    let names: Vec<&str> = policy.plans.keys().map(String::as_str).collect();
    Err(match nearest(plan, names.iter().copied()) {
        Some(near) => refuse(
            Code::UnknownPlan,
            fact,
            format_args!("did you mean `{near}`?"),
        )
        .about("plan"),
        None if names.is_empty() => refuse(
            Code::UnknownPlan,
            fact,
            crate::next!["it has no plans at all; add one with ", Act::PolicyApply],
        )
        .about("plan"),
        None => refuse(
            Code::UnknownPlan,
            fact,
            format_args!("it has {}", names.join(", ")),
        )
        .about("plan"),
    })
}

#[cfg(test)]
mod tests;
