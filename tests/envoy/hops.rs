//! The address of a caller behind a load balancer.

use crate::fixture::Keys;
use crate::support::{Setup, Upstream, get};
use keystile_core::keyset::Network;

const POLICY: &str = "version: 1\nroutes: [{path: \"/v1/{*rest}\"}]\n";

#[test]
fn behind_a_load_balancer_only_the_address_that_it_wrote_counts() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let office = keys.issue_with("acme", |row| {
        row.allow = vec![Network {
            address: [10, 0, 0, 0].into(),
            prefix_len: 8,
        }];
    });
    let trusting = "use_remote_address: true\n          xff_num_trusted_hops: 1";
    let setup = Setup::ecds(&upstream).edit("use_remote_address: true", trusting);
    let envoy = keys.start_on(setup);
    let from = |forwarded: &str| {
        let request = get("/v1/a").bearer(&office);
        let request = request.header("x-forwarded-for", forwarded);
        envoy.send(&request).code()
    };
    assert_eq!(from("10.1.2.3"), None);
    assert_eq!(from("203.0.113.9, 10.1.2.3"), None);
    for spoofed in [
        "10.1.2.3, 203.0.113.9",
        "203.0.113.9",
        "10.1.2.3, 10.1.2.4, 203.0.113.9",
    ] {
        assert_eq!(
            from(spoofed).as_deref(),
            Some("address_denied"),
            "{spoofed}"
        );
    }
    assert_eq!(upstream.requests(), 2);
}
