use super::*;
use crate::closing::closes;

/// Whether a field closes, written as YAML.
fn field(text: &str) -> bool {
    let documents = crate::node::parse("file", text, "a file").unwrap();
    let mut pairs = documents[0].root.pairs().unwrap();
    let (name, value) = pairs.next().unwrap();
    closes(name, value)
}

#[test]
fn a_field_that_nobody_knows_closes_by_its_name_and_value() {
    for text in [
        "not_active: true",
        "active_until: 2020-01-01",
        "expire_time: 1600000000",
        "exp: 1600000000",
        "end_timestamp: 1600000000",
        "contract_end_date: 2020-01-01",
        "secret_expires_at: 2020-01-01",
        "trial_ends_at: 2020-01-01",
        "current_period_end: 2020-01-01",
        "valid_thru: 2020-01-01",
        "start_date: 2099-01-01",
        "lifetime: 3600",
        "flags: [disabled]",
        "standing: suspended",
        "mode: disabled",
        "access: none",
        "access: denied",
        "statuses: [disabled]",
        "status_code: disabled",
        "cidrs: [10.0.0.0/8]",
        "ip_allow: [10.0.0.0/8]",
        "source_ips: [10.0.0.0/8]",
        "referrers: [a.example.com]",
        "block: true",
        "ban: {reason: x}",
        "banned_until: 2099-01-01",
        "decommissioned: true",
        "compromised: true",
        "lock: true",
        "deactivate: true",
        "suspension: yes",
        "revocation: {at: 2020-01-01}",
        "deletion_date: 2020-01-01",
        "allowed_ips: [10.0.0.1]",
        "verified: no",
    ] {
        assert!(field(text), "{text}");
    }
}

#[test]
fn a_field_that_says_something_else_does_not_close() {
    for text in [
        "email_verified: no",
        "notifications_enabled: false",
        "requests_allowed_per_day: 1000",
        "lock_version: 3",
        "block_size: 8",
        "mode: production",
        "tags: [gold]",
        "access: full",
        "front_end: true",
        "created_at: 2020-01-01",
        "started_by: alice",
        "not_active: false",
        "ttl: 0",
        "lifetime: -1",
        "plan_status: paid",
        "read_only: false",
        "experience: 3",
        "last_ips: [10.0.0.1]",
    ] {
        assert!(!field(text), "{text}");
    }
}

#[test]
fn columns_of_almost_a_known_name_count_or_close() {
    let row = |column: &str, cell: &str| {
        let text = format!("client,key,{column}\na,csv-near-4c1f0e9d2b7a6358,{cell}\n");
        let mut found = found(System::Csv, &text, &How::default());
        found.keys.pop()
    };
    assert_eq!(row("cidr", "10.0.0.0/8").unwrap().cidrs, ["10.0.0.0/8"]);
    assert_eq!(row("Scope", "read").unwrap().scopes, ["read"]);
    let ends = row("expire", "20271231").unwrap();
    assert_eq!(ends.expires, "2027-12-31T00:00:00Z");
    for (column, cell) in [
        ("network", "10.0.0.0/8"),
        ("Source IP", "10.0.0.1"),
        ("Allow IPs", "10.0.0.1"),
        ("contract_end_date", "2020-01-01"),
        ("suspension", "yes"),
    ] {
        assert!(row(column, cell).is_none(), "{column}");
    }
    assert!(row("Email verified", "no").is_some());
    assert!(row("Requests allowed per day", "1000").is_some());
    let (key, other) = (sha("csv-near-4c1f0e9d2b7a6358"), "0".repeat(64));
    assert!(row("sha256", &key).is_some());
    assert!(row("sha256", &other).is_none());
}

#[test]
fn the_least_that_unkey_says_of_a_key_counts() {
    let key = |more: &str| {
        let text = format!(
            r#"{{"keys": [{{"id": "k", "plaintext": "unkey-a01-4c1f0e9d2b7a6358", "externalId": "a", {more}}}]}}"#
        );
        let mut found = found(System::Unkey, &text, &How::default());
        found.keys.pop()
    };
    for more in [
        r#""identity": {"externalId": "a", "credits": {"remaining": 0}}"#,
        r#""remaining": 0, "credits": {"remaining": 5}"#,
        r#""remaining": 3, "remainingRequests": 0"#,
    ] {
        assert!(key(more).unwrap().disabled, "{more}");
    }
    assert!(!key(r#""remaining": 3"#).unwrap().disabled);
    let limits = key(r#""ratelimit": {"limit": 3, "duration": 1500}"#).unwrap();
    assert_eq!(limits.limits, ["3/2s"]);
    let networks = key(r#""ipWhitelist": "", "ip_whitelist": "10.0.0.1""#).unwrap();
    assert_eq!(networks.cidrs, ["10.0.0.1/32"]);
    assert!(key(r#""ipWhitelist": "10.0.0.2", "ip_whitelist": "10.0.0.1""#).is_none());
}

#[test]
fn a_key_in_the_column_of_something_else_is_in_no_message() {
    let other = "csv-other-4c1f0e9d2b7a6358";
    for column in ["environment", "type", "limits", "cidrs", "expires", "plan"] {
        let text = format!("client,key,{column}\na,csv-near-4c1f0e9d2b7a6358,{other}\n");
        let error = read(System::Csv, &files(&text), &How::default())
            .err()
            .unwrap();
        let words = error.to_string();
        assert!(
            words.contains(column) && words.contains("may be a key"),
            "{words}"
        );
        assert!(!words.contains(other), "{words}");
    }
    let text = format!("client,key,status\na,csv-near-4c1f0e9d2b7a6358,{other}\n");
    let found = found(System::Csv, &text, &How::default());
    assert!(!format!("{:?}", found.left).contains(other));
    let fine = "client,key,plan,expires\na,csv-near-4c1f0e9d2b7a6358,gold-tier-2024-enterprise,2027-12-31T00:00:00Z\n";
    assert_eq!(
        read(System::Csv, &files(fine), &How::default())
            .unwrap()
            .keys
            .len(),
        1
    );
}
