//! When, from where and for what a key is good.

use super::*;
use crate::keyset::Network;

#[test]
fn the_lifecycle_turns_at_its_second() {
    type Change = fn(&mut KeyRow);
    let cases: [(Change, &[(u64, &str)]); 6] = [
        (
            |r| r.expires = Some(NOW + 10),
            &[(9, "ok"), (10, "expired_api_key")],
        ),
        (
            |r| r.not_before = Some(NOW + 10),
            &[(9, "inactive_api_key"), (10, "ok")],
        ),
        (
            |r| r.overlap_end = Some(NOW + 10),
            &[(9, "ok"), (10, "expired_api_key")],
        ),
        (|r| r.disabled = true, &[(0, "disabled_api_key")]),
        (|r| r.revoked = true, &[(0, "revoked_api_key")]),
        (
            |r| {
                r.revoked = true;
                r.expires = Some(NOW + 1);
                r.disabled = true
            },
            &[(5, "revoked_api_key")],
        ),
    ];
    for (change, times) in cases {
        let w = world(change);
        for (after, code) in times {
            let mut c = call("GET", "/users/7").keyed(&w);
            c.wall = NOW + after;
            assert_eq!(c.code(&w), *code, "after {after}");
        }
    }
}

#[test]
fn a_mended_environment_or_brand_gains_nothing() {
    let w = world(|r| r.environment = "test".parse().unwrap());
    // The text says `live`, the entry `test`.
    assert_eq!(
        call("GET", "/users/7").keyed(&w).code(&w),
        "unknown_api_key"
    );
    let policy = POLICY.replace("\"realm\"", "\"brand\":\"other\",\"realm\"");
    let w = world_with(&policy, |_| {});
    assert_eq!(
        call("GET", "/users/7").keyed(&w).code(&w),
        "unknown_api_key"
    );
    let closed = POLICY.replace("[\"live\"]", "[\"prod\"]");
    let w = world_with(&closed, |_| {});
    assert_eq!(
        call("GET", "/users/7").keyed(&w).code(&w),
        "environment_denied"
    );
}

#[test]
fn what_is_missing_is_named_whole_and_only_to_whom_it_is_missing() {
    type Names = Vec<&'static str>;
    let missing = |method: &str, path: &str, held: &[&str]| -> Option<(Names, Names)> {
        let w = world(|r| r.scopes = held.iter().map(|s| (*s).to_owned()).collect());
        let decision = call(method, path)
            .keyed(&w)
            .decide(&w, &mut MemoryBuckets::default());
        let lacking = decision.lacking()?;
        let known = |name: &str| ["read", "write", "admin"].into_iter().find(|n| *n == name);
        let names = |all: &mut dyn Iterator<Item = &str>| all.filter_map(known).collect();
        Some((names(&mut lacking.all()), names(&mut lacking.any())))
    };
    assert_eq!(missing("PUT", "/users/7", &["read", "write"]), None);
    assert_eq!(
        missing("PUT", "/users/7", &["read"]),
        Some((vec!["write"], vec![]))
    );
    assert_eq!(
        missing("PUT", "/users/7", &[]),
        Some((vec!["read", "write"], vec![]))
    );
    assert_eq!(missing("GET", "/any", &["admin"]), None);
    assert_eq!(
        missing("GET", "/any", &["write"]),
        Some((vec![], vec!["read", "admin"]))
    );
    assert_eq!(missing("GET", "/nowhere", &[]), None);
}

#[test]
fn networks_and_origins_bind() {
    let net = |a: &str, prefix_len| Network {
        address: a.parse().unwrap(),
        prefix_len,
    };
    let w = world(|r| r.allow = vec![net("192.0.2.0", 24)]);
    let c = call("GET", "/users/7").keyed(&w);
    assert_eq!(c.code(&w), "ok");
    assert_eq!(
        Call {
            address: Some("198.51.100.1"),
            ..c.clone()
        }
        .code(&w),
        "address_denied"
    );
    assert_eq!(Call { address: None, ..c }.code(&w), "address_denied");

    let w = world(|r| {
        r.publishable = true;
        r.origins = vec!["https://app.example".into()]
    });
    let c = call("GET", "/dear").keyed(&w);
    assert_eq!(c.code(&w), "origin_denied");
    assert_eq!(
        c.clone().with("origin", "https://evil.example").code(&w),
        "origin_denied"
    );
    assert_eq!(c.with("origin", "https://APP.example").code(&w), "ok");
    let w = world(|r| r.publishable = true);
    let c = call("GET", "/dear").keyed(&w);
    assert_eq!(
        c.with("origin", "https://app.example").code(&w),
        "origin_denied",
        "bound to none is open to none"
    );
}

#[test]
fn a_port_that_goes_without_saying_makes_no_other_origin() {
    for (issued, sent, code) in [
        ("https://app.example:443", "https://app.example", "ok"),
        ("https://app.example", "https://app.example:443", "ok"),
        ("HTTPS://APP.example:443", "https://app.example", "ok"),
        ("http://app.example:80", "http://app.example", "ok"),
        ("http://[::1]:80", "http://[::1]", "ok"),
        (
            "https://app.example:80",
            "https://app.example",
            "origin_denied",
        ),
        (
            "http://app.example:443",
            "http://app.example",
            "origin_denied",
        ),
        ("https://app.example", "http://app.example", "origin_denied"),
        (
            "https://app.example:443",
            "https://app.example:444",
            "origin_denied",
        ),
    ] {
        let w = world(|r| r.origins = vec![issued.into()]);
        let c = call("GET", "/users/7").keyed(&w).with("origin", sent);
        assert_eq!(c.code(&w), code, "{issued} {sent}");
    }
}

#[test]
fn a_publishable_key_holds_what_the_policy_leaves_to_such_keys_today() {
    let policy = |scopes: &str| {
        POLICY.replace(
            r#""routes""#,
            &format!(r#""publishable":{{"scopes":[{scopes}]}},"routes""#),
        )
    };
    for (allowed, publishable, path, code) in [
        (r#""read""#, true, "/users/7", "ok"),
        (r#""read""#, true, "/any", "ok"),
        (r#""write""#, true, "/users/7", "insufficient_scope"),
        (r#""write""#, true, "/any", "insufficient_scope"),
        ("", true, "/users/7", "insufficient_scope"),
        ("", false, "/users/7", "ok"),
        ("", false, "/any", "ok"),
    ] {
        let w = world_with(&policy(allowed), |r| {
            r.publishable = publishable;
            r.origins = vec!["https://a.example".into()];
        });
        let c = call("GET", path)
            .keyed(&w)
            .with("origin", "https://a.example");
        assert_eq!(c.code(&w), code, "{allowed} {publishable} {path}");
    }
}
