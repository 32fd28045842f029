//! Keys that come over plain HTTP where TLS is required.

use super::*;

fn strict(change: impl FnOnce(&mut KeyRow)) -> World {
    let policy = POLICY.replace("\"realm\"", "\"require_tls\":true,\"realm\"");
    world_with(&policy, change)
}

/// The code, and the id of the key that logs and counts name.
fn named(w: &World, call: &Call) -> (&'static str, Option<KeyId>) {
    let decision = call.decide(w, &mut MemoryBuckets::default());
    (decision.code(), decision.entry.map(|entry| entry.id))
}

#[test]
fn a_key_in_the_clear_is_refused_and_named() {
    let w = strict(|_| {});
    let id = w.key.id;
    let plain = call("GET", "/users/7").keyed(&w);
    assert_eq!(named(&w, &plain), ("tls_required", Some(id)));
    let tls = Call {
        tls: true,
        ..plain.clone()
    };
    assert_eq!(named(&w, &tls), ("ok", Some(id)));
    // What else is wrong with it is not said, because the key may not be the caller's.
    let scope = call("PUT", "/users/7").keyed(&w);
    assert_eq!(named(&w, &scope), ("tls_required", Some(id)));
    let revoked = strict(|r| r.revoked = true);
    let plain = call("GET", "/users/7").keyed(&revoked);
    assert_eq!(
        named(&revoked, &plain),
        ("tls_required", Some(revoked.key.id))
    );
}

#[test]
fn without_a_key_of_ours_the_answer_is_the_same_and_nobody_is_named() {
    let w = strict(|_| {});
    let stranger = fresh(2).text.expose_secret().to_owned();
    let both = call("GET", "/users/7").keyed(&w);
    for other in [
        call("GET", "/users/7"),
        call("GET", "/maybe"),
        call("GET", "/users/7").with("x-api-key", "mistyped"),
        call("GET", "/users/7").with("x-api-key", &stranger),
        both.with("authorization", &format!("Bearer {stranger}")),
    ] {
        assert_eq!(named(&w, &other), ("tls_required", None));
    }
}

#[test]
fn a_key_in_the_clear_pays_nothing_and_open_routes_are_not_asked() {
    let w = strict(|r| r.plan = Some("free".into()));
    let mut buckets = MemoryBuckets::default();
    let plain = call("GET", "/users/7").keyed(&w);
    for _ in 0..5 {
        assert_eq!(plain.decide(&w, &mut buckets).code(), "tls_required");
    }
    let tls = Call {
        tls: true,
        ..plain.clone()
    };
    for code in ["ok", "ok", "ok", "rate_limited"] {
        assert_eq!(tls.decide(&w, &mut buckets).code(), code);
    }
    let open = call("GET", "/healthz").keyed(&w);
    assert_eq!(named(&w, &open), ("ok", None));
}
