//! What an Envoy looks like that a test cannot easily bring about; the rest is tried on a real one.

use keystile_api::signing_key::SigningAlgorithm;
use keystile_core::policy::RawPolicy;
use serde_json::{Value, json};

use super::admin::EnvoyAdmin;
use super::envoy;
use super::plane::Plane;
use super::symptom::Symptoms;

const NOW: u64 = 1_800_000_000;

fn plane(policy: Value) -> Plane {
    let policy: RawPolicy = serde_json::from_value(policy).unwrap();
    let signer = ("k1".to_owned(), SigningAlgorithm::HmacSha256);
    Plane::for_tests(policy, signer, 7)
}

/// As Envoy writes it: a listener with a manager whose routes come from elsewhere.
fn dump() -> Value {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "normalize_path": true,
        "use_remote_address": true,
        "rds": {"route_config_name": "main"},
        "http_filters": [
            {"name": "keystile-base", "disabled": true},
            {"name": "keystile", "config_discovery": {"type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"]}},
            {"name": "guard", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                "rules": {"action": "DENY", "policies": {"k": {
                    "permissions": [{"any": true}],
                    "principals": [{"not_id": {"filter_state": {"key": "wasm.keystile.pass"}}}],
                }}},
            }},
        ],
    });
    json!({"configs": [
        {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
         "dynamic_listeners": [{"active_state": {"listener": {"name": "public", "filter_chains": [{"filters": [{"typed_config": manager}]}]}}}]},
        {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
         "dynamic_route_configs": [{"route_config": {"name": "main", "ignore_port_in_host_matching": true}}]},
        {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
         "static_clusters": [{"cluster": {"name": "control"}}]},
        {"@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump",
         "ecds_filters": [{"ecds_filter": {"name": "keystile", "typed_config": {
             "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
             "config": {"root_id": "keystile", "vm_config": {"environment_variables": {"host_env_keys": ["KEYSTILE_SIGNING_KEYS"]}}},
         }}}]},
    ]})
}

fn good(dump: &Value) -> EnvoyAdmin {
    let info =
        json!({"version": "c0ffee/1.40.0/Clean/RELEASE/BoringSSL", "node": {"id": "edge-1"}});
    let stats = json!({"stats": [
        {"name": "wasmcustom.vm=.=0;.;keystile_keyset_version", "value": 7},
        {"name": "wasmcustom.vm=.=1;.;keystile_keyset_version", "value": 7},
    ]});
    let certificates = json!({"certificates": [
        {"cert_chain": [{"days_until_expiration": "90"}]},
    ]});
    EnvoyAdmin {
        clock: Some(NOW),
        ..EnvoyAdmin::from_json(&info, &stats, dump, &certificates)
    }
}

/// What is wrong, or worth knowing.
fn said(envoy: &EnvoyAdmin, plane: &Plane, wrong: bool) -> Vec<String> {
    let mut found = Symptoms::about("envoy");
    envoy::look(envoy, plane, NOW, &mut found);
    let all = found.all.into_iter().filter(|s| s.wrong == wrong);
    all.map(|s| s.says).collect()
}

fn ports() -> Value {
    json!({"version": 1, "host_ports": "ignore", "report": {"cluster": "control"}})
}

#[test]
fn an_envoy_that_is_as_it_should_be_gets_no_word() {
    let plane = plane(ports());
    let envoy = good(&dump());
    assert_eq!(said(&envoy, &plane, true), [""; 0]);
    assert_eq!(said(&envoy, &plane, false), [""; 0]);
}

/// The only thing that is wrong.
fn only(change: impl FnOnce(&mut EnvoyAdmin)) -> String {
    let mut envoy = good(&dump());
    change(&mut envoy);
    let mut all = said(&envoy, &plane(ports()), true);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn clocks_versions_and_certificates_are_named_with_their_numbers() {
    assert!(only(|e| e.clock = Some(NOW - 86_400)).contains("86400 s behind"));
    assert!(only(|e| e.clock = Some(NOW + 86_400)).contains("86400 s ahead of"));
    assert!(only(|e| "1.35.9".clone_into(&mut e.version)).contains("1.35.9 is older than 1.36"));
    assert!(only(|e| e.certificate_days = Some(3)).contains("within 3 days"));
    let split = only(|e| e.stats[1].1 = 6);
    assert!(split.contains("[6, 7]"), "{split}");
    let later = only(|e| e.stats.iter_mut().for_each(|s| s.1 = 9));
    assert!(later.contains("from before a restore"), "{later}");
    let page = ("wasmcustom.keystile_corrupt_pages_total".to_owned(), 2);
    assert!(only(|e| e.stats.push(page)).contains("memory checked"));
}

#[test]
fn a_vm_that_may_not_read_the_variable_is_named_with_it() {
    let text = dump()
        .to_string()
        .replace("\"KEYSTILE_SIGNING_KEYS\"", "\"KEYSTILE_VERIFY_KEYS\"");
    let envoy = good(&serde_json::from_str(&text).unwrap());
    let all = said(&envoy, &plane(ports()), true);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(
        all[0].contains("may not read KEYSTILE_SIGNING_KEYS"),
        "{all:?}"
    );
}

#[test]
fn a_listener_without_the_filter_is_worth_knowing_where_another_has_it() {
    let mut dump = dump();
    let listeners = &mut dump["configs"][0]["dynamic_listeners"];
    let open = listeners[0]
        .to_string()
        .replace("keystile", "other")
        .replace("public", "internal");
    let open: Value = serde_json::from_str(&open).unwrap();
    listeners.as_array_mut().unwrap().push(open);
    let envoy = good(&dump);
    assert_eq!(said(&envoy, &plane(ports()), true), [""; 0]);
    let notes = said(&envoy, &plane(ports()), false);
    assert!(
        notes[0].contains("listener `internal` has no filter"),
        "{notes:?}"
    );
}

/// What is wrong once one text of the configuration is another.
fn instead(from: &str, to: &str) -> Vec<String> {
    let text = dump().to_string();
    assert!(text.contains(from), "{text}");
    let envoy = good(&serde_json::from_str(&text.replace(from, to)).unwrap());
    said(&envoy, &plane(ports()), true)
}

#[test]
fn what_mentions_the_mark_and_refuses_nothing_is_no_guard() {
    for (from, to) in [
        ("\"rules\"", "\"shadow_rules\""),
        ("\"DENY\"", "\"LOG\""),
        ("\"DENY\"", "\"ALLOW\""),
        ("{\"any\":true}", "{\"destination_port\":1}"),
        ("\"not_id\"", "\"or_id\""),
        ("keystile.pass", "keystile.passed"),
        ("rbac.v3.RBAC", "rbac.v3.Other"),
    ] {
        let all = instead(from, to);
        assert_eq!(all.len(), 1, "{to}: {all:?}");
        assert!(all[0].contains("has no guard"), "{all:?}");
    }
}

#[test]
fn a_guard_of_an_earlier_version_is_one() {
    let former = |action: &str| {
        let text = dump().to_string().replace(
            "{\"not_id\":{\"filter_state\":{\"key\":\"wasm.keystile.pass\"}}}",
            "{\"filter_state\":{\"key\":\"wasm.keystile.client\"}}",
        );
        let text = text.replace("\"action\":\"DENY\",", action);
        let envoy = good(&serde_json::from_str(&text).unwrap());
        said(&envoy, &plane(ports()), true)
    };
    for allows in ["", "\"action\":\"ALLOW\","] {
        assert_eq!(former(allows), [""; 0]);
    }
    assert_eq!(former("\"action\":\"DENY\",").len(), 1);
}

#[test]
fn a_second_filter_has_a_guard_of_its_own() {
    let with_second = |key: &str| {
        let mut dump = dump();
        let path = "/configs/0/dynamic_listeners/0/active_state/listener/filter_chains/0/filters/0/typed_config/http_filters";
        let filters = dump.pointer_mut(path).unwrap().as_array_mut().unwrap();
        let again = |value: &Value| {
            let text = value
                .to_string()
                .replace("\"name\":\"keystile\"", "\"name\":\"keystile-b\"");
            serde_json::from_str::<Value>(&text.replace("wasm.keystile.pass", key)).unwrap()
        };
        let (filter, guard) = (again(&filters[1]), again(&filters[2]));
        filters.extend([filter, guard]);
        said(&good(&dump), &plane(ports()), true)
    };
    assert_eq!(with_second("wasm.keystile.client.keystile-b"), [""; 0]);
    for shared in ["wasm.keystile.pass", "wasm.keystile.client.other"] {
        let all = with_second(shared);
        assert!(all.iter().any(|s| s.contains("`keystile-b`")), "{all:?}");
    }
}

#[test]
fn a_route_that_may_switch_off_filter_or_guard_is_named() {
    for name in ["keystile", "guard"] {
        let own = format!(
            "\"name\":\"main\",\"virtual_hosts\":[{{\"routes\":[{{\"typed_per_filter_config\":{{\"{name}\":{{\"disabled\":true}}}}}}]}}]"
        );
        let all = instead("\"name\":\"main\"", &own);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].contains(&format!("for `{name}`")), "{all:?}");
    }
}

#[test]
fn shadow_mode_is_worth_knowing() {
    let policy = json!({"version": 1, "mode": "shadow", "host_ports": "ignore", "report": {"cluster": "control"}});
    let mut found = Symptoms::about("policy");
    plane(policy).rules(&mut found);
    assert!(found.all[0].says.contains("every request passes"));
}
