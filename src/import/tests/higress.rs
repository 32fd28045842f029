use super::closing::taken;
use super::*;

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
