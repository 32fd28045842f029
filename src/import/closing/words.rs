//! Words of names and values of fields, by which unknown ones are judged.

/// Words of names of fields that usually disable something if they are set.
pub const CLOSING: [&str; 52] = [
    "archived",
    "banned",
    "blacklisted",
    "blocked",
    "canceled",
    "cancelled",
    "closed",
    "compromised",
    "deactivated",
    "dead",
    "decommissioned",
    "deleted",
    "deletion",
    "deletion_timestamp",
    "denied",
    "deny",
    "deprovisioned",
    "disable",
    "disabled",
    "disabled_at",
    "ended",
    "expelled",
    "expired",
    "forbidden",
    "frozen",
    "halted",
    "inactive",
    "invalid",
    "invalidated",
    "leaked",
    "locked",
    "on_hold",
    "paused",
    "pending",
    "quarantined",
    "rejected",
    "removed",
    "retired",
    "revocation",
    "revoked",
    "revoked_at",
    "stolen",
    "stopped",
    "suspend",
    "suspended",
    "suspension",
    "terminated",
    "termination",
    "unapproved",
    "unpaid",
    "unverified",
    "voided",
];

/// Names of fields that do so only as the whole name: `lock`, and not `lock_version`.
pub const VERBS: [&str; 10] = [
    "ban",
    "block",
    "deactivate",
    "delete",
    "freeze",
    "kill",
    "lock",
    "pause",
    "revoke",
    "terminate",
];

/// What a state may be of that says nothing about the key.
pub const OF_OTHERS: [&str; 19] = [
    "2fa",
    "analytics",
    "console",
    "dashboard",
    "debug",
    "email",
    "logging",
    "mail",
    "marketing",
    "mfa",
    "newsletter",
    "notification",
    "notifications",
    "phone",
    "portal",
    "sms",
    "totp",
    "webhook",
    "webhooks",
];

/// Names of fields in which a closing word as the value closes; other words say something else.
pub const MARKS: [&str; 14] = [
    "access",
    "condition",
    "conditions",
    "flag",
    "flags",
    "marker",
    "markers",
    "mode",
    "standing",
    "states",
    "status_code",
    "statuses",
    "tag",
    "tags",
];

/// Whole names of fields that say from where something is good.
pub const FROM_WHERE: [&str; 20] = [
    "certificate",
    "certificates",
    "cidr",
    "cidrs",
    "ip",
    "ip_address",
    "ip_addresses",
    "ip_allow",
    "ip_range",
    "ip_ranges",
    "ips",
    "network",
    "networks",
    "origin",
    "origins",
    "referer",
    "referers",
    "referrer",
    "referrers",
    "source_ip",
];

/// Words of names of fields that disable something if they do not say yes.
pub const OPENING: [&str; 7] = [
    "active", "approved", "enable", "enabled", "usable", "valid", "verified",
];

/// Names of fields that say in which state something is.
pub const STATES: [&str; 4] = ["lifecycle", "phase", "state", "status"];

/// States that something is in while it works; any other closes it.
pub const LIVE: [&str; 25] = [
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
    "paid",
    "published",
    "ready",
    "running",
    "succeeded",
    "trial",
    "trialing",
    "usable",
    "valid",
    "verified",
];

/// Names of fields that end something, or begin it later: whatever the date, it would be lost.
pub const TIMES: [&str; 25] = [
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
pub const OF_WHAT: [&str; 14] = [
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
pub const NARROWING: [&str; 9] = [
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
pub const GATES: [&str; 51] = [
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

/// Words of names of moments at which something ends.
pub const ENDS: [&str; 9] = [
    "exp",
    "expiration",
    "expire",
    "expires",
    "expiry",
    "lifetime",
    "thru",
    "ttl",
    "until",
];

/// Words for an end or a beginning, before one for a moment.
pub const EDGES: [&str; 6] = ["end", "ending", "ends", "start", "starting", "starts"];

/// Words for a moment.
pub const MOMENTS: [&str; 5] = ["at", "date", "on", "time", "timestamp"];

/// What has an end.
pub const SPANS: [&str; 8] = [
    "contract",
    "license",
    "period",
    "service",
    "subscription",
    "term",
    "trial",
    "validity",
];

/// Words of names of places from where something is good.
pub const RANGES: [&str; 7] = [
    "cidr",
    "cidrs",
    "ips",
    "networks",
    "referers",
    "referrers",
    "subnets",
];

/// Where something was used says nothing about where it may be.
pub const HISTORY: [&str; 5] = ["created", "known", "last", "recent", "seen"];
