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
fn behind_a_secret_that_is_not_read_no_replaced_key_comes_alive() {
    let text = |first: &str| {
        format!(
            "kind: SecurityPolicy
metadata: {{name: a, namespace: prod}}
spec:
  targetRefs: [{{kind: HTTPRoute, name: pay}}]
  apiKeyAuth: {{credentialRefs: [{{name: before}}, {{name: now{first}}}, {{name: old}}]}}
---
kind: Secret
metadata: {{name: before, namespace: prod}}
stringData: {{globex: eg-bef-4c1f0e9d2b7a6358}}
---
kind: Secret
metadata: {{name: now, namespace: vault}}
stringData: {{acme: eg-new-4c1f0e9d2b7a6358}}
---
kind: Secret
metadata: {{name: old, namespace: prod}}
stringData: {{acme: eg-old-4c1f0e9d2b7a6358, globex: eg-ol2-4c1f0e9d2b7a6358}}
"
        )
    };
    // Not in the file, and not allowed.
    for first in ["", ", namespace: vault"] {
        let found = found(System::EnvoyGateway, &text(first), &How::default());
        assert_eq!(found.keys.len(), 1, "{first}");
        assert_eq!(key(&found, "eg-bef-4c1f0e9d2b7a6358").client, "globex");
        assert!(left(&found, "prod/old, `acme`", "it is unclear which key"));
    }
}

#[test]
fn of_two_states_of_one_secret_only_what_both_hold_comes_in() {
    let text = envoy_with("", "")
        + "---
kind: Secret
metadata: {name: s, namespace: prod}
stringData: {ENTRIES}
";
    let with = |entries: &str| {
        let text = text.replace("ENTRIES", entries);
        let mut found = found(System::EnvoyGateway, &text, &How::default());
        found.keys.drain(..).map(|k| k.client).collect::<Vec<_>>()
    };
    assert_eq!(with("acme: eg-now-4c1f0e9d2b7a6358"), ["acme"]);
    assert!(with("acme: eg-two-4c1f0e9d2b7a6358").is_empty());
    assert!(with("globex: eg-two-4c1f0e9d2b7a6358").is_empty());
}

#[test]
fn a_security_policy_that_is_not_in_force_or_not_understood_keeps_its_clients_out() {
    let with = |more: &str| {
        let text = envoy_with("SPEC", more);
        taken(System::EnvoyGateway, &text).len()
    };
    let status = |accepted: &str| {
        format!(
            "\nstatus: {{ancestors: [{{conditions: [{{type: Accepted, status: '{accepted}'}}, {{type: Overridden, status: 'True'}}]}}]}}"
        )
    };
    assert_eq!(with(&status("True")), 1);
    assert_eq!(with(&status("False")), 0);
    assert_eq!(
        with(&format!("hmac: {{secretRef: x}}{}", status("True"))),
        0
    );
    assert_eq!(with("hmac: {}"), 1);
}

#[test]
fn a_policy_that_closes_leaves_the_clients_keys_of_others_alone() {
    let policy = |name: &str, more: &str| {
        format!(
            "kind: SecurityPolicy
metadata: {{name: {name}, namespace: prod}}
spec:
  targetRefs: [{{kind: HTTPRoute, name: {name}}}]
  apiKeyAuth: {{credentialRefs: [{{name: {name}}}]}}
  {more}
---
kind: Secret
metadata: {{name: {name}, namespace: prod}}
stringData: {{acme: eg-{name}-4c1f0e9d2b7a6358}}
---
"
        )
    };
    let text = policy("one", "authorization: {defaultAction: Deny}") + &policy("two", "");
    let found = found(System::EnvoyGateway, &text, &How::default());
    assert_eq!(found.keys.len(), 1);
    assert_eq!(key(&found, "eg-two-4c1f0e9d2b7a6358").scopes, ["prod/two"]);
    assert!(left(
        &found,
        "prod/one",
        "`acme` is left out: its SecurityPolicy asks"
    ));
}
