use super::closing::taken;
use super::*;

fn apisix(plugins: &str, more: &str) -> Found {
    let text = format!(
        "consumers:
- username: acme
  group_id: g
  plugins: {{key-auth: {{key: apisix-one-4c1f0e9d2b7a6358}} {plugins}}}
consumer_groups:
- {{id: g, plugins: {{}}}}
{more}
#END
"
    );
    found(System::Apisix, &text, &How::default())
}

#[test]
fn a_group_of_apisix_that_stands_twice_counts_twice() {
    let networks = "- {id: g, plugins: {ip-restriction: {whitelist: [10.0.0.0/8]}}}";
    let limit =
        "- {id: g, plugins: {limit-count: {count: 5, time_window: 60, key: consumer_name}}}";
    for (one, other) in [(networks, limit), (limit, networks)] {
        let found = apisix("", &format!("{one}\n{other}"));
        assert_eq!(found.keys[0].cidrs, ["10.0.0.0/8"], "{one}");
        assert_eq!(found.plans["g"].limits[0].requests, 5);
    }
    let more = "- {id: g, plugins: {ip-restriction: {whitelist: [192.0.2.0/24]}}}";
    assert!(apisix("", &format!("{networks}\n{more}")).keys.is_empty());
    let shut = "- {id: g, suspended: true}";
    assert!(apisix("", &format!("{shut}\n{networks}")).keys.is_empty());
}

#[test]
fn a_restriction_of_apisix_is_switched_off_in_meta_alone() {
    let off = |how: &str| {
        let plugin = format!(", ip-restriction: {{whitelist: [10.0.0.0/8], {how}}}");
        apisix(&plugin, "").keys[0].cidrs.len()
    };
    assert_eq!(off("_meta: {disable: true}"), 0);
    for how in [
        "disable: true",
        "_meta: {disable: false}",
        "_meta: {disable: perhaps}",
    ] {
        assert_eq!(off(how), 1, "{how}");
    }
    let text = "consumers:\n- username: acme\n  plugins: {key-auth: {key: apisix-one-4c1f0e9d2b7a6358, disable: true}}\n";
    assert!(found(System::Apisix, text, &How::default()).keys[0].disabled);
}

#[test]
fn a_restriction_of_apisix_that_is_not_understood_closes() {
    let unknown = "routes: [{uri: /x, plugins: {consumer-restriction: {denylist: [acme]}}}]";
    let read = apisix("", unknown);
    assert!(read.keys.is_empty());
    assert!(left(&read, "`routes`", "field `denylist` is not known"));
    for plugin in [
        ", ip-restriction: {allowlist: [10.0.0.0/8]}",
        ", workflow: {rules: [{actions: [[return, {code: 403}]]}]}",
        ", limit-count: {count: 5, time_window: 60, key: consumer_name, blocked: true}",
    ] {
        assert!(apisix(plugin, "").keys.is_empty(), "{plugin}");
    }
}

#[test]
fn of_two_limits_of_apisix_for_one_period_the_stricter_counts() {
    let count = ", limit-count: {count: 100, time_window: 1, key: consumer_name}";
    let rate = ", limit-req: {rate: 1, burst: 0, key: consumer_name}";
    for plugins in [format!("{count}{rate}"), format!("{rate}{count}")] {
        assert_eq!(apisix(&plugins, "").keys[0].limits, ["1/1s@client"]);
    }
}

#[test]
fn what_etcd_deletes_by_itself_ends_here_or_stays_out() {
    let list = |more: &str| {
        let text = format!(
            r#"{{"action": "get", "node": {{"key": "/apisix/consumers", "dir": true, "nodes": [
                {{"key": "/apisix/consumers/acme" {more}, "value": {{"username": "acme",
                 "plugins": {{"key-auth": {{"key": "apisix-one-4c1f0e9d2b7a6358"}}}}}}}}]}}}}"#
        );
        let found = found(System::Apisix, &text, &How::default());
        found.keys.first().map(|key| key.expires.clone())
    };
    let at = r#", "ttl": 60, "expiration": "2027-01-01T00:00:00Z""#;
    assert_eq!(list("").as_deref(), Some(""));
    assert_eq!(list(at).as_deref(), Some("2027-01-01T00:00:00Z"));
    assert_eq!(list(r#", "ttl": 60"#), None);
    assert_eq!(list(r#", "expiration": "soon""#), None);
    let items = |of: &str, more: &str| {
        let item = |key: &str, value: &str| {
            let more = if of == key { more } else { "" };
            format!(r#"{{"key": "/apisix/{key}", "value": {value} {more}}}"#)
        };
        let auth = r#"{"plugins": {"key-auth": {"key": "apisix-one-4c1f0e9d2b7a6358"}}}"#;
        format!(
            r#"{{"list": [{}, {}, {}]}}"#,
            item(
                "consumers/acme",
                r#"{"username": "acme", "group_id": "g", "plugins": {}}"#
            ),
            item("consumers/acme/credentials/c", auth),
            item("consumer_groups/g", r#"{"id": "g", "plugins": {}}"#),
        )
    };
    for (of, ends) in [
        ("", Some("")),
        ("consumers/acme", Some("2027-01-01T00:00:00Z")),
        ("consumers/acme/credentials/c", Some("2027-01-01T00:00:00Z")),
        ("consumer_groups/g", None),
    ] {
        let found = found(System::Apisix, &items(of, at), &How::default());
        let key = found.keys.first().map(|key| key.expires.as_str());
        assert_eq!(key, ends, "{of}");
    }
    let deleted = items("", "").replace(r#"{"list""#, r#"{"action": "delete", "list""#);
    assert!(taken(System::Apisix, &deleted).is_empty());
}

#[test]
fn a_plugin_that_may_refuse_requests_closes_also_if_it_is_not_known() {
    for (plugin, keys) in [
        (", request-id: {}", 1),
        (", jwt-auth: {key: x, secret: y}", 1),
        (", client-control: {max_body_size: 1}", 1),
        (", client-gate: {header: x}", 1),
        (", client-gate: {blocked: true}", 0),
        (", client-gate: {allowed_ips: [10.0.0.0/8]}", 0),
        (", Consumer-Restriction: {blacklist: [x]}", 0),
        (", ip_restriction: {}", 0),
        (", saml-auth: {}", 0),
        (", ext-plugin-pre-req: {conf: [{name: x}]}", 0),
    ] {
        assert_eq!(apisix(plugin, "").keys.len(), keys, "{plugin}");
    }
}

#[test]
fn a_consumer_of_apisix_that_stands_twice_with_other_rules_stays_out() {
    let twice = |one: &str, other: &str| {
        let consumer = |more: &str| {
            format!(
                "- username: acme\n  labels: {{suspended: 'true'}}\n  plugins: {{key-auth: {{key: apisix-one-4c1f0e9d2b7a6358}}{more}}}\n"
            )
        };
        let text = format!("consumers:\n{}{}", consumer(one), consumer(other));
        found(System::Apisix, &text, &How::default())
    };
    let range = ", ip-restriction: {whitelist: [10.0.0.0/8]}";
    assert_eq!(twice(range, range).keys.len(), 1);
    assert!(twice("", range).keys.is_empty());
    assert!(left(
        &twice("", ""),
        "`acme`",
        "label `suspended` does nothing"
    ));
}

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
