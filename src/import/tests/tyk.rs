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
