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
