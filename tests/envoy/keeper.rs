//! What is known of a store stays while Envoy runs, also when no listener is left.

use crate::fixture::{Keys, in_force};
use crate::support::{Delta, EcdsFile, Envoy, Setup, Upstream, eventually, get};

const POLICY: &str = "
version: 1
plans:
  p: {limits: [{requests: 2, per: 1d}]}
  q: {quota: {requests: 2, per: month}}
routes: [{path: /v1/a}]
";

const FILTERS: [&str; 2] = ["keystile-base", "keystile"];
const WASM: &str = "target/dist/keystile.wasm";

fn ask(envoy: &Envoy, key: &str) -> u16 {
    envoy.send(&get("/v1/a").bearer(key)).status
}

/// Uses up the limit of one key and the quota of another.
fn use_up(envoy: &Envoy, limited: &str, metered: &str) {
    for key in [limited, metered] {
        assert_eq!([0; 3].map(|_| ask(envoy, key)), [200, 200, 429]);
    }
}

fn are_used_up(envoy: &Envoy, limited: &str, metered: &str) {
    let code = |key| envoy.send(&get("/v1/a").bearer(key)).code();
    assert_eq!(code(limited).as_deref(), Some("rate_limited"));
    assert_eq!(code(metered).as_deref(), Some("quota_exceeded"));
}

#[test]
fn a_listener_that_goes_and_comes_back_falls_behind_nothing() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let revoked = keys.issue("acme");
    let (limited, metered) = (keys.issue_on("beta", "p"), keys.issue_on("beta", "q"));
    let older = keys.sealed();
    let mut envoy = keys.start_on(Setup::ecds(&upstream).listeners_from_file());
    in_force(&envoy, keys.content.version);
    use_up(&envoy, &limited, &metered);
    keys.revoke(&revoked);
    keys.push(&envoy);
    assert_eq!(ask(&envoy, &revoked), 401);

    envoy.listener_file().remove();
    envoy.without_filter();
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
    are_used_up(&envoy, &limited, &metered);
}

/// What a control plane takes away and gives back.
#[derive(Clone, Copy)]
enum Taken {
    Filters,
    Listener,
}

#[test]
fn filters_that_discovery_removes_and_gives_back_fall_behind_nothing() {
    falls_behind_nothing(Taken::Filters);
}

#[test]
fn a_listener_that_discovery_removes_and_gives_back_falls_behind_nothing() {
    falls_behind_nothing(Taken::Listener);
}

fn falls_behind_nothing(taken: Taken) {
    let upstream = Upstream::start();
    let server = Delta::start();
    let mut keys = Keys::new(POLICY);
    let revoked = keys.issue("acme");
    let (limited, metered) = (keys.issue_on("beta", "p"), keys.issue_on("beta", "q"));
    keys.compact();
    let base = keys.sealed_base();
    let older = keys.sealed_overlay();
    let give = |base: &[u8], overlay: &[u8]| {
        for (name, sealed) in FILTERS.into_iter().zip([base, overlay]) {
            server.give_filter(&EcdsFile::resource(name, WASM, sealed.to_owned()));
        }
    };
    give(&base, &older);
    let (setup, listener) = Setup::aggregated(&upstream, server.address());
    server.give_listener(&listener);
    let mut envoy = Envoy::start(setup.signing_keys(&keys.signing_keys()));
    in_force(&envoy, keys.content.version);
    use_up(&envoy, &limited, &metered);
    assert_eq!(ask(&envoy, &revoked), 200);
    keys.revoke(&revoked);
    give(&base, &keys.sealed_overlay());
    in_force(&envoy, keys.content.version);
    assert_eq!(ask(&envoy, &revoked), 401);

    match taken {
        Taken::Filters => FILTERS.iter().for_each(|name| server.take_filter(name)),
        Taken::Listener => server.take_listener("public"),
    }
    envoy.without_filter();
    // With another nonce: what a peer has refused or had before would not be news to it.
    give(&keys.sealed_base(), &older);
    if let Taken::Listener = taken {
        server.give_listener(&listener);
        envoy.look_for_listeners();
    }
    eventually("an answer of the filter", || {
        let status = ask(&envoy, &revoked);
        assert!([500, 503].contains(&status), "{status}");
        (status == 503).then_some(())
    });
    for _ in 0..20 {
        assert_eq!(ask(&envoy, &revoked), 503);
        assert_eq!(ask(&envoy, &limited), 503);
        assert_eq!(ask(&envoy, &metered), 503);
    }
    give(&keys.sealed_base(), &keys.sealed_overlay());
    eventually("the newest keyset to be in force", || {
        (0..20).all(|_| ask(&envoy, &revoked) == 401).then_some(())
    });
    are_used_up(&envoy, &limited, &metered);
}
