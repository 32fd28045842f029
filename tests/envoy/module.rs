//! What only the native module can meet.

mod breaks;
mod ends;
mod libraries;
mod secrets;

use crate::fixture::Keys;
use crate::support::{Envoy, Setup, Upstream, get, part, shell};

const POLICY: &str =
    "version: 1\nroutes:\n- {path: /healthz, auth: none}\n- {path: \"/v1/{*rest}\"}\n";
const FOLDERS: &str = "ENVOY_DYNAMIC_MODULES_SEARCH_PATH";

#[test]
fn a_module_that_is_not_there_opens_nothing() {
    if !shell::is_module() {
        return;
    }
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let fixed = Setup::fixed(&upstream, &keys.sealed()).environment(FOLDERS, "/nowhere");
    let log = Envoy::try_start(fixed).err().expect("it does not start");
    assert!(log.contains("Failed to load dynamic module"), "{log}");
    let envoy = keys.start_on(Setup::ecds(&upstream).environment(FOLDERS, "/nowhere"));
    for path in ["/healthz", "/v1/a", "/nowhere"] {
        assert_eq!(envoy.send(&get(path).bearer(&key)).status, 500);
    }
    assert_eq!(upstream.requests(), 0);
}

/// Nobody has to take the guard out who changes from the WebAssembly filter to the module.
#[test]
fn the_guard_of_the_other_filter_lets_pass_what_the_module_lets_in() {
    if !shell::is_module() {
        return;
    }
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    // Under this name it is not taken out.
    let guarded = |setup: Setup| setup.edit("- name: keystile-guard", "- name: guard");
    let envoy = keys.start_on(guarded(Setup::ecds(&upstream)));
    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 200);
    assert_eq!(envoy.send(&get("/healthz")).status, 200);
    assert_eq!(envoy.send(&get("/v1/a")).status, 401);

    let without = guarded(Setup::ecds(&upstream)).edit(
        "- name: keystile\n            config_discovery:",
        "- name: keystile\n            disabled: true\n            config_discovery:",
    );
    let envoy = Envoy::start(without);
    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 403);
    assert_eq!(upstream.requests(), 2);
}

#[test]
fn what_is_left_out_for_the_module_stands_on_its_page() {
    let page = part("src/book/pages/module.md", "git checkout");
    let page = std::fs::read_to_string(page).unwrap();
    for vms in shell::Vms::ALL {
        assert!(page.contains(&format!("| {} |", vms.why())), "{vms:?}");
    }
}

#[test]
fn a_configuration_of_a_route_is_refused() {
    if !shell::is_module() {
        return;
    }
    let upstream = Upstream::start();
    let keyset = Keys::new(POLICY).sealed();
    let per_route = "route: {cluster: upstream}
                typed_per_filter_config:
                  keystile:
                    \"@type\": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute
                    dynamic_module_config: {name: keystile, do_not_close: true}
                    per_route_config_name: keystile";
    let setup = Setup::fixed(&upstream, &keyset).edit("route: {cluster: upstream}", per_route);
    let log = Envoy::try_start(setup).err().expect("it does not start");
    assert!(
        log.contains("there is no configuration for a single route"),
        "{log}"
    );
}
