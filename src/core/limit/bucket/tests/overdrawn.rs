//! Buckets that lack more than they hold.

use super::*;
use crate::limit::lease::MIN_BURST;

#[test]
fn what_a_bucket_lacks_for_other_rules_leaves_it_empty_and_no_emptier() {
    let now = 100 * SECOND;
    for burst in [MIN_BURST - 1, MIN_BURST, 2 * MIN_BURST] {
        let rule = bucket(1, 1, burst);
        assert_eq!(rule.less(now + SECOND, 3, now), now + 4 * SECOND);
        let empty = now + burst * SECOND;
        for tokens in [burst, burst + 1, u64::MAX] {
            assert_eq!(rule.less(now + SECOND, tokens, now), empty, "{burst}");
        }
    }
}

/// A limit that becomes the client's, whose keys have used more than one bucket together.
#[test]
fn keys_that_have_used_a_bucket_each_find_their_clients_empty_and_wait_for_one_token() {
    for figures in [(1000, 3600, 1000), (1000, 86_400, 1000), (100, 3600, 100)] {
        let rule = bucket(figures.0, figures.1, figures.2);
        let mut buckets = MemoryBuckets::default();
        let now = 100 * SECOND;
        for key in 1..=3 {
            assert_eq!(
                drained(&mut buckets, charge_of(key, false, rule), now),
                figures.0
            );
        }
        for key in 1..=3 {
            let outcome = take_all(&mut buckets, &[charge_of(key, true, rule)], now);
            let Some(TakeOutcome::Refused { refused, .. }) = outcome else {
                panic!("{outcome:?}");
            };
            assert_eq!(refused.wait, rule.interval(), "key {key}");
        }
        let later = now + rule.interval();
        assert_eq!(drained(&mut buckets, charge_of(1, true, rule), later), 1);
    }
}

#[test]
fn a_bucket_that_is_emptier_than_empty_tells_how_long_that_lasts() {
    let rule = bucket(10, 10, 10);
    let now = 100 * SECOND;
    let stored = now + 15 * SECOND;
    let refused = rule.take(1, stored, now).unwrap_err();
    assert_eq!((refused.wait, refused.remaining), (6 * SECOND, 0));
    assert!(rule.take(1, stored, now + refused.wait - 1).is_err());
    assert!(rule.take(1, stored, now + refused.wait).is_ok());
}
