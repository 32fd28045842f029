//! Rules that follow each other at one subject and route.

use super::*;

#[test]
fn rules_of_one_subject_do_not_share_a_level() {
    // The limits of the issue, by client: 20/1d, and 100000/1d with a burst of 10.
    let slow = charge(1, bucket(20, 86_400, 20), 1);
    let fast = charge(1, bucket(100_000, 86_400, 10), 1);
    let mut buckets = MemoryBuckets::default();
    let (mut now, mut admitted, mut beside) = (SECOND, 0, 0);
    for _ in 0..4 {
        admitted += drained(&mut buckets, slow, now);
        beside += drained(&mut buckets, fast, now);
        now += 60 * SECOND;
    }
    // The fast one begins with what the slow one left, and is full a minute later.
    assert_eq!((admitted, beside), (20, 30));
}

#[test]
fn a_new_rule_begins_with_no_more_than_was_left_under_the_old_one() {
    let now = 1_000 * SECOND;
    for (old, taken, new, left) in [
        (bucket(1, 3600, 10), 4, bucket(10, 60, 60), 6),
        (bucket(1, 3600, 10), 10, bucket(3600, 3600, 60), 0),
        (bucket(60, 60, 60), 4, bucket(1, 3600, 10), 6),
        (bucket(60, 60, 60), 20, bucket(1, 3600, 10), 0),
    ] {
        let mut buckets = MemoryBuckets::default();
        for _ in 0..taken {
            take_all(&mut buckets, &[charge(1, old, 1)], now);
        }
        assert_eq!(drained(&mut buckets, charge(1, new, 1), now), left);
        // The old one has lost as much.
        let rest = old.burst() - taken - left;
        assert_eq!(drained(&mut buckets, charge(1, old, 1), now), rest);
        // From then on it refills at its own pace.
        let later = now + new.interval;
        assert_eq!(drained(&mut buckets, charge(1, new, 1), later), 1);
    }
}

#[test]
fn limits_that_apply_together_are_no_predecessors_of_each_other() {
    let all = [bucket(3, 1, 3), bucket(5, 3600, 5)].map(|bucket| charge(1, bucket, 1));
    let mut buckets = MemoryBuckets::default();
    let taken = (0..9).filter(|_| {
        let outcome = take_all(&mut buckets, &all, SECOND);
        matches!(outcome, Some(TakeOutcome::Taken { .. }))
    });
    assert_eq!(taken.count(), 3);
    assert_eq!(drained(&mut buckets, all[1], SECOND), 2);
}

#[test]
fn what_an_old_rule_left_is_forgotten_when_it_could_have_filled_twice() {
    let old = charge(1, bucket(1, 1, 2), 1);
    let new = charge(1, bucket(1, 3600, 50), 1);
    for (at, left) in [(4, 2), (5, 50)] {
        let mut buckets = MemoryBuckets::default();
        assert_eq!(drained(&mut buckets, old, SECOND), 2);
        assert_eq!(drained(&mut buckets, new, at * SECOND), left, "at {at} s");
    }
}

#[test]
fn with_no_room_for_another_rule_the_one_that_was_longest_out_of_use_gives_way() {
    let mut buckets = MemoryBuckets::default();
    let rule = |n: u64| charge(1, bucket(1, 60 + n, 1), 1);
    let most = MAX_RULES as u64;
    let mut full = Levels::default();
    for n in 0..most {
        assert!(full.set(&rule(n).bucket, SECOND + rule(n).bucket.interval));
    }
    // Used once more, so the second is the one that was longest out of use.
    assert!(full.set(&rule(0).bucket, 61 * SECOND));
    buckets.buckets.insert(rule(0).key, full);
    let refused = take_all(&mut buckets, &[rule(most)], SECOND);
    assert!(
        matches!(refused, Some(TakeOutcome::Refused { .. })),
        "all are empty"
    );
    let levels = &buckets.buckets[&rule(0).key];
    let has = |n: u64| levels.get(&rule(n).bucket).is_some();
    assert!(has(0) && !has(1) && has(2) && has(most));
    assert!(levels.to_bytes().len() <= MAX_RULES * 32);
}

#[test]
fn so_many_rules_have_room_and_not_one_more() {
    let mut full = Levels::default();
    let rule = |n: usize| bucket(1, 60 + n as u64, 1);
    for n in 0..MAX_RULES {
        assert!(full.set(&rule(n), n as u64));
    }
    let before = full.clone();
    assert!(!full.set(&rule(MAX_RULES), 7));
    assert_eq!(full, before);
    assert!(full.set(&rule(0), 7), "which has room already");
    assert_eq!(full.get(&rule(0)), Some(7));
    assert_eq!(Levels::from_bytes(&full.to_bytes()), Some(full));
}

#[test]
fn a_limit_that_becomes_the_clients_takes_over_what_each_key_has_used() {
    let (old, new) = (bucket(20, 86_400, 20), bucket(30, 86_400, 30));
    let mut buckets = MemoryBuckets::default();
    let now = 100 * SECOND;
    for (n, takes) in [(1, 12), (2, 5), (3, 20)] {
        for _ in 0..takes {
            take_all(&mut buckets, &[charge_of(n, false, old)], now);
        }
    }
    // A fourth key was not used: the old rule held 20 for it.
    let left = |buckets: &mut _, n| match take_all(buckets, &[charge_of(n, true, new)], now) {
        Some(TakeOutcome::Taken { state, .. }) => Some(state.remaining),
        _ => None,
    };
    assert_eq!(left(&mut buckets, 1), Some(20 - 12 - 1));
    assert_eq!(left(&mut buckets, 2), Some(7 - 5 - 1));
    assert_eq!(left(&mut buckets, 2), Some(0), "once for each key");
    assert_eq!([left(&mut buckets, 3), left(&mut buckets, 4)], [None, None]);
}

#[test]
fn a_limit_that_becomes_the_keys_leaves_each_what_its_client_had_left() {
    let rule = bucket(20, 86_400, 20);
    let mut buckets = MemoryBuckets::default();
    let now = 100 * SECOND;
    let unused = charge_of(9, false, rule);
    for n in [1, 2] {
        for _ in 0..8 {
            take_all(&mut buckets, &[charge_of(n, true, rule)], now);
        }
    }
    for n in [1, 2] {
        assert_eq!(drained(&mut buckets, charge_of(n, false, rule), now), 4);
    }
    assert_eq!(
        drained(&mut buckets, unused, now),
        20,
        "a key that was never under the client's limit"
    );
}

#[test]
fn going_to_and_fro_between_rules_gives_no_more_than_either() {
    // Of the same rate, and so alike that only their identity differs.
    let [a, b] = [bucket(100, 1, 1000), bucket(100, 1, 1001)];
    let mut buckets = MemoryBuckets::default();
    let seconds = (0..10).map(|second| {
        let rule = if second % 2 == 0 { a } else { b };
        drained(
            &mut buckets,
            charge_of(1, false, rule),
            (100 + second) * SECOND,
        )
    });
    assert_eq!(seconds.sum::<u64>(), 1000 + 9 * 100);
    // A rule that refills fast between two uses of a slow one gives the slow one nothing.
    let [slow, fast] = [bucket(20, 86_400, 20), bucket(60, 60, 10)];
    for by_client in [false, true] {
        let mut buckets = MemoryBuckets::default();
        let of = |rule| charge_of(1, by_client, rule);
        assert_eq!(drained(&mut buckets, of(slow), SECOND), 20);
        assert_eq!(drained(&mut buckets, of(fast), 61 * SECOND), 0);
        assert_eq!(drained(&mut buckets, of(fast), 71 * SECOND), 10);
        assert_eq!(drained(&mut buckets, of(slow), 131 * SECOND), 0);
    }
}

#[test]
fn a_rule_that_was_full_for_long_lacks_what_is_taken_under_another_all_the_same() {
    let [a, b] = [bucket(60, 60, 60), bucket(60, 60, 61)].map(|rule| charge(1, rule, 1));
    let mut buckets = MemoryBuckets::default();
    take_all(&mut buckets, &[a], SECOND);
    take_all(&mut buckets, &[b], SECOND);
    let later = 1_000 * SECOND;
    assert_eq!(drained(&mut buckets, b, later), 61);
    assert_eq!(drained(&mut buckets, a, later), 0);
}

#[test]
fn who_goes_to_and_fro_at_every_request_loses_no_part_of_a_token() {
    let [a, b] = [bucket(10, 10, 10), bucket(10, 10, 11)];
    let mut buckets = MemoryBuckets::default();
    let mut admitted = 0;
    for n in 0..1000u64 {
        let rule = if n % 2 == 0 { a } else { b };
        let outcome = take_all(
            &mut buckets,
            &[charge(1, rule, 1)],
            100 * SECOND + n * SECOND / 10,
        );
        admitted += u64::from(matches!(outcome, Some(TakeOutcome::Taken { .. })));
    }
    assert!((109..=110).contains(&admitted), "{admitted} in 99.9 s");
}

#[test]
fn keys_of_one_client_on_plans_of_their_own_do_not_drain_each_other() {
    let [small, big] = [bucket(20, 86_400, 20), bucket(1000, 86_400, 1000)];
    let mut buckets = MemoryBuckets::default();
    let now = 100 * SECOND;
    assert_eq!(drained(&mut buckets, charge_of(1, true, small), now), 20);
    assert_eq!(drained(&mut buckets, charge_of(2, true, big), now), 1000);
    assert_eq!(drained(&mut buckets, charge_of(3, true, small), now), 0);
    // But a key that moves takes along what it and its neighbours have used.
    let mut buckets = MemoryBuckets::default();
    assert_eq!(drained(&mut buckets, charge_of(1, true, small), now), 20);
    assert_eq!(drained(&mut buckets, charge_of(1, true, big), now), 0);
    assert_eq!(drained(&mut buckets, charge_of(2, true, big), now), 0);
}

#[test]
fn what_a_key_takes_of_its_clients_bucket_no_other_rule_of_the_client_lacks() {
    let [small, big] = [bucket(20, 86_400, 20), bucket(1000, 86_400, 1000)];
    let mut buckets = MemoryBuckets::default();
    let now = 100 * SECOND;
    take_all(&mut buckets, &[charge_of(1, true, small)], now);
    assert_eq!(drained(&mut buckets, charge_of(2, true, big), now), 1000);
    assert_eq!(drained(&mut buckets, charge_of(1, true, small), now), 19);
}

#[test]
fn a_key_that_joins_others_under_a_rule_brings_what_it_has_left_of_its_own_and_no_more() {
    let [small, big] = [bucket(20, 86_400, 20), bucket(1000, 86_400, 1000)];
    let strangers = bucket(7, 86_400, 7);
    let mut buckets = MemoryBuckets::default();
    let now = 100 * SECOND;
    for _ in 0..15 {
        take_all(&mut buckets, &[charge_of(1, true, small)], now);
    }
    assert_eq!(drained(&mut buckets, charge_of(3, true, strangers), now), 7);
    take_all(&mut buckets, &[charge_of(2, true, big)], now);
    assert_eq!(drained(&mut buckets, charge_of(1, true, big), now), 5);
}

#[test]
fn what_is_taken_under_one_of_three_rules_the_other_two_lack_once() {
    let rules = [20, 21, 22].map(|n| bucket(n, 86_400, n));
    let mut buckets = MemoryBuckets::default();
    for rule in rules {
        for _ in 0..5 {
            take_all(&mut buckets, &[charge(1, rule, 1)], SECOND);
        }
    }
    assert_eq!(drained(&mut buckets, charge(1, rules[0], 1), SECOND), 5);
    // Two that apply together are one request, and count as one under a third.
    let mut buckets = MemoryBuckets::default();
    take_all(&mut buckets, &[charge(1, rules[0], 1)], SECOND);
    let both = [charge(1, rules[1], 1), charge(1, rules[2], 1)];
    for _ in 0..5 {
        take_all(&mut buckets, &both, SECOND);
    }
    assert_eq!(drained(&mut buckets, charge(1, rules[0], 1), SECOND), 14);
}
