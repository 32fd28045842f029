//! Charged once, however often Envoy sends a request through its filters.

use super::*;
use std::cell::Cell;

#[test]
fn limits_of_plan_route_and_client_are_taken_together() {
    let w = world(|r| r.plan = Some("free".into()));
    let mut b = MemoryBuckets::default();
    let tight = call("GET", "/tight").keyed(&w);
    assert_eq!(tight.decide(&w, &mut b).code(), "ok");
    for _ in 0..5 {
        let d = tight.decide(&w, &mut b);
        assert_eq!(d.verdict, Err(Denial::RateLimited { retry_after: 3600 }));
        assert_eq!(d.rate.unwrap().tightest, 1);
    }
    let users = call("GET", "/users/7").keyed(&w);
    assert_eq!(
        users.decide(&w, &mut b).rate.unwrap().remaining,
        1,
        "refusals took nothing"
    );
    assert_eq!(users.decide(&w, &mut b).code(), "ok");
    assert_eq!(
        users.decide(&w, &mut b).verdict,
        Err(Denial::RateLimited { retry_after: 20 })
    );
}

#[test]
fn limits_of_the_key_replace_those_of_its_plan() {
    let own = crate::policy::checked_limits(
        "l",
        &serde_json::from_str::<Vec<_>>(r#"[{"requests":1,"per":"1m"}]"#).unwrap(),
    )
    .unwrap();
    let w = world(|r| {
        r.plan = Some("free".into());
        r.limits = own
    });
    let mut b = MemoryBuckets::default();
    // Dearer than the whole bucket: takes the whole bucket.
    let dear = call("GET", "/dear").keyed(&w);
    assert_eq!(dear.decide(&w, &mut b).code(), "ok");
    assert_eq!(
        dear.decide(&w, &mut b).verdict,
        Err(Denial::RateLimited { retry_after: 60 })
    );
}

#[test]
fn a_key_may_have_more_than_its_plan() {
    let own = serde_json::from_str::<Vec<_>>(r#"[{"requests":5,"per":"1m"}]"#).unwrap();
    let own = crate::policy::checked_limits("l", &own).unwrap();
    let w = world(|r| {
        r.plan = Some("free".into());
        r.limits = own
    });
    let mut b = MemoryBuckets::default();
    for code in ["ok", "ok", "ok", "ok", "ok", "rate_limited"] {
        let asked = call("GET", "/users/7").keyed(&w).decide(&w, &mut b);
        assert_eq!(asked.code(), code);
    }
}

#[test]
fn a_second_pass_is_checked_but_not_charged() {
    let w = world(|r| r.plan = Some("free".into()));
    let mut b = MemoryBuckets::default();
    let first = call("GET", "/users/7").keyed(&w).decide(&w, &mut b);
    let prior = first.prefix.map(Prior::Admitted);
    for _ in 0..10 {
        let again = Call {
            prior,
            ..call("GET", "/users/8")
        };
        assert_eq!(again.decide(&w, &mut b).code(), "ok");
        let other = Call {
            prior,
            ..call("PUT", "/users/8")
        };
        assert_eq!(other.decide(&w, &mut b).code(), "insufficient_scope");
    }
    assert_eq!(
        call("GET", "/users/7")
            .keyed(&w)
            .decide(&w, &mut b)
            .rate
            .unwrap()
            .remaining,
        1
    );
    let gone = Call {
        prior: Some(Prior::Admitted([0; 16])),
        ..call("GET", "/users/8")
    };
    assert_eq!(gone.code(&w), "unknown_api_key");
}

#[test]
fn an_earlier_pass_is_asked_about_only_without_a_key() {
    let w = world(|_| {});
    let asked = Cell::new(0);
    for (c, times) in [
        (call("GET", "/users/7").keyed(&w), 0),
        (call("GET", "/users/7"), 1),
        (call("GET", "/healthz"), 0),
    ] {
        asked.set(0);
        let bytes = Headers::encode(&c.pairs);
        let request = plain(&bytes);
        let prior = || {
            asked.set(asked.get() + 1);
            None
        };
        decide(
            Ok(&w.keyset),
            &request,
            Clocks {
                wall: NOW,
                monotonic: 1,
            },
            prior,
            &mut MemoryBuckets::default(),
            &mut (),
        );
        assert_eq!(asked.get(), times);
    }
}
