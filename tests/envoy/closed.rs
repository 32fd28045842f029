//! Doors that stay shut while there is no filter to open them.

use crate::fixture::Keys;
use crate::support::{Envoy, Push, Setup, Upstream, get, shell};

#[test]
fn before_the_first_keyset_every_request_is_refused() {
    let upstream = Upstream::start();
    let envoy = Envoy::start(Setup::ecds(&upstream));

    let answer = envoy.client().send(&get("/"));

    assert_eq!(answer.status, 500);
    assert_eq!(upstream.requests(), 0);
    let line = envoy.access_line(|line| line["path"] == "/");
    assert_eq!(line["flags"], "NFCF");
}

#[test]
fn without_the_filter_the_guard_refuses() {
    if shell::leaves_out(shell::Vms::Missing) {
        return;
    }
    let upstream = Upstream::start();
    let envoy = Envoy::start(left_out(Setup::ecds(&upstream)));

    let answer = envoy.client().send(&get("/"));

    assert_eq!(answer.status, 403);
    assert_eq!(upstream.requests(), 0);
    let line = envoy.access_line(|line| line["path"] == "/");
    assert_eq!(
        line["reason"],
        "rbac_access_denied_matched_policy[keystile]"
    );
}

/// What the guard asks for as a header, which anybody may send.
#[test]
fn nobody_passes_the_guard_by_a_header() {
    if shell::leaves_out(shell::Vms::Missing) {
        return;
    }
    let upstream = Upstream::start();
    let envoy = Envoy::start(left_out(Setup::ecds(&upstream)));
    for name in ["wasm.keystile.pass", "keystile.pass", "keystile-pass"] {
        let answer = envoy.send(&get("/").header(name, "keystile:-"));
        assert_eq!(answer.status, 403, "{name}");
    }
    assert_eq!(upstream.requests(), 0);
}

/// Whoever upgrades puts the filter in force first, and renders the guard anew when it suits.
#[test]
fn the_guard_of_earlier_versions_works_on() {
    if shell::leaves_out(shell::Vms::Missing) {
        return;
    }
    let upstream = Upstream::start();
    let mut keys =
        Keys::new(r#"{version: 1, routes: [{path: /open, auth: none}, {path: "/{*rest}"}]}"#);
    let key = keys.issue("acme");
    let envoy = keys.start_on(with_earlier_guard(Setup::ecds(&upstream)));
    assert_eq!(envoy.send(&get("/a").bearer(&key)).status, 200);
    assert_eq!(envoy.send(&get("/open")).status, 200);
    assert_eq!(envoy.send(&get("/a")).status, 401);

    let envoy = Envoy::start(left_out(with_earlier_guard(Setup::ecds(&upstream))));
    assert_eq!(envoy.send(&get("/a").bearer(&key)).status, 403);
    assert_eq!(upstream.requests(), 2);
}

fn left_out(setup: Setup) -> Setup {
    setup.edit(
        "- name: keystile\n            config_discovery:",
        "- name: keystile\n            disabled: true\n            config_discovery:",
    )
}

fn with_earlier_guard(setup: Setup) -> Setup {
    setup
        .edit("action: DENY", "action: ALLOW")
        .edit(
            "- not_id:\n                        filter_state:",
            "- filter_state:",
        )
        .edit("key: wasm.keystile.pass", "key: wasm.keystile.client")
        .edit("{prefix: \"keystile:\"}", "{safe_regex: {regex: \".+\"}}")
}

#[test]
fn a_file_that_is_no_discovery_response_changes_nothing() {
    let upstream = Upstream::start();
    let envoy = Envoy::start(Setup::ecds(&upstream));

    assert_eq!(envoy.push(|file| file.write("{")), Push::Unreadable);
    assert_eq!(envoy.push(|file| file.write("{}")), Push::Refused);

    assert_eq!(envoy.send(&get("/")).status, 500);
    assert_eq!(upstream.requests(), 0);
}
