use super::*;

pub fn taken(system: System, text: &str) -> Vec<String> {
    let found = found(system, text, &How::default());
    found.keys.iter().map(|k| k.client.clone()).collect()
}

#[test]
fn a_state_that_is_not_known_to_be_live_closes() {
    let unkey = |more: &str| {
        format!(
            r#"{{"keys": [{{"keyId": "key_1", "externalId": "initech",
                "plaintext": "unkey-initech-5e8a1f0c7b2d", {more}}}]}}"#
        )
    };
    for more in [
        r#""status": false"#,
        r#""status": "off""#,
        r#""status": "pending""#,
        r#""state": "cancelled""#,
        r#""status": "revoked_by_admin""#,
        r#""status": {"value": "disabled"}"#,
        r#""status": ["suspended"]"#,
        r#""is_active": "off_""#,
        r#""key_enabled": false"#,
        r#""keyEnabled": "no""#,
        r#""lifecycle": "deleted""#,
        r#""config": {"enabled": false}"#,
        r#""extra": [{"account": {"suspended": true}}]"#,
        r#""account_revoked_by": "admin""#,
        r#""token_expires_at": "2020-01-01""#,
    ] {
        assert!(taken(System::Unkey, &unkey(more)).is_empty(), "{more}");
    }
    for more in [
        r#""status": "Active""#,
        r#""status": true"#,
        r#""status": 1"#,
        r#""status": {"value": "enabled"}"#,
        r#""lifecycle": "published""#,
        r#""key_enabled": "yes""#,
        r#""config": {"enabled": true, "revoked": false}"#,
        r#""status": null"#,
        r#""estate": "large""#,
    ] {
        assert_eq!(taken(System::Unkey, &unkey(more)).len(), 1, "{more}");
    }
}

#[test]
fn a_column_that_is_not_known_and_closes_keeps_its_row_out() {
    for (title, cell) in [
        ("revoked_at", "2020-01-01T00:00:00Z"),
        ("banned", "TRUE"),
        ("Deactivated", "yes"),
        ("Locked", "1"),
        ("not_after", "2020-01-01"),
        ("allowed_ips", "10.0.0.0/8"),
        ("ip_whitelist", "10.0.0.1"),
        ("lifecycle", "retired"),
    ] {
        let text = format!(
            "client,key,{title}\nacme,csv-one-4c1f0e9d2b7a6358,{cell}\nhooli,csv-two-4c1f0e9d2b7a6358,\n"
        );
        let found = found(System::Csv, &text, &How::default());
        assert_eq!(found.keys.len(), 1, "{title}");
        assert_eq!(found.keys[0].client, "hooli");
        assert!(left(&found, "file:2", "may switch this off"), "{title}");
    }
}

#[test]
fn of_several_columns_with_one_meaning_the_stricter_counts() {
    let text = "client,key,expires,valid_until,End Date,valid_from,not_before\n\
        a,csv-one-4c1f0e9d2b7a6358,,2031-01-01,2030-01-01T00:00:00Z,2027-01-01,2028-01-01\n\
        b,csv-two-4c1f0e9d2b7a6358,90d,2031-01-01,,,\n\
        c,csv-six-4c1f0e9d2b7a6358,never,,2031-01-01,,\n";
    let read = found(System::Csv, text, &How::default());
    let a = key(&read, "csv-one-4c1f0e9d2b7a6358");
    assert_eq!(a.expires, "2030-01-01T00:00:00Z");
    assert_eq!(a.not_before, "2028-01-01T00:00:00Z");
    assert!(left(&read, "file:3", "it is unclear which comes first"));
    let c = key(&read, "csv-six-4c1f0e9d2b7a6358");
    assert_eq!(c.expires, "2031-01-01T00:00:00Z");
    let text = "client,key,disabled,disabled\nacme,csv-six-4c1f0e9d2b7a6358,false,true\n";
    assert!(found(System::Csv, text, &How::default()).keys[0].disabled);
    let text = "client,key,deny_cidrs,deny cidrs\nacme,csv-cid-4c1f0e9d2b7a6358,,10.0.0.0/8\n";
    let error = read_csv(text).err().unwrap().to_string();
    assert!(error.contains("`deny_cidrs` and `deny cidrs`"), "{error}");
    let text = "client,key,limits\nacme,csv-l1-4c1f0e9d2b7a6358,;\n";
    assert!(taken(System::Csv, text).is_empty());
}

fn read_csv(text: &str) -> keystile_model::error::Result<Found> {
    super::read(System::Csv, &files(text), &How::default())
}

#[test]
fn a_key_that_stands_twice_goes_to_nobody_if_the_places_disagree_on_whose_it_is() {
    for (title, one, other) in [
        ("client", "acme", "hooli"),
        ("plan", "gold", "free"),
        ("plan", "gold", ""),
        ("environment", "live", "test"),
    ] {
        let row = |cell: &str| {
            let client = if title == "client" { cell } else { "acme" };
            let more = if title == "client" { "" } else { cell };
            format!("{client},csv-dup-4c1f0e9d2b7a6358,{more}\n")
        };
        let more = if title == "client" { "name" } else { title };
        for (one, other) in [(one, other), (other, one)] {
            let text = format!("client,key,{more}\n{}{}", row(one), row(other));
            let found = found(System::Csv, &text, &How::default());
            assert!(found.keys.is_empty(), "{title}");
            assert!(left(&found, "file:2", &format!("with another `{title}`")));
        }
    }
    let text =
        "client,key,limits\na,csv-dup-4c1f0e9d2b7a6358,100/1m\na,csv-dup-4c1f0e9d2b7a6358,9/1m\n";
    assert_eq!(
        found(System::Csv, text, &How::default()).keys[0].limits,
        ["100/1m", "9/1m"]
    );
}

#[test]
fn a_key_that_stands_twice_is_as_closed_as_the_stricter_of_both() {
    let live = r#""enabled": true"#;
    let unkey = |one: &str, other: &str| {
        let key = |more: &str| {
            format!(
                r#"{{"keyId": "k", "externalId": "a", "plaintext": "unkey-dup-4c1f0e9d2b7a6358", {more}}}"#
            )
        };
        format!(r#"{{"keys": [{}, {}]}}"#, key(one), key(other))
    };
    for (one, other) in [(live, r#""enabled": false"#), (r#""enabled": false"#, live)] {
        let found = found(System::Unkey, &unkey(one, other), &How::default());
        assert!(found.keys.len() == 1 && found.keys[0].disabled, "{one}");
    }
    let end = r#""expires": 1700000000000"#;
    for (one, other) in [(live, end), (end, live)] {
        let mut found = found(System::Unkey, &unkey(one, other), &How::default());
        assert_eq!(found.keys[0].expires, "2023-11-14T22:13:20Z");
        found.leave_ended(1_800_000_000);
        assert!(found.keys.is_empty());
    }
    for gone in [
        r#""deletedAt": 1700000000000"#,
        r#""suspended": true"#,
        r#""ipWhitelist": "the office""#,
    ] {
        for (one, other) in [(live, gone), (gone, live)] {
            let found = found(System::Unkey, &unkey(one, other), &How::default());
            assert!(found.keys.is_empty(), "{one}, {other}");
            assert!(left(&found, "`k`", "is the same key as"));
        }
    }
    let row = |enabled: &str| ExportFile {
        name: enabled.to_owned(),
        text: Zeroizing::new(format!(
            "client,key,enabled\nacme,csv-dup-4c1f0e9d2b7a6358,{enabled}\n"
        )),
    };
    for words in [["true", "false"], ["false", "true"]] {
        let found = super::read(System::Csv, &words.map(row), &How::default()).unwrap();
        assert!(found.keys.len() == 1 && found.keys[0].disabled);
    }
    for words in [["true", "perhaps"], ["perhaps", "true"]] {
        let found = super::read(System::Csv, &words.map(row), &How::default()).unwrap();
        assert!(found.keys.is_empty());
    }
}

#[test]
fn a_key_that_stands_twice_is_good_only_where_both_are() {
    let table = |one: &str, other: &str| {
        format!(
            "client,key,cidrs\na,csv-dup-4c1f0e9d2b7a6358,{one}\na,csv-dup-4c1f0e9d2b7a6358,{other}\n"
        )
    };
    let cidrs = |one: &str, other: &str| {
        let found = found(System::Csv, &table(one, other), &How::default());
        found.keys.first().map(|k| k.cidrs.join(" "))
    };
    assert_eq!(cidrs("", "10.0.0.0/8").as_deref(), Some("10.0.0.0/8"));
    assert_eq!(
        cidrs("10.0.0.0/8;192.0.2.0/24", "10.0.0.0/8").as_deref(),
        Some("10.0.0.0/8")
    );
    assert_eq!(cidrs("10.0.0.0/8", "192.0.2.0/24"), None);
    let scopes = |one: &str, other: &str| {
        let row = |scopes| format!("a,csv-dup-4c1f0e9d2b7a6358,{scopes}\n");
        let text = format!("client,key,scopes\n{}{}", row(one), row(other));
        found(System::Csv, &text, &How::default()).keys[0]
            .scopes
            .join(" ")
    };
    assert_eq!(scopes("read;write", "read"), "read");
    assert_eq!(scopes("read", ""), "");
    assert_eq!(scopes("", "read"), "");
}

#[test]
fn what_closes_in_and_around_a_key_of_unkey_counts() {
    let text = |more: &str, file: &str| {
        format!(
            r#"{{"keys": [{{"keyId": "k", "externalId": "a", "plaintext": "unkey-one-4c1f0e9d2b7a6358"{more}}}]{file}}}"#
        )
    };
    assert_eq!(taken(System::Unkey, &text("", "")), ["a"]);
    for (more, file) in [
        ("", r#", "disabled": true"#),
        (r#", "credits": {"remaining": 5, "suspended": true}"#, ""),
        (r#", "ipWhitelist": ",""#, ""),
        (r#", "ipWhitelist": [""]"#, ""),
    ] {
        assert!(
            taken(System::Unkey, &text(more, file)).is_empty(),
            "{more}{file}"
        );
    }
    let permissions =
        r#", "permissions": [{"name": "a", "slug": "a", "revoked": true}, {"slug": "b"}]"#;
    let found = found(System::Unkey, &text(permissions, ""), &How::default());
    assert_eq!(found.keys[0].scopes, ["b"]);
    assert!(left(&found, "`k`", "permission `a`"));
}

#[test]
fn of_two_spellings_of_a_field_the_stricter_counts() {
    let key = |more: &str| {
        let text = format!(
            r#"{{"keys": [{{"keyId": "k", "externalId": "a", "plaintext": "unkey-one-4c1f0e9d2b7a6358", {more}}}]}}"#
        );
        found(System::Unkey, &text, &How::default())
    };
    assert!(key(r#""enabled": true, "Enabled": false"#).keys[0].disabled);
    let ends = key(r#""expires": 0, "Expires": 1900000000"#);
    assert_eq!(ends.keys[0].expires, "2030-03-17T17:46:40Z");
    assert!(
        key(r#""expires": 1900000000, "Expires": "soon""#)
            .keys
            .is_empty()
    );
    assert!(
        key(r#""deletedAt": 0, "deleted_at": 1700000000"#)
            .keys
            .is_empty()
    );
    let consumer = r#"{"consumers": [{"username": "a", "status": 1, "Status": 0,
        "plugins": {"key-auth": {"key": "apisix-one-4c1f0e9d2b7a6358"}}}]}"#;
    assert!(taken(System::Apisix, consumer).is_empty());
}

#[test]
fn a_credential_of_higress_that_is_left_out_is_left_out_everywhere() {
    let text = r#"{"data": [
        {"name": "a", "credential": "higress-one-4c1f0e9d2b7a6358"},
        {"name": "b", "credentials": [{"type": "key-auth", "revoked": true, "values": ["higress-one-4c1f0e9d2b7a6358"]}]}]}"#;
    assert!(taken(System::Higress, text).is_empty());
}
