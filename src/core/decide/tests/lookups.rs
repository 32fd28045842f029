//! What the readings cost: the rule of a canonical request is looked up once.

use super::*;
use std::cell::Cell;

thread_local! {
    static LOOKUPS: Cell<u32> = const { Cell::new(0) };
}

/// A rule is looked up.
pub(in crate::decide) fn count() {
    LOOKUPS.set(LOOKUPS.get() + 1);
}

/// Open and protected rules beside each other, at several hosts.
const RULES: &str = r#"{"version":1,HOST_PORTS"routes":[
    {"path":"/v1/users/{id}","scopes":["read"]},
    {"path":"/v1/{*rest}"},
    {"path":"/files/","auth":"none"},
    {"path":"/admin/{*rest}","hosts":["*.corp.example.com"],"scopes":["read"]},
    {"path":"/{*rest}","hosts":["www.example.com"],"auth":"none"},
    {"path":"/{*rest}","hosts":["api.example.com"],"scopes":["read"]}
  ]}"#;

/// How often a request's rule is looked up, and what is decided.
fn lookups(w: &World, host: &str, path: &str) -> (u32, &'static str) {
    let mut call = call("GET", path);
    call.pairs[2].1 = host.as_bytes().to_vec();
    let bytes = Headers::encode(&call.keyed(w).pairs);
    let request = plain(&bytes);
    let clocks = Clocks {
        wall: NOW,
        monotonic: 1 << 40,
    };
    LOOKUPS.set(0);
    let mut buckets = MemoryBuckets::default();
    let decision = decide(
        Ok(&w.keyset),
        &request,
        clocks,
        || None,
        &mut buckets,
        &mut (),
    );
    (LOOKUPS.get(), decision.code())
}

#[test]
fn the_rule_of_a_canonical_request_is_looked_up_once() {
    for ports in ["", r#""host_ports":"ignore","#] {
        let w = world_with(&RULES.replace("HOST_PORTS", ports), |_| {});
        for (host, path, code) in [
            ("api.example.com", "/v1/users/7", "ok"),
            ("api.example.com", "/v1/orders/7/lines", "ok"),
            ("api.example.com", "/v1/users/7?next=%2Fadmin;x", "ok"),
            ("api.example.com", "/v1/some-thing_else~1", "ok"),
            ("a.corp.example.com", "/admin/users", "ok"),
            ("www.example.com", "/index.html", "ok"),
            ("other.example.com", "/files/", "ok"),
            ("other.example.com", "/else", "route_denied"),
        ] {
            assert_eq!(lookups(&w, host, path), (1, code), "{host}{path}");
        }
    }
}

/// So that the number above says something.
#[test]
fn the_rule_of_a_request_that_can_be_read_in_several_ways_is_looked_up_in_each() {
    let w = world_with(&RULES.replace("HOST_PORTS", ""), |_| {});
    for (host, path) in [
        ("api.example.com:8443", "/v1/users/7"),
        ("api.example.com", "/v1/users/%37"),
        ("api.example.com", "/v1/users/7;x=1"),
        ("www.example.com", "/a/../b"),
        // Some readers take `/a/` for `/a`, and an open rule opens one of them.
        ("www.example.com", "/a/"),
    ] {
        let (lookups, _) = lookups(&w, host, path);
        assert!(lookups > 1, "{host}{path}: {lookups}");
    }
}
