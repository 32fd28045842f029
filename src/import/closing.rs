//! Fields that no importer knows, and that close something by their names and values.

use super::node::{Data, Node, same_name};

/// Words of names of fields that usually disable something if they are set.
const CLOSING: [&str; 37] = [
    "archived",
    "banned",
    "blocked",
    "canceled",
    "cancelled",
    "closed",
    "deactivated",
    "deleted",
    "deletion_timestamp",
    "denied",
    "deny",
    "disable",
    "disabled",
    "disabled_at",
    "ended",
    "expired",
    "forbidden",
    "frozen",
    "inactive",
    "invalid",
    "invalidated",
    "locked",
    "on_hold",
    "paused",
    "pending",
    "quarantined",
    "rejected",
    "removed",
    "retired",
    "revoked",
    "revoked_at",
    "suspend",
    "suspended",
    "terminated",
    "unapproved",
    "unpaid",
    "unverified",
];

/// Words of names of fields that disable something if they do not say yes.
const OPENING: [&str; 7] = [
    "active", "approved", "enable", "enabled", "usable", "valid", "verified",
];

/// Names of fields that say in which state something is.
const STATES: [&str; 4] = ["lifecycle", "phase", "state", "status"];

/// States that something is in while it works; any other closes it.
const LIVE: [&str; 22] = [
    "accepted",
    "activated",
    "active",
    "approved",
    "available",
    "confirmed",
    "current",
    "enabled",
    "good",
    "healthy",
    "issued",
    "live",
    "normal",
    "ok",
    "open",
    "published",
    "ready",
    "running",
    "succeeded",
    "usable",
    "valid",
    "verified",
];

/// Names of fields that end something, or begin it later: whatever the date, it would be lost.
const TIMES: [&str; 25] = [
    "end",
    "end_at",
    "end_date",
    "end_time",
    "ends",
    "ends_at",
    "ending_at",
    "expiration",
    "expiration_date",
    "expiration_time",
    "expire_at",
    "expires",
    "expires_at",
    "expires_in",
    "expires_on",
    "expiry",
    "expiry_date",
    "not_after",
    "not_before",
    "starts_at",
    "ttl",
    "valid_from",
    "valid_to",
    "valid_till",
    "valid_until",
];

/// Words before such names that change nothing about them.
const OF_WHAT: [&str; 14] = [
    "access",
    "account",
    "api",
    "client",
    "consumer",
    "credential",
    "has",
    "is",
    "key",
    "subscription",
    "token",
    "user",
    "was",
    "x",
];

/// Parts of names of fields that narrow where something is good, or from where.
const NARROWING: [&str; 9] = [
    "allowed",
    "allowlist",
    "blacklist",
    "blocklist",
    "denied",
    "denylist",
    "only",
    "restrict",
    "whitelist",
];

/// Words of names of plugins that refuse some requests, or ask for something besides a key.
const GATES: [&str; 51] = [
    "acl",
    "allowlist",
    "auth",
    "authentication",
    "authn",
    "authorization",
    "authz",
    "ban",
    "blacklist",
    "block",
    "blocker",
    "blocklist",
    "censor",
    "content",
    "csrf",
    "deny",
    "denylist",
    "detection",
    "entitlement",
    "filter",
    "firewall",
    "function",
    "guard",
    "guardrail",
    "hmac",
    "injection",
    "introspection",
    "jwt",
    "kill",
    "ldap",
    "moderation",
    "mtls",
    "oauth",
    "oauth2",
    "oidc",
    "opa",
    "openid",
    "permission",
    "protection",
    "rbac",
    "restrict",
    "restriction",
    "safety",
    "saml",
    "terminate",
    "termination",
    "validation",
    "validator",
    "verification",
    "waf",
    "whitelist",
];

/// Whether a plugin that an importer does not know may refuse requests, by its name and settings.
pub fn plugin_closes(name: &str, settings: &[&Node]) -> bool {
    let is_gate =
        |word: &String| GATES.contains(&word.as_str()) || CLOSING.contains(&word.as_str());
    words(name).iter().any(is_gate) || settings.iter().any(|node| closes("", node))
}

/// Whether an unknown field disables something, by its name and value, or by those in it.
pub fn closes(name: &str, value: &Node) -> bool {
    let all = words(name);
    let what = all.iter().position(|w| !OF_WHAT.contains(&w.as_str()));
    let named = all.get(what.unwrap_or(0)..).unwrap_or_default();
    let joined = named.concat();
    let is = |names: &[&str]| names.iter().any(|n| same_name(n, &joined));
    let last = |names: &[&str]| named.last().is_some_and(|w| names.contains(&w.as_str()));
    if is(&CLOSING) || named.iter().any(|w| CLOSING.contains(&w.as_str())) {
        return !says_no(value);
    }
    if is(&TIMES) || narrows(name, &all) {
        return !says_no(value) && !says_without_end(value);
    }
    if last(&OPENING) {
        return !value.is_null() && !is_live(value);
    }
    if last(&STATES) {
        return !value.is_empty() && !is_live(value);
    }
    match &value.data {
        Data::Map(pairs) => pairs.iter().any(|(name, value)| closes(name, value)),
        Data::List(items) => items.iter().any(|item| closes("", item)),
        _ => false,
    }
}

/// The words of a name in lower case: `isKeyEnabled`, `is_key-enabled` and `Is Key Enabled` have
/// the same.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        let new = !c.is_ascii_alphanumeric() || c.is_ascii_uppercase() && small;
        if new {
            words.push(String::new());
        }
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_lowercase());
        }
        small = c.is_ascii_lowercase();
    }
    words.retain(|w| !w.is_empty());
    // `isdisabled`
    if let [word] = words.as_slice()
        && let Some(bare) = word.strip_prefix("is")
        && (CLOSING.contains(&bare) || OPENING.contains(&bare))
    {
        return vec![bare.to_owned()];
    }
    words
}

/// Whether a name has one of those parts, without its separators.
fn narrows(name: &str, words: &[String]) -> bool {
    let bare: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let bare = bare.to_ascii_lowercase();
    NARROWING.iter().any(|part| match *part {
        // Not `commonly`: a word of its own.
        "only" => words.iter().any(|word| word == "only"),
        part => bare.contains(part),
    })
}

fn says_no(value: &Node) -> bool {
    value.is_empty()
        || value.flag() == Some(false)
        || value.number() == Some(0)
        || value
            .text()
            .is_some_and(|t| t.eq_ignore_ascii_case("never"))
}

/// Whether a state is known to be one in which something works, or a flag says yes.
fn is_live(value: &Node) -> bool {
    match &value.data {
        Data::Null => true,
        Data::List(items) => !items.is_empty() && items.iter().all(is_live),
        Data::Map(pairs) => !pairs.is_empty() && pairs.iter().all(|(_, value)| is_live(value)),
        _ => {
            let word = value.text().unwrap_or_default().trim().to_ascii_lowercase();
            value.flag() == Some(true) || LIVE.contains(&word.as_str())
        }
    }
}

/// As systems write that something has no end: a negative number.
fn says_without_end(value: &Node) -> bool {
    match &value.data {
        Data::Number(number, _) => *number < 0.0,
        Data::Text(text) => text.parse::<f64>().is_ok_and(|number| number < 0.0),
        _ => false,
    }
}
