//! What is made of two verdicts that both let a request in.

use super::*;
use crate::policy::Limit;

fn keyed(path: &str, key: &Fresh) -> Call {
    call("GET", path).with("x-api-key", key.text.expose_secret())
}

fn code(holding: &Holding, call: &Call) -> &'static str {
    decided(holding, &mut MemoryBuckets::default(), call, 0).code()
}

const PLAIN: &str = r#"{"version":1,"plans":{"p":{}},"routes":[{"path":"/a"}]}"#;
const OPEN: &str = r#"{"version":1,"plans":{"p":{}},"routes":[
    {"path":"/a","auth":"none"},{"path":"/b","auth":"none"}]}"#;

#[test]
fn a_request_with_another_key_for_each_policy_is_refused() {
    let keys = [fresh(1), fresh(2)];
    let reads = |header: &str| {
        format!(
            r#"{{"version":1,"plans":{{"p":{{}}}},"credentials":[{{"header":"{header}"}}],"routes":[{{"path":"/a"}}]}}"#
        )
    };
    let holding = under_both(&reads("x-one"), &reads("x-two"), &keys);
    let of = |one: &Fresh, two: &Fresh| {
        let call = call("GET", "/a").with("x-one", one.text.expose_secret());
        code(&holding, &call.with("x-two", two.text.expose_secret()))
    };
    assert_eq!(of(&keys[0], &keys[0]), "ok");
    assert_eq!(of(&keys[0], &keys[1]), "multiple_api_keys");
}

/// A limit of each policy's own, of so many requests a week.
fn limited(requests: u64, quota: &str) -> String {
    format!(
        r#"{{"version":1,"plans":{{"p":{{"limits":[{{"requests":{requests},"per":"1w"}}]{quota}}}}},"routes":[{{"path":"/a"}}]}}"#
    )
}

#[test]
fn a_later_pass_is_charged_by_neither_policy() {
    let keys = [fresh(1)];
    let holding = under_both(&limited(1, ""), &limited(2, ""), &keys);
    let mut stock = MemoryBuckets::default();
    let first = decided(&holding, &mut stock, &keyed("/a", &keys[0]), 0);
    assert_eq!(first.code(), "ok");
    let again = Call {
        prior: first.prefix.map(Prior::Admitted),
        ..call("GET", "/a")
    };
    for _ in 0..3 {
        assert_eq!(decided(&holding, &mut stock, &again, 0).code(), "ok");
    }
    let second = decided(&holding, &mut stock, &keyed("/a", &keys[0]), 0);
    assert_eq!(second.code(), "rate_limited");
}

#[test]
fn what_either_policy_takes_out_is_taken_out() {
    let keys = [fresh(1)];
    // Another host's rule, by one policy alone.
    let hosts = r#"{"version":1,"plans":{"p":{}},"routes":[
        {"path":"/a","hosts":["other"],"scopes":["admin"]},{"path":"/a"}]}"#;
    let another = keyed("/a", &keys[0]).with("x-forwarded-host", "other");
    for (older, newest, is_another) in [
        (PLAIN, PLAIN, false),
        (hosts, PLAIN, true),
        (PLAIN, hosts, true),
        (hosts, hosts, true),
    ] {
        let holding = under_both(older, newest, &keys);
        let decision = decided(&holding, &mut MemoryBuckets::default(), &another, 0);
        assert_eq!(decision.code(), "ok");
        assert_eq!(decision.another_host, is_another);
    }
}

/// A header that asks a framework for another method or path is only harmless where both policies
/// let everybody do that, too.
#[test]
fn only_what_both_leave_open_may_ask_for_something_else() {
    let keys = [fresh(1)];
    let guarded = r#"{"version":1,"plans":{"p":{}},"routes":[
        {"path":"/a","auth":"none"},{"path":"/b"}]}"#;
    let asks = keyed("/a", &keys[0]).with("x-original-url", "/b");
    for (older, newest, is_overridden) in [
        (OPEN, OPEN, false),
        (guarded, OPEN, true),
        (OPEN, guarded, true),
        // The newest policy has judged a key.
        (OPEN, PLAIN, true),
    ] {
        let holding = under_both(older, newest, &keys);
        let decision = decided(&holding, &mut MemoryBuckets::default(), &asks, 0);
        assert_eq!(decision.code(), "ok", "{older} {newest}");
        assert_eq!(decision.overridden, is_overridden, "{older} {newest}");
    }
}

#[test]
fn an_upstream_is_told_of_a_key_only_if_both_policies_judged_it() {
    let keys = [fresh(1)];
    for (older, newest, is_anonymous, is_also_open) in [
        (PLAIN, PLAIN, false, false),
        (OPEN, PLAIN, true, false),
        (PLAIN, OPEN, true, true),
        (OPEN, OPEN, true, true),
    ] {
        let holding = under_both(older, newest, &keys);
        let call = keyed("/a", &keys[0]);
        let decision = decided(&holding, &mut MemoryBuckets::default(), &call, 0);
        assert_eq!(decision.code(), "ok");
        assert_eq!(decision.anonymous, is_anonymous, "{older} {newest}");
        assert_eq!(decision.also_open, is_also_open, "{older} {newest}");
        assert_eq!(decision.open, older == OPEN);
        // The logs are told by either.
        assert_eq!(decision.entry.is_some(), older == PLAIN || newest == PLAIN);
        let expected = keys[0].digest.prefix();
        let is_known = decision.prefix == Some(expected);
        assert_eq!(is_known, older == PLAIN || newest == PLAIN);
        let unjudged = Some(Prior::Presented(expected));
        assert_eq!(
            decision.unjudged == unjudged,
            older == OPEN || newest == OPEN
        );
    }
}

/// What a caller is told after so many requests: requests of the limit, what is left of it, what is
/// left of the quota.
fn told(older: &str, newest: &str, requests: usize) -> (&'static str, Limit, u64, Option<u64>) {
    let keys = [fresh(1)];
    let holding = under_both(older, newest, &keys);
    let mut stock = MemoryBuckets::default();
    let call = keyed("/a", &keys[0]);
    for _ in 1..requests {
        decided(&holding, &mut stock, &call, 0);
    }
    let decision = decided(&holding, &mut stock, &call, 0);
    let rate = decision.rate.unwrap();
    let limit = rate.applied().next().unwrap().limit;
    let left = rate
        .quota
        .and_then(|quota| quota.left)
        .map(|(left, _)| left);
    (decision.code(), limit, rate.remaining, left)
}

#[test]
fn a_caller_is_told_of_the_policy_that_leaves_least() {
    for (older, newest) in [(5, 9), (9, 5)] {
        let (older, newest) = (limited(older, ""), limited(newest, ""));
        let (code, limit, remaining, _) = told(&older, &newest, 2);
        assert_eq!((code, limit.requests, remaining), ("ok", 5, 3));
        let (code, limit, _, _) = told(&older, &newest, 6);
        assert_eq!((code, limit.requests), ("rate_limited", 5));
    }
}

#[test]
fn a_caller_is_told_of_the_quota_that_refuses() {
    let quota = |requests: u64, per: &str| {
        limited(
            90,
            &format!(r#","quota":{{"requests":{requests},"per":"{per}"}}"#),
        )
    };
    let unlimited = limited(80, "");
    let (day, month) = (quota(2, "day"), quota(3, "month"));
    for (older, newest) in [(&day, &unlimited), (&unlimited, &day)] {
        let (code, limit, remaining, left) = told(older, newest, 3);
        assert_eq!((code, limit.requests), ("quota_exceeded", 90));
        assert_eq!((remaining, left), (0, Some(0)));
    }
    // The one that refuses is told of, and not the other that has something left.
    for (older, newest) in [(&day, &month), (&month, &day)] {
        let keys = [fresh(1)];
        let holding = under_both(older, newest, &keys);
        let mut stock = MemoryBuckets::default();
        let call = keyed("/a", &keys[0]);
        for _ in 0..2 {
            assert_eq!(decided(&holding, &mut stock, &call, 0).code(), "ok");
        }
        let refused = decided(&holding, &mut stock, &call, 0);
        assert_eq!(refused.code(), "quota_exceeded");
        assert_eq!(refused.rate.unwrap().quota.unwrap().requests, 2);
    }
}

/// Without a limit, the quota with the least left.
#[test]
fn a_caller_is_told_of_the_quota_that_leaves_least() {
    let quota = |requests: u64, per: &str| {
        format!(
            r#"{{"version":1,"plans":{{"p":{{"quota":{{"requests":{requests},"per":"{per}"}}}}}},"routes":[{{"path":"/a"}}]}}"#
        )
    };
    let (few, many) = (quota(4, "day"), quota(7, "month"));
    for (older, newest) in [(&few, &many), (&many, &few)] {
        let keys = [fresh(1)];
        let holding = under_both(older, newest, &keys);
        let call = keyed("/a", &keys[0]);
        let decision = decided(&holding, &mut MemoryBuckets::default(), &call, 0);
        let quota = decision.rate.unwrap().quota.unwrap();
        assert_eq!((quota.requests, quota.left.map(|l| l.0)), (4, Some(3)));
    }
}

/// A host without a clock: the quota of the policy that has one is not known to be free.
#[test]
fn without_a_clock_the_policy_with_a_quota_refuses() {
    let quota = limited(90, r#","quota":{"requests":2,"per":"day"}"#);
    let unlimited = limited(80, "");
    let keys = [fresh(1)];
    for (older, newest) in [(&quota, &unlimited), (&unlimited, &quota)] {
        let holding = under_both(older, newest, &keys);
        let call = keyed("/a", &keys[0]);
        let year_30000 = 884_541_340_800 - NOW;
        let decision = decided(&holding, &mut MemoryBuckets::default(), &call, year_30000);
        assert_eq!(
            decision.verdict,
            Err(Denial::RateLimited { retry_after: 1 })
        );
        let rate = decision.rate.unwrap();
        assert_eq!(rate.applied().next().unwrap().limit.requests, 90);
    }
}
