//! What a key may do, checked against the policy.

use ipnet::IpNet;
use keystile_core::hex;
use keystile_core::key::Digest;
use keystile_core::keyset::Network;
use keystile_core::policy::{By, Policy, RawLimit, is_scope, seconds};

use crate::error::{Act, Code, Result, named, refuse};
use crate::key::Rules;
use crate::nearest::nearest;
use crate::record;

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

/// Reads an address range: `10.0.0.0/8`, `2001:db8::/32`, or one address. A range of IPv4-mapped
/// addresses (`::ffff:10.0.0.0/104`) becomes the IPv4 range.
pub fn cidr(text: &str) -> std::result::Result<IpNet, String> {
    let canonical = |net: IpNet| {
        let Network {
            address,
            prefix_len,
        } = record::network(net);
        IpNet::new(address, prefix_len).unwrap_or(net)
    };
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(canonical(IpNet::from(address)));
    }
    let net: IpNet = text.parse().map_err(|_| {
        format!("`{text}` is no address range; write `10.0.0.0/8`, `2001:db8::/32` or one address")
    })?;
    if net.trunc() != net {
        return Err(format!(
            "`{text}` names an address inside a range; write the range `{}`",
            canonical(net.trunc())
        ));
    }
    Ok(canonical(net))
}

/// Reads a web origin as browsers send it: `https://www.example.com`, in lower case, without the
/// default port.
pub fn origin(text: &str) -> std::result::Result<String, String> {
    let wrong = |next: &str| format!("`{text}` is not an origin; {next}");
    let lower = text.to_ascii_lowercase();
    let (scheme, rest) = lower
        .split_once("://")
        .ok_or_else(|| wrong("write scheme and host, such as `https://www.example.com`"))?;
    let fine = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b));
    if !fine {
        return Err(wrong(
            "write scheme and host, such as `https://www.example.com`",
        ));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    if let Some((head, _)) = rest.split_once(['/', '?', '#']) {
        return Err(wrong(&format!("leave the path out: `{scheme}://{head}`")));
    }
    if host.contains('*') {
        return Err(wrong("list each host by its full name"));
    }
    let host = &origin_host(host).map_err(wrong)?;
    let port = match port {
        None => None,
        Some(p) => Some(
            Some(p)
                .filter(|p| p.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|p| p.parse::<u16>().ok())
                .filter(|p| *p > 0)
                .ok_or_else(|| wrong("a port is 1 to 65535"))?,
        ),
    };
    Ok(match (scheme, port) {
        (_, None) | ("https", Some(443)) | ("http", Some(80)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    })
}

/// The host of an origin as browsers write it (WHATWG URL, host serializing), or the next
/// step.
fn origin_host(host: &str) -> std::result::Result<String, &'static str> {
    let ascii = "write the host in ASCII (punycode), such as `https://xn--bcher-kva.example`";
    if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        let address: std::net::Ipv6Addr = address.parse().map_err(|_| ascii)?;
        // Browsers write mapped addresses in hexadecimal.
        return Ok(match (address.to_ipv4_mapped(), address.segments()) {
            (Some(_), [.., a, b]) => format!("[::ffff:{a:x}:{b:x}]"),
            (None, _) => format!("[{address}]"),
        });
    }
    let fine = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    if host.is_empty() || !fine {
        return Err(ascii);
    }
    // Browsers read a host that ends in a number as an IPv4 address, and write it in full.
    let last = host
        .trim_end_matches('.')
        .rsplit('.')
        .next()
        .unwrap_or_default();
    let is_number = last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit());
    if is_number && host.parse::<std::net::Ipv4Addr>().is_err() {
        return Err("write an IPv4 address in full, such as `http://127.0.0.1`");
    }
    Ok(host.to_owned())
}

/// Reads a limit: `100/1m`, `100/1m:20` with a burst, `100/1m@client` for all keys of a
/// client together.
pub fn limit(text: &str) -> std::result::Result<RawLimit, String> {
    let wrong = || {
        format!(
            "`{text}` is not a limit; write `100/1m`, or `100/1m:20` with a burst, or `100/1m@client`"
        )
    };
    let (rest, by) = match text.split_once('@') {
        Some((rest, "client")) => (rest, By::Client),
        Some((rest, "key")) => (rest, By::Key),
        Some(_) => return Err(wrong()),
        None => (text, By::Key),
    };
    let (requests, rest) = rest.split_once('/').ok_or_else(wrong)?;
    let (per, burst) = match rest.split_once(':') {
        Some((per, burst)) => (per, Some(burst.parse().map_err(|_| wrong())?)),
        None => (rest, None),
    };
    if seconds(per).is_none() {
        return Err(wrong());
    }
    Ok(RawLimit {
        requests: requests.parse().map_err(|_| wrong())?,
        per: per.to_owned(),
        burst,
        by,
    })
}

/// The limit as it is read.
pub fn limit_word(l: &RawLimit) -> String {
    let burst = l.burst.map(|b| format!(":{b}")).unwrap_or_default();
    let by = match l.by {
        By::Client => "@client",
        By::Key => "",
    };
    format!("{}/{}{burst}{by}", l.requests, l.per)
}

/// Reads 64 hexadecimal digits.
pub fn hex_digest(text: &str) -> Option<Digest> {
    hex::read(text).map(Digest)
}

/// Reads `name=value`.
pub fn label(text: &str) -> std::result::Result<(String, String), String> {
    let wrong = || format!("`{text}` is not a label; write `team=payments`");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let fine = (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
        && value.len() <= 200
        && !value.chars().any(char::is_control);
    if fine {
        Ok((name.to_owned(), value.to_owned()))
    } else {
        Err(wrong())
    }
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
