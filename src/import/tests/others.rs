use super::*;

#[test]
fn envoy_gateway_takes_the_first_secret_that_names_a_client() {
    let found = found(
        System::EnvoyGateway,
        vector!("envoy-gateway-several.yaml"),
        &How::default(),
    );
    assert_eq!(found.keys.len(), 2);
    assert_eq!(key(&found, "eg-initech-new-7b2d9e4f").client, "initech");
    assert_eq!(key(&found, "eg-hooli-3c6a8d1b9f4e").client, "hooli");
    assert!(left(
        &found,
        "Secret prod/old, `initech`",
        "an earlier Secret"
    ));
    assert!(left(&found, "prod/orders", "it protects HTTPRoute orders"));
}

#[test]
fn keys_of_one_of_several_security_policies_open_no_more_than_its_routes() {
    let more = "---\nkind: SecurityPolicy\nmetadata: {name: inner, namespace: prod}\nspec:\n  targetRef: {kind: HTTPRoute, name: inner}\n  apiKeyAuth: {credentialRefs: [{name: old}]}\n";
    let text = format!("{}{more}", vector!("envoy-gateway-several.yaml"));
    let found = found(System::EnvoyGateway, &text, &How::default());
    assert_eq!(
        key(&found, "eg-initech-new-7b2d9e4f").scopes,
        ["prod/orders"]
    );
    assert_eq!(
        key(&found, "eg-initech-old-5e8a1f0c").scopes,
        ["prod/inner"]
    );
    assert_eq!(
        key(&found, "eg-hooli-3c6a8d1b9f4e").scopes,
        ["prod/orders", "prod/inner"]
    );
    assert!(left(&found, "prod/inner", "ask for scope `prod/inner`"));
}

#[test]
fn clients_of_a_security_policy_that_asks_for_more_than_a_key_stay_out() {
    for more in [
        "authorization: {defaultAction: Deny, rules: [{action: Allow, principal: {clientCIDRs: [10.0.0.0/8]}}]}",
        "jwt: {providers: []}",
        "extAuth: {}",
    ] {
        let text = format!(
            "apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {{name: orders, namespace: prod}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders}}]
  apiKeyAuth: {{credentialRefs: [{{name: keys}}], extractFrom: [{{headers: [x-api-key]}}]}}
  {more}
---
apiVersion: v1
kind: Secret
metadata: {{name: keys, namespace: prod}}
stringData: {{initech: eg-initech-5e8a1f0c7b2d}}
"
        );
        let found = found(System::EnvoyGateway, &text, &How::default());
        assert!(found.keys.is_empty(), "{more}");
        assert!(
            left(&found, "prod/orders", "beside a key"),
            "{more}: {:?}",
            found.left
        );
    }
}

#[test]
fn a_key_of_unkey_keeps_the_addresses_that_it_may_be_used_from() {
    for list in [
        r#""192.0.2.7, 10.0.0.0/8""#,
        r#"["192.0.2.7", "10.0.0.0/8"]"#,
    ] {
        let text = format!(
            r#"{{"keys": [{{"keyId": "key_1", "externalId": "initech",
                "plaintext": "unkey-initech-5e8a1f0c7b2d", "ipWhitelist": {list}}}]}}"#
        );
        let found = found(System::Unkey, &text, &How::default());
        let cidrs = &key(&found, "unkey-initech-5e8a1f0c7b2d").cidrs;
        assert_eq!(*cidrs, ["192.0.2.7/32", "10.0.0.0/8"]);
    }
    let odd = r#"{"keys": [{"keyId": "key_1", "externalId": "initech",
        "plaintext": "unkey-initech-5e8a1f0c7b2d", "ipWhitelist": "the office"}]}"#;
    let found = found(System::Unkey, odd, &How::default());
    assert!(found.keys.is_empty());
    assert!(left(&found, "key_1", "`ipWhitelist`"));
}

#[test]
fn a_field_that_nobody_knows_and_that_closes_by_its_name_keeps_its_key_out() {
    let how = How::default();
    let unkey = |more: &str| {
        String::from(
            r#"{"keys": [{"keyId": "key_1", "externalId": "initech",
                "plaintext": "unkey-initech-5e8a1f0c7b2d"MORE}]}"#,
        )
        .replace("MORE", more)
    };
    let taken = |system, text: &str| found(system, text, &how).keys.len();
    for more in [
        r#", "revoked": true"#,
        r#", "isDisabled": 1"#,
        r#", "revoked_at": "2026-01-01""#,
        r#", "suspended": "yes""#,
        r#", "active": false"#,
        r#", "status": "revoked""#,
        r#", "frozen": true"#,
        r#", "isVerified": false"#,
        r#", "valid_until": "2020-01-01""#,
        r#", "expiresAt": 1900000000000"#,
        r#", "allowedIps": ["10.0.0.1"]"#,
        r#", "restrictions": {"api": "orders"}"#,
        r#", "read_only": true"#,
        r#", "identity": {"externalId": "initech", "blocked": true}"#,
    ] {
        assert_eq!(taken(System::Unkey, &unkey(more)), 0, "{more}");
    }
    for more in [
        "",
        r#", "revoked": false"#,
        r#", "revoked_at": null"#,
        r#", "active": true"#,
        r#", "status": "active""#,
        r#", "colour": "red""#,
        r#", "frozen": 0"#,
        r#", "expiresAt": -1"#,
        r#", "expires_at": "-1""#,
        r#", "valid_until": null"#,
        r#", "allowedIps": []"#,
        r#", "commonly": true"#,
    ] {
        assert_eq!(taken(System::Unkey, &unkey(more)), 1, "{more}");
    }
    let consumer = |more: &str, key: &str| {
        String::from(
            r#"{"consumers": [{"username": "initech" MORE,
                "keyauth_credentials": [{"key": "kong-initech-5e8a1f0c7b2d" KEY}]}]}"#,
        )
        .replace("MORE", more)
        .replace("KEY", key)
    };
    assert_eq!(taken(System::Kong, &consumer("", "")), 1);
    for (more, key) in [
        (r#", "disabled": true"#, ""),
        ("", r#", "revoked": true"#),
        (r#", "plugins": [{"name": "pre-function"}]"#, ""),
    ] {
        assert_eq!(taken(System::Kong, &consumer(more, key)), 0, "{more}{key}");
    }
    let apisix =
        |more: &str| r#"{"consumers": [{"username": "initech" MORE}]}"#.replace("MORE", more);
    let auth = r#", "plugins": {"key-auth": {"key": "apisix-initech-5e8a1f0c"}}"#;
    assert_eq!(taken(System::Apisix, &apisix(auth)), 1);
    for more in [r#", "status": 0"#, r#", "group_id": "gone""#] {
        let text = apisix(&format!("{auth}{more}"));
        assert_eq!(taken(System::Apisix, &text), 0, "{more}");
    }
}

#[test]
fn unkeys_first_version_has_one_limit_and_counts_down() {
    let found = found(System::Unkey, vector!("unkey-v1.json"), &How::default());
    let initech = key(&found, "unkey-initech-5e8a1f0c7b2d");
    assert_eq!(initech.limits, ["6/1s:30"]);
    assert_eq!(initech.expires, "2031-06-23T16:53:20Z");
    assert_eq!(
        initech.scopes,
        ["api_1"],
        "keys of several APIs do not open each other's"
    );
    let hooli = key(&found, "unkey-hooli-3c6a8d1b9f4e");
    assert!(hooli.disabled);
    assert_eq!(hooli.limits, ["9/1m"]);
    assert!(left(&found, "`key_2`", "`refill`"));
    assert!(left(&found, "`key_3`", "is deleted"));
    assert!(found.noted.keys().any(|n| n.contains("no credits left")));
    assert_eq!(found.left.len(), 2, "{:?}", found.left);
}

#[test]
fn a_table_of_aws_switches_keys_off_and_leaves_nothing_unsaid() {
    let how = How {
        columns: [("client".to_owned(), "Name".to_owned())].into(),
        ..How::default()
    };
    let found = found(System::Csv, vector!("aws-api-keys.csv"), &how);
    assert!(!key(&found, "aws-initech-5e8a1f0c7b2d9e4f").disabled);
    assert!(key(&found, "aws-hooli-3c6a8d1b9f4e7b2d").disabled);
    assert!(key(&found, "aws-vandelay-2a7c5e9d0b1f").disabled);
    assert!(left(&found, "`usageplanIds`", "is not known"));
    for word in ["perhaps", "2"] {
        let text = format!("client,key,enabled\na,aws-unsure-0123456789abcdef,{word}\n");
        let found = super::found(System::Csv, &text, &How::default());
        assert!(found.keys.is_empty() && left(&found, "file:2", "is left out"));
    }
}

#[test]
fn gravitees_subscriptions_end_and_pause_as_they_did() {
    let found = found(System::Csv, vector!("gravitee.csv"), &How::default());
    let initech = key(&found, "gravitee-initech-5e8a1f0c");
    assert_eq!(
        (initech.expires.as_str(), initech.disabled),
        ("2031-06-23T16:53:20Z", false)
    );
    assert!(key(&found, "gravitee-hooli-3c6a8d1b9f").disabled);
    assert_eq!(found.keys.len(), 2);
    assert!(left(&found, "file:4", "its status is `CLOSED`"));
    let without = "Plan;Application;Status\ngold;initech;ACCEPTED\n";
    let error = read(System::Csv, &files(without), &How::default())
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("neither a column `key`"),
        "{error}"
    );
}

#[test]
fn higress_allows_consumers_route_by_route() {
    let found = found(System::Higress, vector!("higress.yaml"), &How::default());
    assert_eq!(key(&found, "higress-initech-5e8a1f0c").scopes, ["shop"]);
    assert!(key(&found, "higress-hooli-3c6a8d1b9f4e").scopes.is_empty());
    assert!(left(&found, "rule 1", "scope `shop`"));
    assert!(left(&found, "file", "keys are expected in x-api-key"));
    let console = r#"{"success":true,"data":[{"name":"a","credentials":[{"type":"key-auth","source":"HEADER","key":"x-api-key","values":["higress-console-0123456789"]},{"type":"jwt-auth","values":["no"]}]}]}"#;
    let found = super::found(System::Higress, console, &How::default());
    assert_eq!(key(&found, "higress-console-0123456789").client, "a");
    assert!(left(&found, "`a`", "jwt-auth credentials"));
}

#[test]
fn tyks_sessions_are_narrowed_switched_off_and_ended_as_they_were() {
    let found = found(System::Tyk, vector!("tyk.json"), &How::default());
    let initech = key(&found, "tyk-initech-5e8a1f0c7b2d");
    assert_eq!(
        (initech.limits.as_slice(), initech.scopes.as_slice()),
        (&["50/1m".to_owned()][..], &["orders".to_owned()][..])
    );
    assert_eq!(initech.expires, "2031-06-23T16:53:20Z");
    let hooli = key(&found, "tyk-hooli-3c6a8d1b9f4e");
    assert!(hooli.disabled && hooli.expires.is_empty());
    assert!(left(&found, "key 2", "a quota of 1000"));
    assert!(left(&found, "key 3", "`allowed_urls` narrows it"));
    assert!(left(
        &found,
        "key 4",
        "its policy `gone` is not in the export"
    ));
    assert_eq!(found.keys.len(), 2);
    let redis = r#"{"apikey-tyk-redis-0123456789abcdef":{"alias":"a","access_rights":{"x":{"api_id":"x"}},"colour":"red"}}"#;
    let found = super::found(System::Tyk, redis, &How::default());
    assert_eq!(key(&found, "tyk-redis-0123456789abcdef").client, "a");
    assert!(left(&found, "key 1", "field `colour` is not known"));
    assert!(!format!("{:?}", found.left).contains("tyk-redis"));
}

#[test]
fn a_file_that_holds_nothing_of_its_kind_is_refused() {
    for system in [
        System::Kong,
        System::Apisix,
        System::EnvoyGateway,
        System::Unkey,
        System::Higress,
        System::Tyk,
        System::Csv,
    ] {
        for text in [
            "",
            "---\n",
            "{}",
            "[]",
            "null",
            "openapi: 3.1.0\npaths: {}\n",
            "_format_version: '3.0'\nservices: []\n",
            "just words\n",
            "{\"total\":0,\"list\":[]}",
        ] {
            let read = read(system, &files(text), &How::default());
            assert!(read.is_err(), "{system:?}: {text:?}");
        }
    }
    // Nor is one among others that hold something.
    let other = "_format_version: '3.0'\nupstreams: [{name: u}]\n";
    let both: Vec<ExportFile> = files(vector!("kong.yaml"))
        .into_iter()
        .chain([ExportFile {
            name: "other".to_owned(),
            text: Zeroizing::new(other.to_owned()),
        }])
        .collect();
    let error = read(System::Kong, &both, &How::default()).err().unwrap();
    assert!(
        error.to_string().starts_with("other: holds nothing"),
        "{error}"
    );
}

#[test]
fn a_key_that_cannot_be_sent_in_a_place_is_named() {
    let text = "client,key\na,\"with,a-comma-0123456789\"\n";
    let found = found(System::Csv, text, &How::default());
    assert_eq!(found.keys.len(), 1);
    let (note, places) = found.noted.first_key_value().unwrap();
    assert!(
        note.contains("after a scheme (`Authorization: Bearer`)"),
        "{note}"
    );
    assert!(places.contains("file:2"));
    assert!(!note.contains("with,a-comma"));
}

#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the test, as for transcripts"
)]
#[test]
fn what_moving_says_of_fields_is_what_the_importers_know() {
    let systems = [
        System::Kong,
        System::Apisix,
        System::EnvoyGateway,
        System::Unkey,
        System::Higress,
        System::Tyk,
        System::Csv,
    ];
    let tables: Vec<String> = systems.into_iter().map(System::fields).collect();
    let wanted = tables.join("\n");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../book/pages/moving.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, _) = text.split_once("\n### kong\n").unwrap_or((&text, ""));
    let wanted = format!("{before}\n{wanted}");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, wanted).unwrap();
    } else {
        assert!(text == wanted, "`BLESS=1` writes the tables anew");
    }
}

#[test]
fn a_key_that_no_header_carries_unchanged_stays_out() {
    for key in [
        "a blank-0123456789abcdef",
        " before-0123456789abcdef",
        "behind-0123456789abcdef ",
        "tab\\t0123456789abcdef",
        "nul\\0-0123456789abcdef",
        "caf\\u00e9-0123456789abcdef",
    ] {
        let text = format!(
            "_format_version: \"3.0\"\nconsumers:\n- username: acme\n  keyauth_credentials:\n  - key: \"{key}\"\n"
        );
        let found = found(System::Kong, &text, &How::default());
        assert!(found.keys.is_empty(), "{key}");
        assert!(
            left(&found, "key 1", "no header carries unchanged"),
            "{key}"
        );
    }
}

#[test]
fn a_plan_that_stands_twice_has_the_limits_of_both() {
    let group = |id: &str, count: u32| {
        format!(
            r#"{{"value": {{"id": "{id}", "plugins": {{"limit-count": {{"count": {count}, "time_window": 60, "rejected_code": 429}}}}}}, "key": "/apisix/consumer_groups/{id}"}}"#
        )
    };
    let text = format!(
        r#"{{"list": [{}, {}, {}], "total": 3}}"#,
        group("gold", 100),
        group("gold", 5),
        group("free", 1)
    );
    let mut found = found(System::Apisix, &text, &How::default());
    let limits: Vec<u32> = found.plans["gold"]
        .limits
        .iter()
        .map(|l| l.requests as u32)
        .collect();
    assert_eq!(limits, [100, 5]);
    let (note, places) = found.noted.first_key_value().unwrap();
    assert!(note.contains("plan `gold` has other limits"), "{note}");
    assert_eq!(places.len(), 1);
    found.plan_stays("gold");
    assert!(left(
        &found,
        "file",
        "limits of plan `gold`: the policy has"
    ));
}
