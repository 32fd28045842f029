//! What is known of a store stays while Envoy runs, also when no listener is left.

use crate::fixture::{Keys, in_force};
use crate::support::{Setup, Upstream, eventually, get};

const POLICY: &str = "
version: 1
plans: {p: {limits: [{requests: 2, per: 1d}]}}
routes: [{path: /v1/a}]
";

#[test]
fn a_listener_that_goes_and_comes_back_falls_behind_nothing() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let revoked = keys.issue("acme");
    let used = keys.issue_on("beta", "p");
    let older = keys.sealed();
    let mut envoy = keys.start_on(Setup::ecds(&upstream).listeners_from_file());
    in_force(&envoy, keys.content.version);
    let ask =
        |envoy: &crate::support::Envoy, key: &str| envoy.send(&get("/v1/a").bearer(key)).status;
    let codes = [0; 3].map(|_| ask(&envoy, &used));
    assert_eq!(codes, [200, 200, 429]);
    keys.revoke(&revoked);
    keys.push(&envoy);
    assert_eq!(ask(&envoy, &revoked), 401);

    envoy.listener_file().remove();
    eventually("the listener to be gone", || {
        let left = envoy.stats("^listener_manager.total_listeners_(active|draining)$");
        (left.len() == 2 && left.values().all(|left| *left == 0)).then_some(())
    });
    envoy.ecds_file().configure(&older);
    envoy.listener_file().restore();
    envoy.look_for_listeners();
    eventually("an answer of the filter", || {
        (ask(&envoy, &revoked) != 500).then_some(())
    });
    // The older file is all that there is: nothing is in force.
    assert_eq!(ask(&envoy, &revoked), 503);
    let newest = keys.sealed();
    envoy.ecds_file().configure(&newest);
    // On both workers, and their VMs of before are still counted.
    eventually("the newest keyset to be in force", || {
        (0..20).all(|_| ask(&envoy, &revoked) == 401).then_some(())
    });
    assert_eq!(ask(&envoy, &used), 429);
}
