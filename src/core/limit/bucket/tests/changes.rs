//! Changes of plans and policies, by key and by client, against a list of takings in exact
//! arithmetic that shares no code with buckets.

use super::*;

mod model;

/// By key or client; requests, seconds, burst.
type Rule = (char, u64, u64, u64);

const PLANS: [&[Rule]; 9] = [
    &[('k', 10, 50, 10)],
    &[('c', 10, 50, 10)],
    &[('c', 20, 40, 20)],
    &[('k', 20, 40, 20)],
    &[('k', 5, 1000, 5)],
    &[('c', 5, 1000, 5)],
    &[('k', 10, 50, 10), ('c', 20, 40, 20)],
    &[('c', 100, 50, 200)],
    &[('k', 100, 50, 100)],
];

fn charges(line: u64, plan: usize, cost: u64) -> Vec<Charge> {
    let rules = PLANS[plan].iter();
    let charges = rules.map(|(by, requests, per, burst)| Charge {
        cost,
        ..charge_of(line, *by == 'c', bucket(*requests, *per, *burst))
    });
    charges.collect()
}

fn by(by_client: bool, rule: Bucket) -> Charge {
    charge_of(1, by_client, rule)
}

#[test]
fn a_limit_that_is_the_keys_then_the_clients_then_the_keys_gives_its_tokens_once() {
    let rule = bucket(10, 86_400, 10);
    for first in [false, true] {
        let mut buckets = MemoryBuckets::default();
        let now = 1_000 * SECOND;
        for _ in 0..2 {
            take_all(&mut buckets, &[by(first, rule)], now);
        }
        let turns = [!first, first, !first, first];
        let left = turns.map(|turn| drained(&mut buckets, by(turn, rule), now));
        assert_eq!(left, [8, 0, 0, 0]);
        // What is taken in small parts is counted once, too.
        let mut buckets = MemoryBuckets::default();
        let mut taken = 0;
        for turn in turns.repeat(5) {
            let outcome = take_all(&mut buckets, &[by(turn, rule)], now);
            taken += u64::from(matches!(outcome, Some(TakeOutcome::Taken { .. })));
        }
        assert_eq!(taken, 10);
    }
}

/// However long it lasts: what was remembered of the other subject's buckets is then forgotten.
#[test]
fn who_has_long_been_under_the_other_subjects_limit_finds_its_old_bucket_empty_too() {
    let rule = bucket(10, 10, 10);
    for first in [false, true] {
        for seconds in [0, 5, 15, 19, 20, 21, 25, 200] {
            let mut buckets = MemoryBuckets::default();
            let mut now = 1_000 * SECOND;
            assert_eq!(drained(&mut buckets, by(first, rule), now), 10);
            assert_eq!(drained(&mut buckets, by(!first, rule), now), 0);
            for _ in 0..seconds {
                now += SECOND;
                assert_eq!(drained(&mut buckets, by(!first, rule), now), 1);
            }
            for turn in [first, !first, first] {
                let left = drained(&mut buckets, by(turn, rule), now);
                assert_eq!(left, 0, "{first}, after {seconds} s");
            }
        }
    }
}

#[test]
fn limits_of_both_subjects_that_stop_to_apply_together_go_on_as_they_were() {
    let rule = bucket(10, 86_400, 10);
    let mut buckets = MemoryBuckets::default();
    let now = 1_000 * SECOND;
    let both = [by(false, rule), by(true, rule)];
    for _ in 0..2 {
        take_all(&mut buckets, &both, now);
    }
    let left = [false, true, false].map(|turn| drained(&mut buckets, by(turn, rule), now));
    assert_eq!(left, [8, 0, 0]);
}

#[test]
fn a_key_that_leaves_a_plan_of_its_client_drains_it_only_when_it_comes_back() {
    let [small, big] = [bucket(20, 86_400, 20), bucket(1000, 86_400, 1000)];
    let now = 1_000 * SECOND;
    for elsewhere in [charge_of(1, true, big), charge_of(1, false, big)] {
        let mut buckets = MemoryBuckets::default();
        let of = |line| charge_of(line, true, small);
        take_all(&mut buckets, &[of(1)], now);
        take_all(&mut buckets, &[of(2)], now);
        // As much as was left.
        assert!((18..=19).contains(&drained(&mut buckets, elsewhere, now)));
        for _ in 0..3 {
            let outcome = take_all(&mut buckets, &[of(2)], now);
            assert!(matches!(outcome, Some(TakeOutcome::Taken { .. })));
        }
        assert_eq!(drained(&mut buckets, of(1), now), 0);
        assert_eq!(drained(&mut buckets, of(2), now), 0);
    }
}

/// What a key took at its client's bucket while its own old one was full for long is not counted
/// in that: it begins anew, with what was left of the last rule.
#[test]
fn a_bucket_that_was_forgotten_is_not_remembered_again_by_way_of_the_clients() {
    let [old, last] = [bucket(10, 50, 10), bucket(5, 1000, 5)];
    let mut buckets = MemoryBuckets::default();
    let mut now = 1_000 * SECOND;
    take_all(&mut buckets, &[by(false, old)], now);
    // Full after five seconds, and for as long as it takes to fill.
    now += 55 * SECOND;
    for _ in 0..9 {
        take_all(&mut buckets, &[by(true, bucket(20, 40, 20))], now);
    }
    now += 12 * SECOND;
    assert_eq!(drained(&mut buckets, by(false, last), now), 2);
    assert_eq!(drained(&mut buckets, by(false, old), now), 0);
}

/// How long a key's place remembers the client's is reckoned anew with each new rule: a quick one
/// must not make it forget a slow one.
#[test]
fn a_slow_limit_is_remembered_though_a_quick_one_came_after_it() {
    let [own, slow, quick] = [(20, 40), (5, 1000), (10, 50)].map(|(n, per)| bucket(n, per, n));
    for first in [false, true] {
        let mut buckets = MemoryBuckets::default();
        let mut now = 1_000 * SECOND;
        for _ in 0..6 {
            take_all(&mut buckets, &[by(first, own)], now);
        }
        assert_eq!(drained(&mut buckets, by(!first, slow), now), 0);
        now += 200 * SECOND;
        assert_eq!(drained(&mut buckets, by(!first, slow), now), 1);
        assert_eq!(drained(&mut buckets, by(!first, quick), now), 0);
        now += 100 * SECOND;
        assert_eq!(drained(&mut buckets, by(first, quick), now), 0, "{first}");
    }
}

/// A request that is charged at both subjects' places is a use of either.
#[test]
fn limits_of_both_subjects_are_remembered_from_their_last_use_together() {
    let rules = [(10, 50, 10), (20, 40, 20), (100, 50, 200), (10, 50, 10)];
    let [own, beside, big, last] = rules.map(|(n, per, burst)| bucket(n, per, burst));
    let both = [by(false, own), by(true, beside)];
    let mut buckets = MemoryBuckets::default();
    let mut now = 1_000 * SECOND;
    take_all(&mut buckets, &both, now);
    take_all(&mut buckets, &[by(true, big)], now);
    now += 142 * SECOND;
    for line in [1, 2, 3] {
        let both = [charge_of(line, false, own), charge_of(line, true, beside)];
        for _ in 0..4 {
            take_all(&mut buckets, &both, now);
        }
    }
    now += 58 * SECOND;
    take_all(&mut buckets, &[by(true, big)], now);
    for _ in 0..3 {
        take_all(&mut buckets, &[by(true, last)], now);
    }
    let admitted = (0..10).filter(|_| {
        let outcome = take_all(&mut buckets, &both, now);
        matches!(outcome, Some(TakeOutcome::Taken { .. }))
    });
    assert_eq!(admitted.count(), 6);
}

/// The usual path, where no rule changes, costs what it did.
#[test]
fn a_key_that_stays_under_one_rule_is_remembered_in_no_more_bytes() {
    let rule = bucket(10, 10, 10);
    for by_client in [false, true] {
        let mut buckets = MemoryBuckets::default();
        for n in 0..100 {
            take_all(&mut buckets, &[by(by_client, rule)], n * 500_000_000);
        }
        let sizes: Vec<usize> = buckets
            .buckets
            .values()
            .map(|l| l.to_bytes().len())
            .collect();
        assert_eq!(sizes, [if by_client { 32 + 16 + 1 } else { 32 }]);
    }
}

/// A client of more keys than one place tells apart.
#[test]
fn keys_of_a_client_with_hundreds_of_them_find_what_they_took_on_their_way_back() {
    let rule = bucket(1000, 86_400, 1000);
    let mut buckets = MemoryBuckets::default();
    let now = 1_000 * SECOND;
    let taken = |buckets: &mut MemoryBuckets, line, by_client| {
        let outcome = take_all(buckets, &[charge_of(line, by_client, rule)], now);
        u64::from(matches!(outcome, Some(TakeOutcome::Taken { .. })))
    };
    let mut all = 0;
    for by_client in [false, true, false, true] {
        all += (0..300)
            .map(|line| taken(&mut buckets, line, by_client))
            .sum::<u64>();
    }
    // Each key takes one in each turn.
    assert!((600..=1000).contains(&all), "{all}");
    let left: u64 = (0..1000).map(|_| taken(&mut buckets, 0, true)).sum();
    assert!(all + left <= 1000, "{all} and {left}");
    for levels in buckets.buckets.values() {
        let bytes = levels.to_bytes();
        assert_eq!(Levels::from_bytes(&bytes).as_ref(), Some(levels));
    }
}

/// What a key is served from another key's lease counts at its other places as well.
#[test]
fn a_lease_that_another_key_took_out_is_no_way_around_the_other_rules() {
    let rule = bucket(10_000, 1, 10_000);
    let other = bucket(20_000, 1, 20_000);
    let now = 100 * SECOND;
    for (by_client, former) in [(false, rule), (true, other)] {
        let mut buckets = Leased::default();
        let before = charge_of(2, by_client, former);
        let during = |n| Charge {
            cost: 100,
            ..charge_of(n, true, rule)
        };
        take_all(&mut buckets, &[before], now);
        take_all(&mut buckets, &[during(2)], now);
        // The other key's take of this bucket brings a lease, which this key finds.
        take_all(&mut buckets, &[during(1)], now);
        take_all(&mut buckets, &[during(1)], now);
        let taken = 101 + 10 * 100;
        for _ in 0..10 {
            take_all(&mut buckets, &[during(2)], now);
        }
        let left = drained(&mut buckets.0, before, now);
        assert!(
            left <= former.burst() - taken,
            "by client before: {by_client}, {left} after {taken}"
        );
    }
}

/// A request dearer than one of its limits holds costs no less under another rule by that,
/// whichever of them comes first.
#[test]
fn what_a_dear_request_costs_counts_under_other_rules_whatever_the_first_limit_holds() {
    let [small, large, other] = [(5, 50, 5), (1000, 86_400, 1000), (200, 86_400, 200)]
        .map(|(n, per, burst)| bucket(n, per, burst));
    for subject in [false, true] {
        for order in [[small, large], [large, small]] {
            for came_from in [false, true] {
                let mut buckets = MemoryBuckets::default();
                let mut now = 1_000 * SECOND;
                take_all(&mut buckets, &[by(came_from, other)], now);
                let mut taken = 1;
                for _ in 0..10 {
                    let all = order.map(|rule| Charge {
                        cost: 8,
                        ..by(subject, rule)
                    });
                    let outcome = take_all(&mut buckets, &all, now);
                    taken += 8 * u64::from(matches!(outcome, Some(TakeOutcome::Taken { .. })));
                    now += 50 * SECOND;
                }
                assert!(taken > 70, "{taken}");
                let left = drained(&mut buckets, by(came_from, other), now);
                let refilled = 550 * 200 / 86_400 + 1;
                let least = 200 - taken;
                assert!((least..=least + refilled).contains(&left), "{left}");
            }
        }
    }
}

/// Of two policies, one may charge more than the other.
#[test]
fn of_two_costs_the_greater_counts_under_other_rules() {
    let [one, two, other] = [100, 90, 40].map(|n| bucket(n, 86_400, n));
    let now = 1_000 * SECOND;
    for costs in [[1, 5], [5, 1]] {
        let mut buckets = MemoryBuckets::default();
        take_all(&mut buckets, &[by(false, other)], now);
        for _ in 0..5 {
            let [first, second] = costs;
            let all = [(one, first), (two, second)].map(|(rule, cost)| Charge {
                cost,
                ..by(false, rule)
            });
            take_all(&mut buckets, &all, now);
        }
        assert_eq!(drained(&mut buckets, by(false, other), now), 14);
    }
}

/// Tokens in advance are told by their number, which is not that of what they are good for where
/// a bucket holds less than a request costs, or two policies charge differently.
#[test]
fn no_tokens_are_taken_in_advance_for_requests_whose_cost_the_bucket_does_not_tell() {
    let [small, large] = [2_000, 4_000].map(|n| bucket(n, 1, n));
    let now = 100 * SECOND;
    let costing = |cost, rule| Charge {
        cost,
        ..by(false, rule)
    };
    for dear in [
        vec![costing(3_000, small)],
        vec![costing(1, small), costing(5, large)],
    ] {
        let mut buckets = Leased::default();
        let plain = [costing(1, small), costing(1, large)];
        for _ in 0..3 {
            take_all(&mut buckets, &plain, now);
        }
        assert!(buckets.1.take(&plain, now).is_some(), "a lease");
        assert!(buckets.1.take(&dear, now).is_none());
        assert!(buckets.1.take(&plain, now).is_some(), "it is still there");
    }
}

/// Of tokens that were taken in advance and not used, only the bucket that they came from hears.
#[test]
fn a_key_under_other_rules_takes_from_its_former_ones_what_it_uses_and_no_more() {
    let rules = [
        (5000, 3600, 5000),
        (1000, 1, 2000),
        (100_000, 86_400, 100_000),
    ];
    let [former, fast, daily] = rules.map(|(n, per, burst)| bucket(n, per, burst));
    let subjects = [(false, false), (true, true), (false, true), (true, false)];
    for ((before, during), count) in subjects.into_iter().flat_map(|s| [(s, 1), (s, 2)]) {
        let mut buckets = Leased::default();
        let mut now = 1_000 * SECOND;
        take_all(&mut buckets, &[by(before, former)], now);
        for n in 0..46 * 3 {
            let both = [by(during, fast), by(during, daily)];
            let outcome = take_all(&mut buckets, &both[..count], now);
            assert!(matches!(outcome, Some(TakeOutcome::Taken { .. })));
            if n % 3 == 2 {
                now += SECOND / 5;
                let expired = buckets.1.expire(now);
                give_back(expired, &mut buckets.0);
            }
        }
        let left = drained(&mut buckets.0, by(before, former), now);
        let least = 5000 - 1 - 46 * 3;
        let refilled = 46 / 5 * 5000 / 3600 + 2;
        let expected = least..=least + refilled;
        assert!(
            expected.contains(&left),
            "{before} {during} {count}: {left}"
        );
    }
}
