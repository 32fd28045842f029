//! The columns that a table can have.

/// Words of a status with which a key is good.
pub const ON: [&str; 7] = [
    "accepted", "active", "approved", "enabled", "live", "ok", "valid",
];

/// Words of a status with which a key is disabled.
pub const OFF: [&str; 6] = [
    "blocked",
    "disabled",
    "inactive",
    "paused",
    "pending",
    "suspended",
];

/// A field of a key, as a column of a table.
pub struct Column {
    pub name: &'static str,
    /// Other names that its header may have.
    pub also: &'static [&'static str],
    /// For the documentation.
    holds: &'static str,
}

const fn column(name: &'static str, also: &'static [&'static str], holds: &'static str) -> Column {
    Column { name, also, holds }
}

const TIME: &str = "`2027-01-31`, `20270131`, `2027-01-31T12:00:00Z`, seconds or milliseconds since 1970, or `90d` from today";

pub const COLUMNS: [Column; 18] = [
    column(
        "client",
        &["application", "application_name"],
        "whose key it is; a missing client is created",
    ),
    column("key", &["api_key", "api_key_value"], "the full key"),
    column(
        "sha256",
        &[],
        "its SHA-256 as 64 hexadecimal digits, in place of the key",
    ),
    column("name", &[], "free text"),
    column(
        "environment",
        &[],
        "`live`; if empty, the first one of the policy",
    ),
    column("type", &[], "`secret` or `publishable`"),
    column("scopes", &["scope"], "list"),
    column("plan", &[], "a plan for this key, in place of the client's"),
    column(
        "limits",
        &["limit"],
        "list of limits for this key: `100/1m`, `5/1s:20`, `1000/1h@client`",
    ),
    column(
        "expires",
        &[
            "expires_at",
            "expire",
            "expiration",
            "expiry",
            "end_date",
            "ending_at",
            "valid_until",
        ],
        "as `not_before`, or `never`",
    ),
    column(
        "not_before",
        &["start_date", "starting_at", "valid_from"],
        TIME,
    ),
    column(
        "cidrs",
        &["cidr"],
        "list of networks from which the key may be used: `10.0.0.0/8`",
    ),
    column(
        "deny_cidrs",
        &["deny_cidr"],
        "list of networks from which the key may not be used",
    ),
    column(
        "origins",
        &["origin"],
        "list of web origins from which the key may be used: `https://app.example.com`",
    ),
    column(
        "certificates",
        &["certificate"],
        "list of client certificates that the key is bound to, in the form of `key issue --certificate`: `spiffe://example.org/billing`, `dns:api.example.com`",
    ),
    column(
        "disabled",
        &[
            "inactive",
            "is_inactive",
            "suspended",
            "blocked",
            "paused",
            "revoked",
            "deleted",
        ],
        "anything but `false`, `no`, `0` (or their first letters) disables the key",
    ),
    column(
        "enabled",
        &["active", "is_active"],
        "`true`, `yes`, `1`; `false` or nothing disables the key, any other word leaves it out",
    ),
    column("status", &["state", "subscription_status"], ""),
];

/// All columns, as Markdown.
pub fn described() -> String {
    let words = |all: &[&str]| {
        let all: Vec<String> = all.iter().map(|w| format!("`{w}`")).collect();
        all.join(", ")
    };
    let status = format!(
        "{}; {} or nothing disables the key, any other word leaves it out",
        words(&ON),
        words(&OFF)
    );
    let mut out = "| column | also called | holds |\n| --- | --- | --- |\n".to_owned();
    for Column { name, also, holds } in &COLUMNS {
        let holds = if holds.is_empty() { &status } else { *holds };
        out.push_str(&format!("| `{name}` | {} | {holds} |\n", words(also)));
    }
    out
}
