//! Quotas beside limits, and clocks.

use super::*;

#[test]
fn a_quota_and_a_limit_are_taken_together_or_not_at_all() {
    let w = world(|r| r.plan = Some("daily".into()));
    let mut b = MemoryBuckets::default();
    let at = |seconds: u64| {
        let mut call = call("GET", "/users/1").keyed(&w);
        call.wall += seconds;
        call.monotonic += seconds * 1_000_000_000;
        call
    };
    let codes: Vec<&str> = (0..4).map(|_| at(0).decide(&w, &mut b).code()).collect();
    assert_eq!(codes, ["ok", "ok", "rate_limited", "rate_limited"]);
    let d = at(1).decide(&w, &mut b);
    let quota = d.rate.unwrap().quota.unwrap();
    assert_eq!(
        (d.code(), quota.left.map(|(n, _)| n)),
        ("ok", Some(0)),
        "two of three were taken"
    );
    let refused = at(2).decide(&w, &mut b);
    let Err(Denial::QuotaExceeded { retry_after }) = refused.verdict else {
        panic!("{}", refused.code());
    };
    assert_eq!(quota.window.end - NOW - 2, retry_after);
    // The quota is what makes the caller wait longest, and took nothing from the limit.
    let tomorrow = at(retry_after + 2);
    assert_eq!(tomorrow.decide(&w, &mut b).code(), "ok");
}

/// What was signed at an instant has been signed: a clock that shows less is behind.
#[test]
fn explain_says_whose_quota_a_request_counts_for() {
    let w = world(|r| r.plan = Some("daily".into()));
    let mut notes: Vec<Note> = Vec::new();
    let mut b = MemoryBuckets::default();
    let bytes = Headers::encode(&call("GET", "/users/1").keyed(&w).pairs);
    for expected in [
        (true, "counts as 1 of the 3 per day of plan `daily`"),
        (true, "counts as 1 of the 3 per day of plan `daily`"),
        (true, "counts as 1 of the 3 per day of plan `daily`"),
        (false, "all 3 per day of plan `daily` are used up"),
    ] {
        let clocks = Clocks {
            wall: NOW,
            // So that the limit is full again each time.
            monotonic: (1 << 40) + notes.len() as u64 * 1_000_000_000,
        };
        let request = plain(&bytes);
        let _ = decide(Ok(&w.keyset), &request, clocks, || None, &mut b, &mut notes);
        let last = notes.last().unwrap();
        assert_eq!(
            (last.rule, last.held, last.text.as_str()),
            ("quota", expected.0, expected.1)
        );
    }
}

#[test]
fn a_clock_behind_the_keysets_signature_revives_nothing() {
    type Change = fn(&mut KeyRow);
    let changes: [Change; 2] = [|r| r.expires = Some(NOW), |r| r.overlap_end = Some(NOW)];
    for change in changes {
        let w = world(change);
        for wall in [0, 1, NOW - 1, NOW] {
            let mut c = call("GET", "/users/1").keyed(&w);
            c.wall = wall;
            assert_eq!(c.code(&w), "expired_api_key", "at {wall}");
        }
    }
    // The same for windows of quotas.
    let w = world(|r| r.plan = Some("daily".into()));
    let mut b = MemoryBuckets::default();
    let mut admitted = 0;
    for n in 0..20 {
        let mut c = call("GET", "/users/1").keyed(&w);
        c.wall = NOW - n * 86_400;
        c.monotonic = (1 << 40) + n * 1_000_000_000;
        admitted += u32::from(c.decide(&w, &mut b).verdict.is_ok());
    }
    assert_eq!(admitted, 3);
}
