//! What a worker holds: how much, for how long, of how many buckets.

use super::*;

#[test]
fn a_lease_is_a_part_of_a_large_bucket_that_is_more_than_half_full() {
    // By the bucket's refill within a second and its size: what is left, and what may be leased.
    for (requests, burst, remaining, tokens) in [
        // An eighth of the bucket, or what it holds above its half.
        (100_000, 8000, 8000, 1000),
        (100_000, 8000, 5000, 1000),
        (100_000, 8000, 4999, 999),
        (100_000, 8000, 4008, 8),
        (100_000, 8000, 4007, 0),
        (100_000, 8000, 4000, 0),
        (100_000, 8000, 0, 0),
        // What refills within a quarter of a second.
        (1000, 8000, 8000, 250),
        (40, 8000, 8000, 10),
        (32, 8000, 8000, 8),
        (31, 8000, 8000, 0),
        // A bucket is large from a thousand tokens on.
        (1000, 1000, 1000, 125),
        (1000, 999, 999, 0),
    ] {
        let taken = Taken {
            stored: 0,
            remaining,
            full_in: 0,
        };
        let bucket = Bucket::new(requests, 1, burst).unwrap();
        assert_eq!(
            bucket.leasable(&taken),
            tokens,
            "{requests} {burst} {remaining}"
        );
    }
}

/// A worker that holds `left` tokens, leased at second 1000 of a bucket of a thousand a second.
fn holding(left: u64) -> (Leases, Charge) {
    let charge = charges(1, 2, 1)[0];
    let mut leases = Leases::default();
    let taken = Taken {
        stored: 1_000_000 * MS + left * MS,
        remaining: 700,
        full_in: 0,
    };
    leases.renew(&charge, taken, left, Members::default(), 1_000_000 * MS);
    (leases, charge)
}

#[test]
fn a_lease_serves_for_its_span_and_while_its_time_lies_ahead() {
    for (cost, after, served) in [
        (1, 0, true),
        (100, 0, true),
        (101, 0, false),
        // Each millisecond one of them lapses.
        (99, 1, true),
        (100, 1, false),
        (1, 99, true),
        (1, 100, false),
    ] {
        let (mut leases, charge) = holding(100);
        let charge = Charge { cost, ..charge };
        let outcome = leases.take(&[charge], (1_000_000 + after) * MS);
        assert_eq!(outcome.is_some(), served, "{cost} after {after} ms");
    }
    for (after, served) in [(SPAN - 1, true), (SPAN, false)] {
        let (mut leases, charge) = holding(1000);
        let outcome = leases.take(&[charge], 1_000_000 * MS + after);
        assert_eq!(outcome.is_some(), served, "{after} ns");
    }
}

#[test]
fn what_is_told_of_a_lease_is_what_the_bucket_would_tell() {
    let (mut leases, charge) = holding(100);
    let charge = Charge { cost: 40, ..charge };
    let now = (1_000_000 + 20) * MS;
    let Some(TakeOutcome::Taken { tightest, state }) = leases.take(&[charge], now) else {
        panic!("refused");
    };
    // Of a hundred, twenty lapsed and forty are taken: forty are left, and seven hundred in the
    // bucket. It is full when what is reserved is over, less what is not used.
    assert_eq!((tightest, state.remaining), (0, 740));
    assert_eq!(state.full_in, 40 * MS);
    assert_eq!(state.stored, (1_000_000 + 100) * MS);
    let held = leases.held(&charge, now);
    let top = state.stored;
    assert_eq!(held.given_back(&charge.bucket, top), top - 40 * MS);
    assert_eq!(held.given_back(&charge.bucket, top + 1), top + 1);
    assert_eq!(leases.forget(&charge), 40);
    assert_eq!(leases.forget(&charge), 0);
}

#[test]
fn of_several_leases_the_tightest_is_told_and_of_equals_the_first() {
    let bucket = |per| Bucket::new(1000 * per, per, 2000).unwrap();
    let charge = |n: u64| Charge {
        key: BucketKey::new([7; 8], Subject::Key(n), 0),
        bucket: bucket(n),
        cost: 1,
        kin: None,
    };
    for (remaining, tightest) in [
        ([5, 7, 9], 0),
        ([7, 5, 9], 1),
        ([7, 7, 5], 2),
        ([7, 5, 5], 1),
    ] {
        let mut leases = Leases::default();
        let now = 1_000_000 * MS;
        let all = [1, 2, 3].map(charge);
        for (charge, remaining) in all.iter().zip(remaining) {
            let taken = Taken {
                stored: now + 100 * MS,
                remaining,
                full_in: 0,
            };
            leases.renew(charge, taken, 100, Members::default(), now);
        }
        let Some(TakeOutcome::Taken { tightest: told, .. }) = leases.take(&all, now) else {
            panic!("refused");
        };
        assert_eq!(told, tightest, "{remaining:?}");
    }
}

#[test]
fn a_bucket_is_hot_for_a_span_and_then_forgotten() {
    let start = 1_000_000 * MS;
    let (mut leases, charge) = holding(1000);
    assert!(leases.held(&charge, start + SPAN - 1).is_hot);
    assert!(!leases.held(&charge, start + SPAN).is_hot);
    let (mut leases, charge) = holding(1000);
    assert_eq!(leases.expire(start + SPAN - 1).len(), 0);
    assert_eq!(leases.held.len(), 1);
    assert_eq!(leases.expire(start + SPAN).len(), 1);
    assert_eq!(leases.held.len(), 0);
    assert_eq!(leases.forget(&charge), 0);
    // One that served later is watched on, and its tokens are given back all the same, once.
    let (mut leases, charge) = holding(1000);
    assert!(leases.take(&[charge], start + 200 * MS).is_some());
    assert_eq!(leases.expire(start + SPAN).len(), 1);
    assert_eq!(leases.held.len(), 1);
    assert_eq!(leases.expire(start + SPAN).len(), 0);
    assert!(leases.take(&[charge], start + SPAN).is_none());
    // Of one that is used up, or whose time has passed, there is nothing to give back.
    let (mut leases, charge) = holding(100);
    let all = Charge {
        cost: 100,
        ..charge
    };
    assert!(leases.take(&[all], start).is_some());
    assert_eq!(leases.expire(start + SPAN).len(), 0);
    let (mut leases, _) = holding(250);
    assert_eq!(leases.expire(start + SPAN).len(), 0);
}

#[test]
fn so_many_buckets_are_held_and_a_known_one_is_renewed_all_the_same() {
    let (mut leases, one) = holding(100);
    let taken = Taken {
        stored: 2_000_000 * MS,
        remaining: 700,
        full_in: 0,
    };
    let nth = |n: usize| Charge {
        key: BucketKey::new([7; 8], Subject::Key(1000 + n as u64), 0),
        ..one
    };
    for n in 0..2 * MAX_HELD {
        leases.renew(&nth(n), taken, 100, Members::default(), 1_000_000 * MS);
    }
    assert_eq!(leases.held.len(), MAX_HELD);
    leases.renew(&one, taken, 50, Members::default(), 1_000_000 * MS);
    assert_eq!(leases.forget(&one), 50);
    let bucket = Bucket::new(1000, 1, MIN_BURST - 1).unwrap();
    leases.renew(
        &Charge { bucket, ..one },
        taken,
        50,
        Members::default(),
        1_000_000 * MS,
    );
    assert_eq!(leases.held.len(), MAX_HELD - 1, "a small one is not held");
    let bucket = Bucket::new(1000, 1, MIN_BURST).unwrap();
    leases.renew(
        &Charge { bucket, ..one },
        taken,
        50,
        Members::default(),
        1_000_000 * MS,
    );
    assert_eq!(leases.held.len(), MAX_HELD);
}

#[test]
fn of_several_leases_all_serve_or_none_is_used() {
    let (mut leases, charge) = holding(3);
    let other = charges(1, 1, 1)[0];
    assert!(charge.key != other.key || charge.bucket != other.bucket);
    let now = 1_000_000 * MS;
    assert_eq!(leases.take(&[charge, other], now), None, "no lease of it");
    assert_eq!(
        leases.held(&charge, now).unused.map(|(_, left)| left),
        Some(3)
    );
    let taken = Taken {
        stored: now + 2 * MS,
        remaining: 700,
        full_in: 0,
    };
    leases.renew(&other, taken, 2, Members::default(), now);
    let both = [charge, other];
    let served = (0..5).filter(|_| leases.take(&both, now).is_some());
    assert_eq!(served.count(), 2);
    assert_eq!(
        leases.held(&charge, now).unused.map(|(_, left)| left),
        Some(1)
    );
}
