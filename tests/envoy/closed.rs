//! Doors that stay shut while there is no filter to open them.

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
    if shell::leaves_out("a worker without the filter") {
        return;
    }
    let upstream = Upstream::start();
    let left_out = Setup::ecds(&upstream).edit(
        "- name: keystile\n            config_discovery:",
        "- name: keystile\n            disabled: true\n            config_discovery:",
    );
    let envoy = Envoy::start(left_out);

    let answer = envoy.client().send(&get("/"));

    assert_eq!(answer.status, 403);
    assert_eq!(upstream.requests(), 0);
    let line = envoy.access_line(|line| line["path"] == "/");
    assert_eq!(line["reason"], "rbac_access_denied_matched_policy[none]");
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
