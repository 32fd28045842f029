use super::*;

fn kong(rest: &str) -> Found {
    let text = format!("_format_version: \"3.0\"\n{rest}\n");
    found(System::Kong, &text, &How::default())
}

fn key_of(name: &str) -> String {
    format!("keyauth_credentials: [{{key: kong-{name}-4c1f0e9d2b7a6358}}]")
}

#[test]
fn groups_are_found_by_their_ids_and_names() {
    let person = |name: &str, groups: &str| {
        format!(
            "- {{username: {name}, groups: {groups}, {}}}\n",
            key_of(name)
        )
    };
    let found = kong(&format!(
        "consumer_groups:
- {{id: g-1, name: blocked, plugins: [{{name: request-termination}}]}}
- {{id: g-2, name: slow, plugins: [{{name: rate-limiting, config: {{minute: 1}}}}]}}
- {{id: g-3, name: evil}}
plugins: [{{name: acl, config: {{deny: [evil], include_consumer_groups: true}}}}]
consumers:
{}{}{}{}{}{}{}",
        person("a", "[{id: g-1, name: blocked}]"),
        person("b", "[{id: g-2, name: slow}]"),
        person("c", "[{id: g-3, name: evil}]"),
        person("d", "[{id: other, name: slow}]"),
        person("e", "[gone]"),
        person("f", "[{weird: slow}]"),
        person("g", "[slow]"),
    ));
    let clients: Vec<&str> = found.clients.keys().map(String::as_str).collect();
    assert_eq!(clients, ["b", "d", "g"]);
    for client in found.clients.values() {
        assert_eq!(client.plan.as_deref(), Some("slow"));
    }
    assert!(left(&found, "`e`", "its group `gone` is not in the export"));
}

#[test]
fn a_client_in_two_groups_has_the_limits_of_both() {
    let found = kong(&format!(
        "consumer_groups:
- {{name: gold, plugins: [{{name: rate-limiting, config: {{minute: 1000}}}}]}}
- {{name: slow, plugins: [{{name: rate-limiting, config: {{minute: 1}}}}]}}
consumers: [{{username: a, groups: [gold, slow], {}}}]",
        key_of("a")
    ));
    assert_eq!(found.clients["a"].plan.as_deref(), Some("gold"));
    assert_eq!(found.keys[0].limits, ["1/1m@client"]);
}

#[test]
fn a_plugin_of_a_consumer_that_may_refuse_requests_closes_if_it_is_not_known() {
    for (plugin, clients) in [
        (
            "{name: request-transformer, config: {remove: {headers: [x]}, allow: {body: []}}}",
            1,
        ),
        (
            "{name: request-size-limiting, config: {allowed_payload_size: 8}}",
            1,
        ),
        ("{name: http-log, config: {http_endpoint: 'http://x'}}", 1),
        ("{name: my-plugin, config: {colour: red}}", 1),
        ("{name: my-plugin, config: {blocked: true}}", 0),
        ("{name: my-plugin, service: s, config: {blocked: true}}", 0),
        ("{name: mtls-auth, config: {}}", 0),
        (
            "{name: ip-restriction-pro, config: {allow: [10.0.0.0/8]}}",
            0,
        ),
        ("{name: request-validator}", 0),
        ("{name: injection-protection}", 0),
        ("{name: Request-Termination}", 0),
        ("{name: rate-limiting, config: {year: 0}}", 0),
        (
            "{name: my-plugin, enabled: false, config: {blocked: true}}",
            1,
        ),
    ] {
        let found = kong(&format!(
            "consumers: [{{username: a, plugins: [{plugin}], {}}}]",
            key_of("a")
        ));
        assert_eq!(found.clients.len(), clients, "{plugin}");
        assert_eq!(found.keys.len(), clients, "{plugin}");
    }
}

#[test]
fn an_acl_whose_settings_are_missing_may_deny_every_group() {
    let found = kong(&format!(
        "consumers:\n- {{username: a, acls: [{{group: x}}], {}}}\n- {{username: b, {}}}\nplugins: [{{name: acl, _config: gone}}]",
        key_of("a"),
        key_of("b")
    ));
    let clients: Vec<&str> = found.clients.keys().map(String::as_str).collect();
    assert_eq!(clients, ["b"]);
}

fn several(texts: &[&str]) -> Found {
    let files: Vec<ExportFile> = texts
        .iter()
        .enumerate()
        .map(|(i, text)| ExportFile {
            name: format!("file{i}"),
            text: Zeroizing::new(format!("_format_version: \"3.0\"\n{text}\n")),
        })
        .collect();
    read(System::Kong, &files, &How::default()).unwrap()
}

#[test]
fn consumers_of_several_workspaces_are_kept_apart() {
    let file = |around: &str, key: &str| {
        format!("{around}\nconsumers: [{{username: acme, {}}}]", key_of(key))
    };
    let (one, two) = (
        file("_workspace: shop", "one"),
        file("_workspace: bank", "two"),
    );
    let found = several(&[&one, &two]);
    assert_eq!(found.clients.len(), 2);
    let scopes = |name: &str| {
        key(&found, &format!("kong-{name}-4c1f0e9d2b7a6358"))
            .scopes
            .clone()
    };
    assert_eq!(scopes("one"), ["workspace:shop"]);
    assert_eq!(scopes("two"), ["workspace:bank"]);
    assert!(left(&found, "`bank`", "ask for the scope"));
    let three = file("_konnect: {control_plane_name: cp}", "three");
    assert_eq!(several(&[&three]).clients.len(), 1);
    assert!(several(&[&three]).keys[0].scopes.is_empty());
    assert_eq!(several(&[&one, &three]).keys[1].scopes, ["workspace:cp"]);
}

#[test]
fn shared_settings_of_one_name_in_two_files_are_none() {
    let file = |n: u32, name: &str| {
        format!(
            "_plugin_configs: {{tier: {{minute: {n}}}}}\nconsumers: [{{username: {name}, plugins: [{{name: rate-limiting, _config: tier}}], {}}}]",
            key_of(name)
        )
    };
    assert!(several(&[&file(5, "a"), &file(5000, "b")]).keys.is_empty());
    assert_eq!(several(&[&file(5, "a")]).keys[0].limits, ["5/1m@client"]);
}

#[test]
fn two_names_that_would_be_one_here_are_taken_over_for_neither() {
    let alike = super::super::found::client_name("Jane Doe");
    let found = kong(&format!(
        "consumers:\n- {{username: Jane Doe, {}}}\n- {{username: {alike}, {}}}\n- {{username: admin, type: 2, {}}}\n- {{username: c, type: 0, {}}}",
        key_of("a"),
        key_of("b"),
        key_of("c"),
        key_of("d")
    ));
    assert_eq!(found.keys.len(), 1);
    assert_eq!(found.keys[0].client, "c");
    assert!(left(&found, "`Jane Doe` and", "would get the same name"));
}
