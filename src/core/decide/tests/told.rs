//! What is told: to the caller about limits, to the operator in notes, and to a second pass about
//! a key that nobody has judged.

use super::*;
use crate::key::Digest;
use crate::key::Malformed;
use crate::limit::bucket::{BucketKey, Contended, Levels};
use crate::limit::quota::{Counts, TallyKey};
use crate::policy::{Limit, checked_limits};

fn limits(json: &str) -> Vec<Limit> {
    checked_limits("l", &serde_json::from_str::<Vec<_>>(json).unwrap()).unwrap()
}

#[test]
fn a_second_pass_is_told_of_its_limits_where_the_policy_wants_that_and_as_they_stand() {
    let always = POLICY.replace("\"realm\"", "\"rate_limit_fields\":\"always\",\"realm\"");
    // Two in a second and five in a minute: first the one is the tightest, then the other. Where
    // both leave the same, the first of them counts on either pass.
    let seconds = [
        ([0, 0, 2, 2, 4], [(0, 1), (0, 0), (0, 1), (0, 0), (1, 0)]),
        ([0, 0, 2, 4, 4], [(0, 1), (0, 0), (0, 1), (0, 1), (0, 0)]),
    ];
    for (policy, is_told) in [(POLICY, false), (always.as_str(), true)] {
        for (seconds, want) in seconds {
            let w = world_with(policy, |r| r.plan = Some("both".into()));
            assert_eq!(told_twice(&w, seconds, is_told), want);
        }
    }
}

/// Lets one request in at each of these seconds, and has each pass again: what was told of its
/// tightest limit, which is the same both times.
fn told_twice(w: &World, seconds: [u64; 5], is_told: bool) -> [(usize, u64); 5] {
    let mut b = MemoryBuckets::default();
    seconds.map(|second| {
        let at = |call: Call| Call {
            monotonic: (1 << 40) + second * 1_000_000_000,
            ..call
        };
        let first = at(call("GET", "/users/7").keyed(w)).decide(w, &mut b);
        let told = first.rate.map(|r| (r.tightest, r.remaining, r.reset));
        let again = Call {
            prior: first.prefix.map(Prior::Admitted),
            ..at(call("GET", "/users/7"))
        };
        for _ in 0..3 {
            let again = again.decide(w, &mut b);
            assert!(again.again && again.verdict.is_ok());
            let rate = again.rate.map(|r| (r.tightest, r.remaining, r.reset));
            assert_eq!(rate, told.filter(|_| is_told), "second {second}");
        }
        let (tightest, remaining, _) = told.unwrap();
        (tightest, remaining)
    })
}

#[test]
fn of_a_limit_and_a_quota_that_both_refuse_the_longer_wait_is_told() {
    let plan = r#""hourly":{"limits":[{"requests":1,"per":"1h"}],"quota":{"requests":1,"per":"day"}},"free""#;
    let policy = POLICY.replacen("\"free\"", plan, 1);
    let w = world_with(&policy, |r| r.plan = Some("hourly".into()));
    let midnight = NOW.next_multiple_of(86_400);
    let limit = Err(Denial::RateLimited { retry_after: 3600 });
    let quota = |retry_after| Err(Denial::QuotaExceeded { retry_after });
    for (before, want) in [
        (1, limit),
        (3599, limit),
        (3600, limit),
        (3601, quota(3601)),
        (80_000, quota(80_000)),
    ] {
        let mut b = MemoryBuckets::default();
        let call = Call {
            wall: midnight - before,
            ..call("GET", "/users/7").keyed(&w)
        };
        assert!(call.decide(&w, &mut b).verdict.is_ok());
        let refused = call.decide(&w, &mut b);
        assert_eq!(refused.verdict, want, "{before} seconds before midnight");
    }
}

/// Between the look at a bucket and the take, others may empty it.
#[test]
fn a_request_that_loses_the_bucket_after_the_quota_was_drawn_is_refused_and_draws_nothing() {
    #[derive(Default)]
    struct Raced {
        calm: MemoryBuckets,
        is_raced: bool,
        has_drawn: bool,
    }
    impl Buckets for Raced {
        fn update(
            &mut self,
            key: &BucketKey,
            f: &mut dyn FnMut(&mut Levels) -> bool,
        ) -> Result<(), Contended> {
            match self.is_raced && self.has_drawn {
                true => Err(Contended),
                false => self.calm.update(key, f),
            }
        }
    }
    impl Tallies for Raced {
        fn update_tally(
            &mut self,
            key: &TallyKey,
            f: &mut dyn FnMut(&mut Counts) -> bool,
        ) -> Result<(), Contended> {
            self.has_drawn = true;
            self.calm.update_tally(key, f)
        }
    }
    let w = world(|r| r.plan = Some("daily".into()));
    let mut b = Raced::default();
    let bytes = Headers::encode(&call("GET", "/users/1").keyed(&w).pairs);
    let mut attempt = |is_raced| {
        (b.is_raced, b.has_drawn) = (is_raced, false);
        let request = plain(&bytes);
        let clocks = Clocks {
            wall: NOW,
            monotonic: 1 << 40,
        };
        let d = decide(Ok(&w.keyset), &request, clocks, || None, &mut b, &mut ());
        let left = d.rate.and_then(|r| r.quota?.left);
        (d.verdict, left.map(|(n, _)| n))
    };
    for _ in 0..5 {
        let refused = Err(Denial::RateLimited { retry_after: 1 });
        assert_eq!(attempt(true), (refused, None));
    }
    assert_eq!(attempt(false), (Ok(()), Some(2)), "one of three was drawn");
}

#[test]
fn a_host_without_a_monotonic_clock_refuses_what_is_limited_and_nothing_else() {
    let plan = r#""count":{"quota":{"requests":1,"per":"day"}},"free""#;
    let policy = POLICY.replacen("\"free\"", plan, 1);
    for (plan, want) in [
        (None, Ok(())),
        (Some("count"), Ok(())),
        (Some("free"), Err(Denial::RateLimited { retry_after: 1 })),
        (Some("daily"), Err(Denial::RateLimited { retry_after: 1 })),
    ] {
        let w = world_with(&policy, |r| r.plan = plan.map(Into::into));
        let call = Call {
            monotonic: 0,
            ..call("GET", "/users/7").keyed(&w)
        };
        assert_eq!(call.verdict(&w), want, "{plan:?}");
    }
}

#[test]
fn a_key_with_all_the_limits_that_it_may_have_is_under_that_of_the_route_as_well() {
    let one = |n: usize| format!(r#"{{"requests":50,"per":"{}m"}}"#, n + 1);
    let all: Vec<_> = (0..crate::limit::bucket::MAX_LIMITS).map(one).collect();
    let own = limits(&format!("[{}]", all.join(",")));
    let w = world(|r| r.limits = own);
    let mut b = MemoryBuckets::default();
    let tight = call("GET", "/tight").keyed(&w);
    assert!(tight.decide(&w, &mut b).verdict.is_ok());
    let refused = tight.decide(&w, &mut b);
    assert_eq!(
        refused.verdict,
        Err(Denial::RateLimited { retry_after: 3600 })
    );
    let rate = refused.rate.unwrap();
    assert_eq!(rate.applied().count(), crate::limit::bucket::MAX_LIMITS + 1);
    assert_eq!(rate.tightest, crate::limit::bucket::MAX_LIMITS);
}

#[test]
fn what_an_open_route_takes_out_unjudged_is_remembered() {
    let w = world(|_| {});
    let text = w.key.text.expose_secret();
    let mut mistyped = text.to_owned();
    let last = mistyped.pop().unwrap();
    mistyped.push(if last == 'a' { 'b' } else { 'a' });
    let unjudged = |w: &World, call: Call| {
        let decision = call.decide(w, &mut MemoryBuckets::default());
        assert!(decision.open && decision.verdict.is_ok());
        decision.unjudged
    };
    let open = || call("GET", "/healthz");
    assert_eq!(unjudged(&w, open()), None);
    assert_eq!(unjudged(&w, open().with("x-api-key", "theirs")), None);
    assert_eq!(
        unjudged(&w, open().keyed(&w)),
        Some(Prior::Presented(w.key.digest.prefix()))
    );
    assert_eq!(
        unjudged(&w, open().with("x-api-key", &mistyped)),
        Some(Prior::Refused(Denial::MalformedKey(Malformed::Checksum)))
    );
    let other = fresh(7);
    assert_eq!(
        unjudged(&w, open().with("x-api-key", other.text.expose_secret())),
        Some(Prior::Refused(Denial::UnknownKey))
    );
    assert_eq!(
        unjudged(&w, open().keyed(&w).with("x-api-key", &mistyped)),
        Some(Prior::Refused(Denial::MultipleKeys))
    );
    let stays = POLICY.replace("\"realm\"", "\"forward_credential\":true,\"realm\"");
    let w = world_with(&stays, |_| {});
    assert_eq!(unjudged(&w, open().keyed(&w)), None, "it is still there");
}

/// A key that was imported is a text like any other: what is too long for one is none, whatever
/// the keyset says of its digest.
#[test]
fn a_text_that_is_too_long_for_a_key_is_not_even_looked_up() {
    let longest = "x".repeat(crate::key::MAX_KEY_BYTES);
    let longer = format!("{longest}x");
    for (text, want) in [
        (&longest, Ok(())),
        (&longer, Err(Denial::MalformedKey(Malformed::Length))),
    ] {
        let w = world(|r| {
            r.foreign = true;
            r.digest = Digest::of_foreign(text.as_bytes());
        });
        let presented = call("GET", "/users/7").with("x-api-key", text);
        assert_eq!(presented.verdict(&w), want);
    }
}

/// The note about one question.
fn note(w: &World, call: &Call, rule: &str) -> String {
    let bytes = Headers::encode(&call.pairs);
    let request = plain(&bytes);
    let clocks = Clocks {
        wall: NOW,
        monotonic: 1,
    };
    let mut notes: Vec<Note> = Vec::new();
    let mut b = MemoryBuckets::default();
    let _ = decide(Ok(&w.keyset), &request, clocks, || None, &mut b, &mut notes);
    let found = notes.into_iter().find(|n| n.rule == rule);
    found.map(|n| n.text).unwrap_or_default()
}

#[test]
fn notes_speak_of_limits_only_where_there_are_any() {
    let plan = r#""count":{"quota":{"requests":1,"per":"day"}},"free""#;
    let policy = POLICY.replacen("\"free\"", plan, 1);
    for (plan, limit, quota) in [
        (None, "none applies", ""),
        (
            Some("free"),
            "costs 1; 3 per 60 s (burst 3) of plan `free`",
            "",
        ),
        (
            Some("count"),
            "",
            "counts as 1 of the 1 per day of plan `count`",
        ),
    ] {
        let w = world_with(&policy, |r| r.plan = plan.map(Into::into));
        let call = call("GET", "/users/7").keyed(&w);
        assert_eq!(note(&w, &call, "limit"), limit);
        assert_eq!(note(&w, &call, "quota"), quota);
    }
}

#[test]
fn notes_say_what_the_route_asks_for_and_which_origin_was_refused() {
    let w = world(|r| r.origins = vec!["https://app.example".into()]);
    for (path, auth) in [
        ("/healthz", "none"),
        ("/maybe", "optional"),
        ("/dear", "required"),
    ] {
        assert_eq!(
            note(&w, &call("GET", path), "route"),
            format!("`{path}` matches, auth {auth}")
        );
    }
    let keyed = call("GET", "/dear").keyed(&w);
    let mine = keyed.clone().with("origin", "https://app.example");
    let evil = keyed.clone().with("origin", "https://evil.example");
    assert_eq!(note(&w, &mine, "origin"), "allowed");
    assert_eq!(
        note(&w, &evil, "origin"),
        "https://evil.example is not allowed"
    );
    assert_eq!(
        note(&w, &keyed, "origin"),
        "the request has no `Origin`, but the key is bound to origins"
    );
}
