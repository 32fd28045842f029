//! The keys that a bucket has seen, and the leases that serve them.

use super::*;
use crate::limit::lease::Leases;

/// The buckets as a worker with leases has them, and how often it went to them.
#[derive(Default)]
pub(super) struct Leased(pub(super) MemoryBuckets, pub(super) Leases, pub(super) u32);

impl Buckets for Leased {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        self.2 += 1;
        self.0.update(key, f)
    }
    fn with_leases<R>(&mut self, f: impl FnOnce(&mut Leases) -> R) -> Option<R> {
        Some(f(&mut self.1))
    }
}

/// The tokens that a worker holds in advance are no way around it.
#[test]
fn a_key_that_its_clients_bucket_has_not_seen_is_served_by_no_lease() {
    let rule = bucket(10_000, 1, 10_000);
    let now = 100 * SECOND;
    let mut buckets = Leased::default();
    take_all(
        &mut buckets.0,
        &[Charge {
            cost: 10_000,
            ..charge_of(2, false, rule)
        }],
        now,
    );
    for _ in 0..10 {
        take_all(&mut buckets, &[charge_of(1, true, rule)], now);
    }
    let outcome = take_all(&mut buckets, &[charge_of(2, true, rule)], now);
    assert!(matches!(outcome, Some(TakeOutcome::Refused { .. })));
}

#[test]
fn a_key_that_its_bucket_has_seen_is_served_by_the_lease() {
    let rule = bucket(10_000, 1, 10_000);
    for by_client in [false, true] {
        let mut buckets = Leased::default();
        let mut take = || {
            take_all(&mut buckets, &[charge_of(1, by_client, rule)], SECOND);
            buckets.2
        };
        let went: Vec<_> = (0..20).map(|_| take()).collect();
        assert_eq!(went[10], went[19], "by client: {by_client}");
    }
}

#[test]
fn members_are_read_back_and_a_full_list_has_every_key() {
    let (one, two) = (bucket(20, 86_400, 20), bucket(1, 1, 1));
    let mut levels = Levels::default();
    levels.set(&one, 7);
    levels.set(&two, 8);
    for lineage in 0..255 {
        levels.join(&two, lineage);
    }
    let read = Levels::from_bytes(&levels.to_bytes());
    assert_eq!(read.as_ref(), Some(&levels));
    assert!(levels.has_member(&two, 254) && !levels.has_member(&two, 255));
    assert!(!levels.has_member(&one, 0));
    let [of_one, of_two] = [&one, &two].map(|rule| levels.members(rule));
    assert!(of_two.has(254) && !of_two.has(255) && !of_one.has(254));
    levels.join(&two, 255);
    levels.join(&two, 256);
    assert!(levels.has_member(&two, u64::MAX));
    let bytes = levels.to_bytes();
    assert_eq!(Levels::from_bytes(&bytes), Some(levels));
    for cut in 65..bytes.len() {
        assert!(Levels::from_bytes(&bytes[..cut]).is_none());
    }
}
