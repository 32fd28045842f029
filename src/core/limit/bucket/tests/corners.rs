//! Rare cases that schedules of random requests hardly meet.

use super::*;
use crate::limit::bucket::levels::MAX_MEMBERS;
use crate::limit::bucket::take::give_back_top;

/// A key that was elsewhere for a while has used that much, however much the client's other keys
/// took here in the meantime.
#[test]
fn what_others_take_meanwhile_counts_beside_what_a_key_took_elsewhere() {
    let [small, big] = [bucket(20, 86_400, 20), bucket(1000, 86_400, 1000)];
    let now = 1_000 * SECOND;
    let of = |line| charge_of(line, true, small);
    let mut buckets = MemoryBuckets::default();
    let mut takes = |charge: Charge, count: usize| {
        for _ in 0..count {
            let outcome = take_all(&mut buckets, &[charge], now);
            assert!(matches!(outcome, Some(TakeOutcome::Taken { .. })));
        }
    };
    takes(of(1), 1);
    takes(of(2), 1);
    takes(charge_of(1, true, big), 3);
    takes(of(2), 4);
    assert_eq!(drained(&mut buckets, of(1), now), 20 - 1 - 1 - 3 - 4);
}

/// A bucket that has been full for as long as it takes to fill is forgotten: its key begins with
/// what the rule in force leaves.
#[test]
fn a_rule_that_was_long_out_of_use_is_not_charged_but_begins_anew() {
    let [quick, slow] = [bucket(10, 10, 10), bucket(5, 1000, 5)];
    let of = |rule| charge_of(1, false, rule);
    let mut buckets = MemoryBuckets::default();
    let now = 1_000 * SECOND;
    take_all(&mut buckets, &[of(quick)], now);
    take_all(&mut buckets, &[of(slow)], now);
    let now = now + 25 * SECOND;
    take_all(&mut buckets, &[of(slow)], now);
    assert_eq!(drained(&mut buckets, of(quick), now), 2, "as the slow one");
}

#[test]
fn only_the_last_take_is_given_back_where_a_key_has_several_rules() {
    let [one, two] = [bucket(10, 86_400, 10), bucket(20, 86_400, 20)];
    let key = charge(1, one, 1).key;
    let (first, second) = (900_000 * SECOND, 950_000 * SECOND);
    let mut buckets = MemoryBuckets::default();
    let set = buckets.update(&key, &mut |levels| {
        levels.set(&one, first) && levels.set(&two, second)
    });
    assert_eq!(set, Ok(()));
    let stored = |buckets: &MemoryBuckets| buckets.buckets[&key].get(&one);
    give_back_top(&mut buckets, &key, &one, first - 1, 2).unwrap();
    assert_eq!(stored(&buckets), Some(first), "somebody took since");
    give_back_top(&mut buckets, &key, &one, first, 2).unwrap();
    assert_eq!(stored(&buckets), Some(first - 2 * one.interval()));
    assert_eq!(buckets.buckets[&key].get(&two), Some(second));
}

/// Two policies may have more limits together than one.
#[test]
fn all_of_many_limits_are_charged() {
    let rule = bucket(5, 86_400, 5);
    let all: Vec<Charge> = (0..2 * MAX_LIMITS as u64 + 2)
        .map(|n| charge(n, rule, 1))
        .collect();
    let mut buckets = MemoryBuckets::default();
    let now = 1_000 * SECOND;
    let outcome = take_all(&mut buckets, &all, now);
    assert!(matches!(outcome, Some(TakeOutcome::Taken { .. })));
    for charge in all {
        assert_eq!(drained(&mut buckets, charge, now), 4);
    }
}

#[test]
fn what_costs_more_than_a_bucket_holds_is_never_taken_in_advance() {
    let [small, large] = [bucket(3, 1, 3), bucket(10_000, 1, 10_000)];
    assert!(is_leasable(&[charge(1, large, 5), charge(2, large, 5)]));
    assert!(!is_leasable(&[charge(1, small, 5)]));
    assert!(!is_leasable(&[charge(1, large, 5), charge(2, small, 5)]));
    assert!(!is_leasable(&[charge(1, large, 5), charge(2, large, 6)]));
}

/// Tokens that this worker holds must not be in the bucket as well.
#[test]
fn a_refusal_leaves_the_bucket_without_the_tokens_of_a_lease() {
    let rule = bucket(10_000, 1, 10_000);
    let now = 100 * SECOND;
    let mut buckets = Leased::default();
    let mut admitted = 0;
    let mut take = |charge: Charge| {
        let outcome = take_all(&mut buckets, &[charge], now);
        let is_in = matches!(outcome, Some(TakeOutcome::Taken { .. }));
        admitted += if is_in { charge.cost } else { 0 };
        is_in
    };
    for _ in 0..10 {
        assert!(take(charge_of(1, true, rule)));
    }
    // A key that this bucket sees for the first time.
    let all = Charge {
        cost: 10_000,
        ..charge_of(2, true, rule)
    };
    assert!(!take(all));
    while take(charge_of(1, true, rule)) {}
    while take(charge_of(2, true, rule)) {}
    assert!(admitted <= 10_000, "{admitted}");
}

#[test]
fn as_many_keys_elsewhere_as_a_bucket_tells_apart_are_read_back() {
    let rules = [bucket(20, 86_400, 20), bucket(1, 1, 1)];
    let mut levels = Levels::default();
    levels.set(&rules[0], 5 * SECOND);
    levels.set(&rules[1], 5 * SECOND);
    for lineage in 0..MAX_MEMBERS as u64 {
        levels.join(&rules[0], lineage);
        levels.charge_others(Some(&rules[1]), 1, Some(lineage), |_| false, SECOND);
    }
    let bytes = levels.to_bytes();
    assert_eq!(Levels::from_bytes(&bytes), Some(levels));
    // One more than there can be: the number stands behind the members of the first rule.
    let at = 2 * 32 + 8 + 8 * MAX_MEMBERS;
    let mut more = bytes[..at].to_vec();
    more.extend((MAX_MEMBERS as u64 + 1).to_be_bytes());
    more.extend([0; 16]);
    more.extend(&bytes[at + 8..]);
    assert_eq!(Levels::from_bytes(&more), None);
}

#[test]
fn bytes_that_are_not_ours_are_changed_by_nobody() {
    let rule = bucket(20, 86_400, 20);
    let mut levels = Levels::default();
    levels.set(&rule, SECOND);
    levels.join(&rule, 7);
    let good = levels.to_bytes();
    let sole = Sole {
        bucket: &rule,
        payer: Some(7),
    };
    let changed = |bytes: &[u8]| sole.change_in(&mut bytes.to_vec(), &mut |_| Some(1));
    assert_eq!(changed(&good), Some(true));
    let mut odd = good.clone();
    odd.insert(good.len() - 1, 0);
    assert_eq!(changed(&odd), None);
    let mut count = good.clone();
    count[39] += 1;
    assert_eq!(changed(&count), None);
}

/// Neither place remembers the other any more: what is left at the one that was used last counts.
#[test]
fn a_key_whose_clients_bucket_was_idle_for_long_finds_what_its_own_one_left() {
    let rule = bucket(10, 10, 10);
    for first in [false, true] {
        let mut buckets = MemoryBuckets::default();
        let now = 1_000 * SECOND;
        take_all(&mut buckets, &[charge_of(1, first, rule)], now);
        take_all(&mut buckets, &[charge_of(1, !first, rule)], now);
        let now = now + 25 * SECOND;
        let left = [!first, first].map(|turn| drained(&mut buckets, charge_of(1, turn, rule), now));
        assert_eq!(left, [10, 0], "{first}");
    }
}

#[test]
fn limits_of_both_subjects_that_were_idle_for_long_go_on_as_one() {
    let rule = bucket(10, 10, 10);
    let both = [charge_of(1, false, rule), charge_of(1, true, rule)];
    for first in [false, true] {
        let mut buckets = MemoryBuckets::default();
        let now = 1_000 * SECOND;
        for now in [now, now + 25 * SECOND] {
            for _ in 0..2 {
                take_all(&mut buckets, &both, now);
            }
        }
        let now = now + 25 * SECOND;
        let turns = [first, !first, first];
        let left = turns.map(|turn| drained(&mut buckets, charge_of(1, turn, rule), now));
        assert_eq!(left, [8, 0, 0], "{first}");
    }
}
