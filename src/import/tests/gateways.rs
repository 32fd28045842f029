use super::closing::taken;
use super::*;

/// A policy and its Secret, with what stands in each of their parts.
fn envoy(parts: [(&str, &str); 7]) -> String {
    let mut text = String::from(
        "kind: SecurityPolicy
metadata: {name: orders, namespace: prod METADATA}
spec:
  targetRefs: [{kind: HTTPRoute, name: orders TARGET}]
  apiKeyAuth: {credentialRefs: [{name: s REFERENCE}], extractFrom: [{headers: [x-api-key]}] AUTH}
  SPEC
---
kind: Secret
SECRET
metadata: {name: s, namespace: SPACE}
stringData: {acme: eg-now-4c1f0e9d2b7a6358}
",
    );
    for (part, more) in parts {
        text = text.replace(part, more);
    }
    text
}

fn envoy_with(part: &str, more: &str) -> String {
    let all = [
        "METADATA",
        "TARGET",
        "REFERENCE",
        "AUTH",
        "SPEC",
        "SECRET",
        "SPACE",
    ];
    envoy(all.map(|p| match p {
        p if p == part => (p, more),
        "SPACE" => (p, "prod"),
        p => (p, ""),
    }))
}

#[test]
fn a_field_that_closes_any_part_of_a_security_policy_keeps_its_clients_out() {
    assert_eq!(taken(System::EnvoyGateway, &envoy_with("", "")), ["acme"]);
    for (part, more) in [
        ("METADATA", ", disabled: true"),
        ("TARGET", ", deniedClients: [acme]"),
        ("REFERENCE", ", disabled: true"),
        ("AUTH", ", disabled: true"),
        ("AUTH", ", deniedClients: [acme]"),
        ("SPEC", "suspended: true"),
        ("SPEC", "ipAllowlist: [10.0.0.0/8]"),
        ("SPEC", "ipAllowList: {clientCIDRs: [10.0.0.0/8]}"),
        ("SECRET", "disabled: true"),
    ] {
        let text = envoy_with(part, more);
        assert!(
            taken(System::EnvoyGateway, &text).is_empty(),
            "{part} {more}"
        );
    }
}

#[test]
fn a_security_policy_that_is_merged_with_a_restriction_keeps_its_clients_out() {
    let gateway = "---
kind: SecurityPolicy
metadata: {name: gw, namespace: prod}
spec:
  targetRefs: [{kind: Gateway, name: gw}]
  authorization: {defaultAction: Deny}
";
    let text = format!(
        "{}{gateway}",
        envoy_with("SPEC", "mergeType: StrategicMerge")
    );
    let merged = found(System::EnvoyGateway, &text, &How::default());
    assert!(merged.keys.is_empty());
    assert!(left(&merged, "prod/orders", "may be merged with"));
    let text = format!("{}{gateway}", envoy_with("", ""));
    let apart = found(System::EnvoyGateway, &text, &How::default());
    assert_eq!(
        apart.keys.len(),
        1,
        "a policy of a route replaces the Gateway's"
    );
    assert!(left(&apart, "prod/gw", "asks for `authorization`"));
}

#[test]
fn a_secret_of_another_namespace_needs_a_grant() {
    let text = envoy_with("REFERENCE", ", namespace: other").replace("namespace: SPACE", "");
    let text = text.replace("{name: s, namespace: prod}", "{name: s, namespace: other}");
    let without = found(System::EnvoyGateway, &text, &How::default());
    assert!(without.keys.is_empty());
    assert!(left(&without, "Secret other/s", "no ReferenceGrant"));
    assert!(left(&without, ": Secret other/s", "to name it"));
    for (space, secret, keys) in [("prod", "s", 1), ("prod", "t", 0), ("test", "s", 0)] {
        let text = format!(
            "{text}---
kind: ReferenceGrant
metadata: {{name: g, namespace: other}}
spec:
  from: [{{group: gateway.envoyproxy.io, kind: SecurityPolicy, namespace: {space}}}]
  to: [{{group: '', kind: Secret, name: {secret}}}]
"
        );
        let found = found(System::EnvoyGateway, &text, &How::default());
        assert_eq!(found.keys.len(), keys, "{space} {secret}");
    }
}

#[test]
fn what_switches_off_a_plugin_of_higress_keeps_its_consumers_out() {
    let plugin = |part: &str, more: &str| {
        let mut text = String::from(
            "kind: WasmPlugin
ROOT
metadata: {name: key-auth METADATA}
spec:
  SPEC
  defaultConfig:
    global_auth: true
    keys: [x-api-key]
    CONFIG
    consumers:
    - {name: alice, credential: higress-alice-4c1f0e9d}
    - {name: bob, credential: higress-bob-4c1f0e9d2b}
  matchRules:
  - {ingress: [pay], config: {allow: [alice] DEEP} RULE}
",
        );
        for place in ["ROOT", "METADATA", "SPEC", "CONFIG", "DEEP", "RULE"] {
            text = text.replace(place, if place == part { more } else { "" });
        }
        taken(System::Higress, &text).join(" ")
    };
    for (part, more, left) in [
        ("", "", "alice bob"),
        ("ROOT", "suspended: true", ""),
        (
            "METADATA",
            ", deletionTimestamp: '2026-01-01T00:00:00Z'",
            "",
        ),
        (
            "METADATA",
            ", managedFields: [{f:enabled: {}}]",
            "alice bob",
        ),
        ("SPEC", "disabled: true", ""),
        ("CONFIG", "enabled: false", ""),
        ("CONFIG", "deny: [bob]", "alice"),
        ("CONFIG", "deny: {name: bob}", ""),
        ("DEEP", ", deny: [bob]", "alice"),
        ("DEEP", ", blocked: true", "bob"),
        ("RULE", ", deny: [bob]", "alice"),
        ("RULE", ", suspended: true", "bob"),
        ("RULE", ", deny: []", "alice bob"),
    ] {
        assert_eq!(plugin(part, more), left, "{part} {more}");
    }
}

#[test]
fn two_rules_of_higress_share_no_scope() {
    let text = "consumers:
- {name: a, credential: higress-a-4c1f0e9d2b7a}
- {name: b, credential: higress-b-4c1f0e9d2b7a}
- {name: c, credential: higress-c-4c1f0e9d2b7a}
keys: [x-api-key]
global_auth: true
_rules_:
- {_match_service_: [pay], allow: [a]}
- {_match_route_: [pay], allow: [b]}
- {_match_service_: [pay, shop], allow: [c]}
- {_match_service_: [pay], allow: [c]}
- {_match_route_: [allowed], allow: [a]}
";
    let found = found(System::Higress, text, &How::default());
    let scopes: Vec<String> = found.keys.iter().map(|k| k.scopes.join(" ")).collect();
    assert_eq!(
        scopes,
        ["pay route-allowed", "route-pay", "pay service-pay"]
    );
}

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
fn what_closes_a_whole_file_or_list_keeps_out_what_stands_in_it() {
    let consumer =
        r#"{"username": "a", "plugins": {"key-auth": {"key": "apisix-one-4c1f0e9d2b7a6358"}}}"#;
    let item =
        |more: &str| format!(r#"{{"key": "/apisix/consumers/a", "value": {consumer}{more}}}"#);
    let list = |more: &str, of: &str| format!(r#"{{"list": [{}]{of}}}"#, item(more));
    assert_eq!(taken(System::Apisix, &list("", "")), ["a"]);
    for (more, of) in [
        (r#", "disabled": true"#, ""),
        ("", r#", "suspended": true"#),
    ] {
        assert!(
            taken(System::Apisix, &list(more, of)).is_empty(),
            "{more}{of}"
        );
    }
    let resources = |more: &str| {
        format!(
            "kind: List
{more}
items:
- kind: SecurityPolicy
  metadata: {{name: orders, namespace: prod}}
  spec: {{apiKeyAuth: {{credentialRefs: [{{name: s}}]}}}}
- kind: Secret
  metadata: {{name: s, namespace: prod}}
  stringData: {{acme: eg-now-4c1f0e9d2b7a6358}}
"
        )
    };
    assert_eq!(taken(System::EnvoyGateway, &resources("")), ["acme"]);
    assert!(taken(System::EnvoyGateway, &resources("disabled: true")).is_empty());
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
fn a_key_of_one_plugin_of_higress_opens_no_routes_of_another() {
    let plugin = |name: &str, consumers: &str, more: &str| {
        format!(
            "kind: WasmPlugin
metadata: {{name: key-auth-{name}, namespace: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  defaultConfig: {{global_auth: true, keys: [x-api-key], {more} consumers: [{consumers}]}}
  matchRules: [{{ingress: [pay], config: {{allow: [alice]}}}}]
---
"
        )
    };
    let (alice, bob) = (
        "{name: alice, credential: higress-alice-4c1f0e9d}",
        "{name: bob, credential: higress-bob00-4c1f0e9d}",
    );
    let scopes = |text: &str| {
        let found = found(System::Higress, text, &How::default());
        let keys = found.keys.iter();
        let all: Vec<String> = keys.map(|k| k.scopes.join(" ")).collect();
        (all, found)
    };
    let (one, read) = scopes(&plugin("shop", alice, ""));
    assert_eq!(one, ["pay"]);
    assert!(
        left(&read, "`shop`", "") || left(&read, "key-auth-shop", "in force for some workloads")
    );
    let two = plugin("shop", alice, "allow: [alice],") + &plugin("bank", bob, "allow: [bob],");
    let (two, read) = scopes(&two);
    assert_eq!(
        two,
        [
            "allowed pay shop/key-auth-shop",
            "allowed-2 bank/key-auth-bank"
        ]
    );
    assert!(left(
        &read,
        "key-auth-bank",
        "ask for scope `bank/key-auth-bank`"
    ));
    // The same key in both opens what both protect.
    let both = plugin("shop", alice, "") + &plugin("bank", alice, "");
    let (both, _) = scopes(&both);
    assert_eq!(
        both,
        ["bank/key-auth-bank ingress-pay pay shop/key-auth-shop"]
    );
}

#[test]
fn what_closes_a_list_of_plugins_of_higress_closes_what_stands_in_it() {
    let spec = "spec: {defaultConfig: {global_auth: true, keys: [x], consumers: [{name: alice, credential: higress-alice-4c1f0e9d}]}}";
    let list = |more: &str| {
        format!(
            "kind: WasmPluginList\n{more}\nitems: [{{kind: WasmPlugin, metadata: {{name: key-auth}}, {spec}}}]\n"
        )
    };
    let bare = |more: &str| format!("{more}\n{spec}\n");
    for (more, left) in [
        ("", 1),
        ("suspended: true", 0),
        ("metadata: {deletionTimestamp: '2020-01-01T00:00:00Z'}", 0),
    ] {
        assert_eq!(taken(System::Higress, &list(more)).len(), left, "{more}");
        assert_eq!(taken(System::Higress, &bare(more)).len(), left, "{more}");
    }
}
