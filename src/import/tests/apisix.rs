use super::*;

#[test]
fn apisix_2_lists_its_consumers_in_another_form() {
    let found = found(System::Apisix, vector!("apisix-v2.json"), &How::default());
    assert_eq!(found.keys.len(), 2);
    assert_eq!(
        key(&found, "apisix-initech-5e8a1f0c7b2d").limits,
        ["40/1m@client"]
    );
    let hooli = key(&found, "apisix-hooli-3c6a8d1b9f4e");
    assert!(hooli.disabled, "what is switched off there is here");
    assert_eq!(hooli.deny_cidrs, ["192.0.2.0/24"]);
    assert!(left(
        &found,
        "`mallory`, key 1",
        "`consumer-restriction` restricts it"
    ));
}

#[test]
fn adcs_files_hold_consumers_in_their_groups() {
    let found = found(System::Apisix, vector!("adc.yaml"), &How::default());
    assert_eq!(found.keys.len(), 2);
    assert_eq!(found.clients["initech"].plan.as_deref(), Some("silver"));
    assert_eq!(key(&found, "adc-hooli-3c6a8d1b9f4e").name, "first");
    assert!(left(&found, "`second`", "only key-auth credentials"));
    assert!(left(&found, "`services`", "what routes require"));
}

#[test]
fn whom_a_route_of_apisix_denies_stays_out() {
    let text = r#"
consumer_groups: [{id: banned, plugins: {}}]
consumers:
- {username: a, plugins: {key-auth: {key: apisix-a-0123456789abcdef}}}
- {username: b, plugins: {key-auth: {key: apisix-b-0123456789abcdef}}}
- {username: c, group_id: banned, plugins: {key-auth: {key: apisix-c-0123456789abcdef}}}
routes:
- {uri: /x, plugins: {consumer-restriction: {blacklist: [b]}}}
- {uri: /y, plugins: {consumer-restriction: {type: consumer_group_id, blacklist: [banned]}}}
- {uri: /z, plugins: {consumer-restriction: {blacklist: [a], _meta: {disable: true}}}}
- {uri: /v, plugins: {consumer-restriction: {whitelist: [a]}, key-auth: {anonymous_consumer: guest}}}
#END
"#;
    let found = found(System::Apisix, text, &How::default());
    assert_eq!(found.keys.len(), 1);
    assert_eq!(key(&found, "apisix-a-0123456789abcdef").client, "a");
    assert!(left(
        &found,
        "`b`, key 1",
        "`consumer-restriction` denies it"
    ));
    assert!(left(
        &found,
        "`c`, key 1",
        "`consumer-restriction` denies it"
    ));
    assert!(left(&found, "`routes`", "allows some consumers alone (a)"));
    assert!(left(&found, "`routes`", "consumer `guest`"));
}

#[test]
fn ranges_of_a_group_of_apisix_hold_for_its_members_unless_they_have_their_own() {
    let text = r#"{"consumers": [
        {"username": "initech", "group_id": "g",
         "plugins": {"key-auth": {"key": "apisix-initech-5e8a1f0c"}}},
        {"username": "hooli", "group_id": "g",
         "plugins": {"key-auth": {"key": "apisix-hooli-3c6a8d1b9f"},
                     "ip-restriction": {"blacklist": ["192.0.2.0/24"]}}}],
      "consumer_groups": [
        {"id": "g", "plugins": {"ip-restriction": {"whitelist": ["10.0.0.0/8"]}}}]}"#;
    let found = found(System::Apisix, text, &How::default());
    assert_eq!(key(&found, "apisix-initech-5e8a1f0c").cidrs, ["10.0.0.0/8"]);
    let own = key(&found, "apisix-hooli-3c6a8d1b9f");
    assert_eq!(own.cidrs, [""; 0]);
    assert_eq!(own.deny_cidrs, ["192.0.2.0/24"]);
}

#[test]
fn a_credential_of_apisix_that_is_denied_somewhere_stays_out() {
    let text = r#"{"consumers": [{"username": "initech", "credentials": [
        {"id": "one", "plugins": {"key-auth": {"key": "apisix-initech-5e8a1f0c"},
         "ip-restriction": {"blacklist": ["192.0.2.0/24"]}}}]}]}"#;
    let found = found(System::Apisix, text, &How::default());
    assert!(found.keys.is_empty());
    assert!(left(&found, "initech", "rules of its own"));
}
