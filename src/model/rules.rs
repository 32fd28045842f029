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
            "the key would expire before it begins",
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
mod tests {
    use super::*;

    #[test]
    fn a_range_with_host_bits_is_refused_with_the_range_it_lies_in() {
        assert_eq!(
            cidr("10.1.0.0/16").map(|n| n.to_string()),
            Ok("10.1.0.0/16".to_owned())
        );
        assert_eq!(
            cidr("10.1.2.3").map(|n| n.to_string()),
            Ok("10.1.2.3/32".to_owned())
        );
        assert_eq!(cidr("::1").map(|n| n.to_string()), Ok("::1/128".to_owned()));
        assert_eq!(
            cidr("10.1.2.3/16"),
            Err(
                "`10.1.2.3/16` names an address inside a range; write the range `10.1.0.0/16`"
                    .to_owned()
            )
        );
        for (typed, kept) in [
            ("::ffff:127.0.0.0/104", "127.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:127.0.0.1", "127.0.0.1/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(cidr(typed).map(|n| n.to_string()), Ok(kept.to_owned()));
        }
        assert_eq!(
            cidr("::ffff:127.0.0.1/104"),
            Err("`::ffff:127.0.0.1/104` names an address inside a range; write the range `127.0.0.0/8`".to_owned())
        );
        for bad in ["", "10.0.0.0/33", "10.0.0", "a/8"] {
            assert!(cidr(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_kept_as_browsers_send_it() {
        for (typed, kept) in [
            ("https://www.example.com", "https://www.example.com"),
            ("HTTPS://WWW.Example.COM:443", "https://www.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://[::1]", "https://[::1]"),
            ("https://[0:0:0:0:0:0:0:1]:0443", "https://[::1]"),
            ("https://[::ffff:1.2.3.4]", "https://[::ffff:102:304]"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(origin(typed), Ok(kept.to_owned()));
        }
        assert_eq!(
            origin("https://a.example/"),
            Err(
                "`https://a.example/` is not an origin; leave the path out: `https://a.example`"
                    .to_owned()
            )
        );
        for bad in [
            "",
            "null",
            "a.example",
            "https://",
            "https://*.a.example",
            "https://a b",
            "https://a:0",
            "https://a:b",
            "https://a:+443",
            "https://user@a.example",
            "http://127.1",
            "http://0x7f000001",
            "https://bücher.example",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_limit_is_read_as_it_is_shown() {
        let l = limit("100/1m:20@client").unwrap();
        assert_eq!(
            (l.requests, l.per.as_str(), l.burst, l.by),
            (100, "1m", Some(20), By::Client)
        );
        assert_eq!(limit("5/1s").unwrap().burst, None);
        for bad in ["", "5", "5/", "5/1", "x/1s", "5/1s:", "5/1s@me", "-1/1s"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
