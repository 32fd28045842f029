use super::*;

/// How many keys are taken over from a session with more in it, in an item with more in it.
fn taken(session: &str, right: &str, item: &str, policy: &str) -> usize {
    let text = r#"{"policies": [{"id": "p1", "rate": 9, "per": 1 POLICY}], "keys": [
        {"key_id": "tyk-initech-5e8a1f0c7b2d", "data": {"alias": "initech", "apply_policies": ["p1"],
         "access_rights": {"orders": {"api_id": "orders" RIGHT}} SESSION} ITEM}]}"#
        .replace("SESSION", session)
        .replace("RIGHT", right)
        .replace("ITEM", item)
        .replace("POLICY", policy);
    let found = found(System::Tyk, &text, &How::default());
    let out = left(&found, "key 1", "is left out");
    assert_ne!(out, !found.keys.is_empty(), "it is named: {:?}", found.left);
    found.keys.len()
}

#[test]
fn sessions_of_something_else_than_an_api_key_stay_out() {
    for session in [
        r#", "basic_auth_data": {"password": "x", "hash_type": "bcrypt"}"#,
        r#", "hmac_enabled": true"#,
        r#", "hmac_enabled": false, "hmacEnabled": true"#,
        r#", "enable_http_signature_validation": true"#,
        r#", "jwt_data": {"secret": "abc"}"#,
        r#", "certificate": "abcdef""#,
        r#", "mtls_static_certificate_bindings": ["x"]"#,
    ] {
        assert_eq!(taken(session, "", "", ""), 0, "{session}");
    }
    assert_eq!(taken("", "", "", r#", "hmac_enabled": true"#), 0);
    let plain = r#", "basic_auth_data": {"password": "", "hash_type": ""}, "jwt_data": {"secret": ""},
        "hmac_enabled": false, "certificate": "", "mtls_static_certificate_bindings": []"#;
    assert_eq!(taken(plain, "", "", ""), 1);
}

#[test]
fn what_closes_an_item_a_right_or_a_policy_keeps_the_key_out() {
    for item in [
        r#", "revoked": true"#,
        r#", "status": "suspended""#,
        r#", "session": {"alias": "other"}"#,
    ] {
        assert_eq!(taken("", "", item, ""), 0, "{item}");
    }
    for right in [r#", "blocked": true"#, r#", "enabled": false"#] {
        assert_eq!(taken("", right, "", ""), 0, "{right}");
    }
    assert_eq!(taken("", "", "", r#", "disabled": true"#), 0);
    // A list in another spelling, beside an empty one and beside another.
    let urls = r#", "allowed_urls": [], "allowedUrls": [{"url": "/x"}]"#;
    assert_eq!(taken("", urls, "", ""), 0);
    assert_eq!(taken(r#", "applyPolicies": ["p9"]"#, "", "", ""), 0);
    assert_eq!(
        taken("", "", r#", "status": "ok""#, r#", "active": true"#),
        1
    );
    let file = r#"{"disabled": true, "keys": [{"key_id": "tyk-initech-5e8a1f0c7b2d",
        "data": {"alias": "initech", "access_rights": {"orders": {}}}}]}"#;
    assert!(found(System::Tyk, file, &How::default()).keys.is_empty());
}

#[test]
fn either_spelling_switches_off_and_limits_of_endpoints_are_named() {
    let text = r#"[{"key_id": "tyk-initech-5e8a1f0c7b2d", "data": {"alias": "initech",
        "is_inactive": false, "isInactive": true, "access_rights": {"orders": {
        "endpoints": [{"path": "/a", "methods": [{"name": "GET", "limit": {"rate": 1, "per": 60}}]}]}}}}]"#;
    let found = found(System::Tyk, text, &How::default());
    assert!(key(&found, "tyk-initech-5e8a1f0c7b2d").disabled);
    assert!(left(&found, "key 1", "`endpoints`: write it as `limit`"));
}

#[test]
fn a_session_that_is_left_out_somewhere_is_left_out_everywhere() {
    let one = r#"{"key_id": "tyk-initech-5e8a1f0c7b2d", "data": {"alias": "initech", "access_rights": {"a": {}} MORE}}"#;
    let (live, dead) = (
        one.replace("MORE", ""),
        one.replace("MORE", r#", "hmac_enabled": true"#),
    );
    for text in [format!("[{live}, {dead}]"), format!("[{dead}, {live}]")] {
        let found = found(System::Tyk, &text, &How::default());
        assert!(found.keys.is_empty(), "{text}");
    }
    let once = found(System::Tyk, &format!("[{live}, {live}]"), &How::default());
    assert_eq!(once.keys.len(), 1);
}

#[test]
fn names_that_are_keys_are_in_no_message() {
    let entry = r#"{"session": {"alias": "c", "access_rights": {"a": {}}}, "colour": "red"}"#;
    let both = r#"{"data": {"alias": "a", "access_rights": {"a": {}}}, "session": {"alias": "b", "x": {"y": 1}}}"#;
    for text in [
        format!(
            r#"{{"apikey-secretlettersonly": {both}, "apikey-secret2234567890": {entry}, "secretwithoutanything": 5}}"#
        ),
        format!(
            r#"{{"data": {{"secretlettersonlylonger": {both}, "secret2234567890": {entry}}}}}"#
        ),
        format!(
            r#"{{"policies": [{{"id": "p"}}], "secretlettersonly": {both}, "apikey-secret": 5}}"#
        ),
        format!(r#"{{"keys": [{entry}], "apikey-secret2234567890": {{"suspended": true}}}}"#),
    ] {
        let found = found(System::Tyk, &text, &How::default());
        let said = format!("{:?} {:?}", found.left, found.noted);
        assert!(!said.contains("secret"), "{said}");
        assert!(!found.left.is_empty());
    }
}

#[test]
fn the_stricter_of_a_sessions_and_its_policys_limits_counts() {
    let limits = |rate: u32| {
        let text = r#"{"policies": [{"id": "p1", "rate": 10, "per": 1}], "keys": [{"key_id": "tyk-initech-5e8a1f0c7b2d",
            "data": {"alias": "initech", "rate": RATE, "per": 1, "apply_policies": ["p1"], "access_rights": {"a": {}}}}]}"#;
        let text = text.replace("RATE", &rate.to_string());
        let found = found(System::Tyk, &text, &How::default());
        key(&found, "tyk-initech-5e8a1f0c7b2d").limits.clone()
    };
    let twice = r#"{"policies": [{"id": "p1", "state": "draft"}, {"id": "p1"}], "keys": [{"key_id": "tyk-initech-5e8a1f0c7b2d",
        "data": {"alias": "initech", "apply_policies": ["p1"], "access_rights": {"a": {}}}}]}"#;
    let twice = found(System::Tyk, twice, &How::default());
    assert!(key(&twice, "tyk-initech-5e8a1f0c7b2d").disabled);
    assert_eq!(limits(1000), ["10/1s"]);
    assert_eq!(limits(3), ["3/1s"]);
}

/// The scopes of a session that has a right to `orders` and names policy `p1`.
fn scopes(policies: &str) -> String {
    let text = format!(
        r#"{{"policies": [{policies}], "keys": [{{"key_id": "tyk-initech-5e8a1f0c7b2d", "data":
        {{"alias": "initech", "apply_policies": ["p1"], "access_rights": {{"orders": {{}}}}}}}}]}}"#
    );
    let found = found(System::Tyk, &text, &How::default());
    match found.keys.first() {
        Some(key) => key.scopes.join(" "),
        None => "out".to_owned(),
    }
}

#[test]
fn the_rights_of_policies_replace_those_of_the_session_where_they_are_in_force() {
    let policy = |more: &str| format!(r#"{{"id": "p1", "access_rights": {{"b": {{}}}} {more}}}"#);
    for (more, expected) in [
        ("", "b"),
        (r#", "partitions": {}"#, "b"),
        (r#", "partitions": {"acl": true}"#, "b"),
        (r#", "partitions": {"per_api": true}"#, "b"),
        (r#", "partitions": {"rate_limit": true}"#, "orders"),
        (r#", "partitions": {"quota": true, "acl": false}"#, "orders"),
        (r#", "partitions": {"acl": true, "per_api": true}"#, "out"),
        (r#", "partitions": {"acl": true, "frozen": true}"#, "out"),
        (
            r#", "graphql_access_rights": {"orders": {"allowed_types": [{"name": "Q"}]}}"#,
            "out",
        ),
        (r#", "rsa_enabled": true"#, "out"),
        (r#", "key_expires_in": 3600"#, "out"),
        (r#", "key_expires_in": 0"#, "b"),
        (r#", "org_id": "o""#, "b"),
    ] {
        assert_eq!(scopes(&policy(more)), expected, "{more}");
    }
    assert_eq!(scopes(r#"{"id": "p1", "rate": 1, "per": 1}"#), "orders");
    // Of one that stands twice, only what both say.
    let twice = r#"{"id": "p1", "access_rights": {"a": {}, "b": {}}}"#;
    assert_eq!(scopes(&format!("{twice}, {}", policy(""))), "b");
}

#[test]
fn a_limit_of_a_policy_counts_where_that_part_is_in_force() {
    let limits = |partitions: &str| {
        let text = r#"{"policies": [{"id": "p1", "rate": 10, "per": 1, "partitions": PARTS}], "keys": [{"key_id": "tyk-initech-5e8a1f0c7b2d",
            "data": {"alias": "initech", "apply_policies": ["p1"], "access_rights": {"a": {}}}}]}"#;
        let found = found(
            System::Tyk,
            &text.replace("PARTS", partitions),
            &How::default(),
        );
        found.keys[0].limits.join(" ")
    };
    assert_eq!(limits(r#"{"rate_limit": true}"#), "10/1s");
    assert_eq!(limits(r#"{"quota": true}"#), "");
}

#[test]
fn a_session_without_the_policies_of_its_list_takes_none_of_another_organisation() {
    let text = r#"{"policies": [{"id": "p1", "org_id": "x"}, {"id": "p2", "access_rights": {"b": {}}}], "keys": [
        {"key_id": "tyk-initech-5e8a1f0c7b2d", "data": {"alias": "initech", "org_id": "o", "apply_policies": ["p1"], "access_rights": {"a": {}}}},
        {"key_id": "tyk-hooli-3c6a8d1b9f4e", "data": {"alias": "hooli", "apply_policies": ["p3"], "apply_policy_id": "p2", "access_rights": {"a": {}}}}]}"#;
    let found = found(System::Tyk, text, &How::default());
    assert!(left(&found, "key 1", "another organisation"));
    assert!(left(&found, "key 2", "`p3` is not in the export"));
}

#[test]
fn a_session_that_ends_by_itself_or_is_used_up_does_not_come_in_open() {
    for session in [
        r#", "session_lifetime": 3600"#,
        r#", "id_extractor_deadline": 1900000000"#,
        r#", "meta_data": {"policies": [{"id": "x"}]}"#,
        r#", "key_expires_in": 3600"#,
    ] {
        assert_eq!(taken(session, "", "", ""), 0, "{session}");
    }
    let plain = r#", "session_lifetime": 0, "id_extractor_deadline": 0, "meta_data": {"tier": "x"},
        "basic_auth_data": {"password": "", "hash_type": "bcrypt"}"#;
    assert_eq!(taken(plain, "", "", ""), 1);
    assert_eq!(taken("", "", r#", "action": "deleted""#, ""), 0);
    assert_eq!(taken("", r#", "disable_introspection": true"#, "", ""), 0);
    let state = |more: &str| {
        let text = format!(
            r#"[{{"key_id": "tyk-initech-5e8a1f0c7b2d", "data": {{"alias": "initech", "access_rights": {{"a": {{}}}}, {more}}}}}]"#
        );
        let found = found(System::Tyk, &text, &How::default());
        (found.keys[0].disabled, found.keys[0].expires.clone())
    };
    let quota = r#""quota_max": 10, "quota_remaining": 0"#;
    assert!(state(quota).0);
    assert!(!state(&format!(r#"{quota}, "quota_renewal_rate": 60"#)).0);
    assert_eq!(
        state(r#""expires": 0, "Expires": 1500000000"#).1,
        "2017-07-14T02:40:00Z"
    );
}

#[test]
fn a_key_for_some_versions_gets_scopes_of_these_versions() {
    let text = r#"[{"key_id": "tyk-initech-5e8a1f0c7b2d", "data": {"alias": "initech", "access_rights": {
        "a": {"versions": ["v1", "Default"]}, "b": {"versions": ["Default"]}, "c": {"versions": []}}}}]"#;
    let found = found(System::Tyk, text, &How::default());
    assert_eq!(found.keys[0].scopes, ["a/v1", "a/Default", "b", "c"]);
    assert!(left(&found, "key 1", "version `v1` of API `a`"));
}

#[test]
fn a_policy_in_a_mapping_is_no_key_and_a_hash_is_none() {
    let rights = r#""access_rights": {"a": {}}"#;
    let how = How {
        client: Some("x".to_owned()),
        ..How::default()
    };
    let text = format!(
        r#"{{"5e9d9544a1dcd60001d0ed20": {{"rate": 1, "per": 1, {rights}}},
            "apikey-tyk-redis-0123456789": {{"alias": "a", "apply_policies": ["5e9d9544a1dcd60001d0ed20"]}}}}"#
    );
    let read = found(System::Tyk, &text, &how);
    assert_eq!(read.keys.len(), 1);
    assert_eq!(
        (&*read.keys[0].client, &*read.keys[0].limits.join(" ")),
        ("a", "1/1s")
    );
    let sha256 = "26c9f6f27315485a5189b04f6aee16200ec5441bd94fd11ce18bfeae6454f6df";
    let text = format!(
        r#"{{"apikey-{sha256}": {{"alias": "a", {rights}}}, "apikey-7b1d6f8e5a3c2b1d6f8e5a3c2b1d6f8e": {{"alias": "b", {rights}}}}}"#
    );
    let read = found(System::Tyk, &text, &how);
    assert_eq!(read.keys.len(), 1);
    assert_eq!(read.keys[0].sha256, sha256);
    assert!(left(&read, "key 2", "neither a key nor a SHA-256"));
}
