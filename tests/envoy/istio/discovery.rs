//! A mesh whose proxies are given keysets by discovery.

use super::POLICY;
use super::mesh::{Gateway, documents};
use crate::support::{Companion, Envoy, Server, Upstream, eventually, fresh_dir, get};

#[test]
fn proxies_of_a_mesh_on_discovery_prove_a_revocation() {
    let policy = format!("{POLICY}report: {{ cluster: keystile-control, every: 1s }}\n");
    let companion = Companion::init(&fresh_dir(), &policy);
    companion.run(&["client", "create", "acme"]);
    let server = Server::start(&companion);
    let upstream = Upstream::start();
    let mut gateway = Gateway::new(&upstream);
    let rendered = companion.run(&[
        "render",
        "istio",
        "--discovery",
        server.discovery(),
        "--control",
        server.address(),
    ]);
    for resource in documents(&rendered) {
        gateway.apply(&resource);
    }
    assert_eq!(gateway.order()[..2], ["keystile-base", "keystile"]);
    let (setup, _) = gateway.setup();
    let envoy = Envoy::start(setup.signing_keys(&companion.signing_keys()));

    let (key, id) = server.issue(&["acme"]);
    let asking = get("/v1/a").bearer(&key);
    eventually("the key to open the gateway", || {
        (0..8)
            .all(|_| envoy.send(&asking).status == 200)
            .then_some(())
    });
    let revoked = server.json(&["key", "revoke", &id, "--wait"]);
    assert_eq!(revoked["status"], "revoked");
    for _ in 0..8 {
        assert_eq!(envoy.send(&asking).status, 401);
    }
    let fleet = server.json(&["fleet"]).to_string();
    assert!(fleet.contains("router~10.0.0.1~gateway-1.edge"), "{fleet}");
}
