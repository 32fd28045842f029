use super::*;
use proptest::prelude::*;

mod changes;
mod overdrawn;
mod sole;

fn quota(requests: u64, per: u64, burst: u64) -> Quota {
    Quota::new(requests, per, burst).unwrap()
}

fn charge(n: u64, quota: Quota, cost: u64) -> Charge {
    Charge {
        key: BucketKey::new([7; 8], Subject::Key(n), 0),
        quota,
        cost,
        kin: None,
    }
}

#[test]
fn a_hundred_a_minute_means_a_hundred() {
    let q = quota(100, 60, 100);
    let mut stored = 0;
    let mut admitted = 0;
    for i in 0..1000 {
        if let Ok(t) = q.take(1, stored, 5 * SECOND + i) {
            stored = t.stored;
            admitted += 1;
        }
    }
    assert_eq!(admitted, 100);
}

#[test]
fn zero_is_never_read_as_no_limit() {
    assert_eq!(Quota::new(0, 60, 1), None);
    assert_eq!(Quota::new(1, 0, 1), None);
    assert_eq!(Quota::new(1, 60, 0), None);
    assert_eq!(Quota::new(u64::MAX, 1, 1), None);
    assert_eq!(Quota::new(1, u64::MAX, 1), None);
    assert_eq!(Quota::new(1, 86_400, u64::MAX), None);
}

#[test]
fn the_greatest_figures_saturate() {
    let q = quota(1, 86_400, 36_000);
    assert_eq!(q.take(1, 0, u64::MAX).unwrap().stored, u64::MAX);
    assert!(q.take(u64::MAX, u64::MAX, 1).is_err());
    assert_eq!(q.give_back(u64::MAX, 5), 0);
}

#[test]
fn a_token_is_refilled_in_the_time_that_the_rule_says_and_never_faster() {
    assert_eq!(quota(100, 60, 100).interval(), 600_000_000);
    assert_eq!(quota(3, 1, 1).interval(), 333_333_334);
    assert_eq!(quota(1, 86_400, 5).interval(), 86_400 * SECOND);
}

/// Shared data keeps them over versions of the filter.
#[test]
fn buckets_are_named_by_store_subject_and_route() {
    let name = |store: u8, subject, route| {
        let key = BucketKey::new([store; 8], subject, route);
        key.as_bytes().to_vec()
    };
    let want =
        b"keystile/l/\x07\x07\x07\x07\x07\x07\x07\x07k\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\x03\x04";
    assert_eq!(name(7, Subject::Key(0x102), 0x304), want);
    let mut names = std::collections::BTreeSet::new();
    let mut hashes = std::collections::BTreeSet::new();
    for subject in [1, 2, 3]
        .map(Subject::Key)
        .into_iter()
        .chain([1, 2, 3].map(Subject::Client))
    {
        for route in [0, 1, 2] {
            for store in [7, 8] {
                names.insert(name(store, subject, route));
            }
            let mut mix = crate::mix::Mix::default();
            BucketKey::new([7; 8], subject, route).hash(&mut mix);
            hashes.insert((mix.finish(), matches!(subject, Subject::Key(_))));
        }
    }
    assert_eq!(names.len(), 6 * 3 * 2);
    assert_eq!(hashes.len(), 6 * 3, "those of one kind in one store");
}

/// Takes one after another until refused; how many were let in.
fn drained(buckets: &mut MemoryBuckets, charge: Charge, now: u64) -> u64 {
    let mut takes = 0..1_000_000;
    let count = takes.position(|_| {
        let outcome = take_all(buckets, &[charge], now);
        !matches!(outcome, Some(Outcome::Taken { .. }))
    });
    count.unwrap() as u64
}

#[test]
fn rules_of_one_subject_do_not_share_a_level() {
    // The limits of the issue, by client: 20/1d, and 100000/1d with a burst of 10.
    let slow = charge(1, quota(20, 86_400, 20), 1);
    let fast = charge(1, quota(100_000, 86_400, 10), 1);
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
        (quota(1, 3600, 10), 4, quota(10, 60, 60), 6),
        (quota(1, 3600, 10), 10, quota(3600, 3600, 60), 0),
        (quota(60, 60, 60), 4, quota(1, 3600, 10), 6),
        (quota(60, 60, 60), 20, quota(1, 3600, 10), 0),
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
    let all = [quota(3, 1, 3), quota(5, 3600, 5)].map(|quota| charge(1, quota, 1));
    let mut buckets = MemoryBuckets::default();
    let taken = (0..9).filter(|_| {
        let outcome = take_all(&mut buckets, &all, SECOND);
        matches!(outcome, Some(Outcome::Taken { .. }))
    });
    assert_eq!(taken.count(), 3);
    assert_eq!(drained(&mut buckets, all[1], SECOND), 2);
}

#[test]
fn what_an_old_rule_left_is_forgotten_when_it_could_have_filled_twice() {
    let old = charge(1, quota(1, 1, 2), 1);
    let new = charge(1, quota(1, 3600, 50), 1);
    for (at, left) in [(4, 2), (5, 50)] {
        let mut buckets = MemoryBuckets::default();
        assert_eq!(drained(&mut buckets, old, SECOND), 2);
        assert_eq!(drained(&mut buckets, new, at * SECOND), left, "at {at} s");
    }
}

#[test]
fn with_no_room_for_another_rule_the_one_that_was_longest_out_of_use_gives_way() {
    let mut buckets = MemoryBuckets::default();
    let rule = |n: u64| charge(1, quota(1, 60 + n, 1), 1);
    let most = MAX_RULES as u64;
    let mut full = Levels::default();
    for n in 0..most {
        assert!(full.set(&rule(n).quota, SECOND + rule(n).quota.interval));
    }
    // Used once more, so the second is the one that was longest out of use.
    assert!(full.set(&rule(0).quota, 61 * SECOND));
    buckets.buckets.insert(rule(0).key, full);
    let refused = take_all(&mut buckets, &[rule(most)], SECOND);
    assert!(
        matches!(refused, Some(Outcome::Refused { .. })),
        "all are empty"
    );
    let levels = &buckets.buckets[&rule(0).key];
    let has = |n: u64| levels.get(&rule(n).quota).is_some();
    assert!(has(0) && !has(1) && has(2) && has(most));
    assert!(levels.to_bytes().len() <= MAX_RULES * 32);
}

#[test]
fn so_many_rules_have_room_and_not_one_more() {
    let mut full = Levels::default();
    let rule = |n: usize| quota(1, 60 + n as u64, 1);
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
fn a_look_makes_buckets_and_changes_none() {
    let all = [quota(2, 1, 2), quota(5, 3600, 5)].map(|quota| charge(1, quota, 1));
    let mut buckets = MemoryBuckets::default();
    assert_eq!(look(&mut buckets, &all, SECOND), None);
    let made = buckets.buckets.clone();
    let levels = &made[&all[0].key];
    assert_eq!(all.map(|c| levels.get(&c.quota)), [Some(SECOND); 2]);
    assert_eq!(look(&mut buckets, &all, 9 * SECOND), None);
    assert_eq!(buckets.buckets, made);
}

#[test]
fn of_several_buckets_that_refuse_the_longest_wait_is_told_and_of_equals_the_first() {
    let [short, long] = [quota(1, 60, 1), quota(1, 3600, 1)];
    for (quotas, by, wait) in [
        ([short, long, short], 1, 3600),
        ([long, short, short], 0, 3600),
        ([short, short, long], 2, 3600),
        ([short, short, short], 0, 60),
    ] {
        let mut n = 0;
        let all = quotas.map(|quota| {
            n += 1;
            charge(n, quota, 1)
        });
        let mut buckets = MemoryBuckets::default();
        assert!(matches!(
            take_all(&mut buckets, &all, SECOND),
            Some(Outcome::Taken { tightest: 0, .. })
        ));
        for told in [
            look(&mut buckets, &all, SECOND),
            take_all(&mut buckets, &all, SECOND),
        ] {
            let Some(Outcome::Refused { by: told, refused }) = told else {
                panic!("{told:?}");
            };
            assert_eq!((told, refused.retry_after()), (by, wait));
        }
    }
}

#[test]
fn a_clock_that_goes_back_and_forth_fills_nothing() {
    let one = charge(1, quota(1, 1, 5), 1);
    let mut buckets = MemoryBuckets::default();
    let mut admitted = 0;
    for now in [100, 50, 100, 1, 100, 99, 100] {
        admitted += drained(&mut buckets, one, now * SECOND);
    }
    assert_eq!(admitted, 5);
    assert_eq!(drained(&mut buckets, one, 101 * SECOND), 1);
}

/// Of key `n` of the client, by key or by client.
fn charge_of(n: u64, by_client: bool, quota: Quota) -> Charge {
    let place = |subject| BucketKey::new([7; 8], subject, 0);
    let (key, client) = (place(Subject::Key(n)), place(Subject::Client(1)));
    let (key, place) = if by_client {
        (client, key)
    } else {
        (key, client)
    };
    Charge {
        key,
        quota,
        cost: 1,
        kin: Some(Kin { lineage: n, place }),
    }
}

#[test]
fn a_limit_that_becomes_the_clients_takes_over_what_each_key_has_used() {
    let (old, new) = (quota(20, 86_400, 20), quota(30, 86_400, 30));
    let mut buckets = MemoryBuckets::default();
    let now = 100 * SECOND;
    for (n, takes) in [(1, 12), (2, 5), (3, 20)] {
        for _ in 0..takes {
            take_all(&mut buckets, &[charge_of(n, false, old)], now);
        }
    }
    // A fourth key was not used: the old rule held 20 for it.
    let left = |buckets: &mut _, n| match take_all(buckets, &[charge_of(n, true, new)], now) {
        Some(Outcome::Taken { state, .. }) => Some(state.remaining),
        _ => None,
    };
    assert_eq!(left(&mut buckets, 1), Some(20 - 12 - 1));
    assert_eq!(left(&mut buckets, 2), Some(7 - 5 - 1));
    assert_eq!(left(&mut buckets, 2), Some(0), "once for each key");
    assert_eq!([left(&mut buckets, 3), left(&mut buckets, 4)], [None, None]);
}

#[test]
fn a_limit_that_becomes_the_keys_leaves_each_what_its_client_had_left() {
    let rule = quota(20, 86_400, 20);
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

/// The buckets as a worker with leases has them, and how often it went to them.
#[derive(Default)]
struct Leased(MemoryBuckets, Leases, u32);

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
    let rule = quota(10_000, 1, 10_000);
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
    assert!(matches!(outcome, Some(Outcome::Refused { .. })));
}

#[test]
fn a_key_that_its_bucket_has_seen_is_served_by_the_lease() {
    let rule = quota(10_000, 1, 10_000);
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
    let (one, two) = (quota(20, 86_400, 20), quota(1, 1, 1));
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

#[test]
fn levels_are_read_back_and_nothing_else_is() {
    let mut levels = Levels::default();
    levels.set(&quota(20, 86_400, 20), 7);
    levels.set(&quota(1, 1, 1), u64::MAX);
    let bytes = levels.to_bytes();
    assert_eq!(Levels::from_bytes(&bytes), Some(levels));
    for foreign in [&b""[..], &bytes[..63], &[0; 32], &bytes.repeat(33)] {
        assert_eq!(Levels::from_bytes(foreign), None);
    }
}

#[test]
fn a_refused_request_takes_from_no_bucket() {
    let mut buckets = MemoryBuckets::default();
    let wide = charge(1, quota(100, 60, 100), 1);
    let narrow = charge(2, quota(1, 60, 1), 1);
    assert!(matches!(
        take_all(&mut buckets, &[wide, narrow], SECOND),
        Some(Outcome::Taken { tightest: 1, state }) if state.remaining == 0
    ));
    let before = buckets.clone().buckets;
    assert!(matches!(
        take_all(&mut buckets, &[wide, narrow], SECOND),
        Some(Outcome::Refused { by: 1, refused }) if refused.retry_after() == 60
    ));
    assert_eq!(buckets.buckets, before);
}

/// Buckets where another worker takes the last token of one bucket between the
/// look and the take.
struct Raced {
    inner: MemoryBuckets,
    calls: u32,
    at: u32,
    rival: Charge,
    lose: bool,
}

impl Buckets for Raced {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        self.calls += 1;
        if self.calls == self.at {
            if self.lose {
                return Err(Contended);
            }
            take_all(&mut self.inner, &[self.rival], SECOND);
        }
        self.inner.update(key, f)
    }
}

#[test]
fn a_race_lost_between_look_and_take_gives_back_what_was_taken() {
    for lose in [false, true] {
        let wide = charge(1, quota(100, 60, 100), 3);
        let narrow = charge(2, quota(1, 60, 1), 1);
        let mut raced = Raced {
            inner: MemoryBuckets::default(),
            calls: 0,
            at: 4,
            rival: narrow,
            lose,
        };
        let outcome = take_all(&mut raced, &[wide, narrow], SECOND);
        assert_eq!(matches!(outcome, Some(Outcome::Contended { by: 1 })), lose);
        assert_eq!(
            matches!(outcome, Some(Outcome::Refused { by: 1, .. })),
            !lose
        );
        let full = take_all(
            &mut raced.inner,
            &[charge(1, quota(100, 60, 100), 100)],
            SECOND,
        );
        assert!(
            matches!(full, Some(Outcome::Taken { .. })),
            "the wide bucket is full again"
        );
    }
}

proptest! {
    #![proptest_config(crate::seeded())]

    /// Exactness: after the wait it is admitted, a nanosecond earlier it is not,
    /// and `Retry-After` is the first whole second at which it is.
    #[test]
    fn retry_after_is_exact(
        requests in 1u64..10_000, per in 1u64..100_000, burst in 1u64..1_000,
        cost in 1u64..1_000, start in 0u64..1 << 60, taken in 0u64..1_000,
    ) {
        let q = Quota::new(requests, per, burst);
        prop_assume!(q.is_some());
        let q = q.unwrap();
        let cost = cost.min(burst);
        let mut stored = 0;
        for _ in 0..taken {
            match q.take(1, stored, start) {
                Ok(t) => stored = t.stored,
                Err(_) => break,
            }
        }
        if let Err(r) = q.take(cost, stored, start) {
            prop_assert!(r.remaining < cost);
            prop_assert!(q.take(cost, stored, start + r.wait).is_ok());
            prop_assert!(q.take(cost, stored, start + r.wait - 1).is_err());
            let after = r.retry_after() * SECOND;
            prop_assert!(q.take(cost, stored, start + after).is_ok());
            if r.retry_after() > 1 {
                prop_assert!(q.take(cost, stored, start + after - SECOND).is_err());
            }
        }
    }

    /// In any window no more is admitted than the burst and the refill allow.
    #[test]
    fn never_more_than_burst_and_refill(
        requests in 1u64..50, per in 1u64..5, burst in 1u64..20,
        steps in proptest::collection::vec((0u64..2_000_000_000, 1u64..5), 1..200),
    ) {
        let q = quota(requests, per, burst);
        let (mut stored, mut now, mut admitted) = (0, 1, 0u128);
        for (step, cost) in steps {
            now += step;
            match q.take(cost, stored, now) {
                Ok(t) => { stored = t.stored; admitted += u128::from(cost); }
                Err(r) => prop_assert!(r.remaining < cost),
            }
            let refill = u128::from(now - 1) * u128::from(requests) / u128::from(per * SECOND);
            prop_assert!(admitted <= u128::from(burst) + refill);
        }
    }

    #[test]
    fn what_is_left_can_be_taken_and_not_one_more(
        requests in 1u64..1_000, per in 1u64..1_000, burst in 1u64..1_000, cost in 1u64..100, now in 1u64..1 << 60,
    ) {
        let q = Quota::new(requests, per, burst);
        prop_assume!(q.is_some());
        let q = q.unwrap();
        if let Ok(t) = q.take(cost.min(burst), 0, now) {
            prop_assert_eq!(t.remaining, burst - cost.min(burst));
            if t.remaining > 0 {
                prop_assert!(q.take(t.remaining, t.stored, now).is_ok());
            }
            prop_assert!(q.take(t.remaining + 1, t.stored, now).is_err());
        }
    }
}

#[test]
fn going_to_and_fro_between_rules_gives_no_more_than_either() {
    // Of the same rate, and so alike that only their identity differs.
    let [a, b] = [quota(100, 1, 1000), quota(100, 1, 1001)];
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
    let [slow, fast] = [quota(20, 86_400, 20), quota(60, 60, 10)];
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
    let [a, b] = [quota(60, 60, 60), quota(60, 60, 61)].map(|rule| charge(1, rule, 1));
    let mut buckets = MemoryBuckets::default();
    take_all(&mut buckets, &[a], SECOND);
    take_all(&mut buckets, &[b], SECOND);
    let later = 1_000 * SECOND;
    assert_eq!(drained(&mut buckets, b, later), 61);
    assert_eq!(drained(&mut buckets, a, later), 0);
}

#[test]
fn who_goes_to_and_fro_at_every_request_loses_no_part_of_a_token() {
    let [a, b] = [quota(10, 10, 10), quota(10, 10, 11)];
    let mut buckets = MemoryBuckets::default();
    let mut admitted = 0;
    for n in 0..1000u64 {
        let rule = if n % 2 == 0 { a } else { b };
        let outcome = take_all(
            &mut buckets,
            &[charge(1, rule, 1)],
            100 * SECOND + n * SECOND / 10,
        );
        admitted += u64::from(matches!(outcome, Some(Outcome::Taken { .. })));
    }
    assert!((109..=110).contains(&admitted), "{admitted} in 99.9 s");
}

#[test]
fn keys_of_one_client_on_plans_of_their_own_do_not_drain_each_other() {
    let [small, big] = [quota(20, 86_400, 20), quota(1000, 86_400, 1000)];
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
    let [small, big] = [quota(20, 86_400, 20), quota(1000, 86_400, 1000)];
    let mut buckets = MemoryBuckets::default();
    let now = 100 * SECOND;
    take_all(&mut buckets, &[charge_of(1, true, small)], now);
    assert_eq!(drained(&mut buckets, charge_of(2, true, big), now), 1000);
    assert_eq!(drained(&mut buckets, charge_of(1, true, small), now), 19);
}

#[test]
fn a_key_that_joins_others_under_a_rule_brings_what_it_has_left_of_its_own_and_no_more() {
    let [small, big] = [quota(20, 86_400, 20), quota(1000, 86_400, 1000)];
    let strangers = quota(7, 86_400, 7);
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
    let rules = [20, 21, 22].map(|n| quota(n, 86_400, n));
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

#[test]
fn a_refusal_of_a_bucket_that_is_there_writes_nothing() {
    struct Written(MemoryBuckets, u32);
    impl Buckets for Written {
        fn update(
            &mut self,
            key: &BucketKey,
            f: &mut dyn FnMut(&mut Levels) -> bool,
        ) -> Result<(), Contended> {
            let count = &mut self.1;
            self.0.update(key, &mut |levels| {
                let is_written = f(levels);
                *count += u32::from(is_written);
                is_written
            })
        }
    }
    let mut buckets = Written(MemoryBuckets::default(), 0);
    let one = charge(1, quota(1, 60, 1), 1);
    for is_in in [true, false, false] {
        let outcome = take_all(&mut buckets, &[one], SECOND);
        assert_eq!(matches!(outcome, Some(Outcome::Taken { .. })), is_in);
    }
    assert!(look(&mut buckets, &[one], SECOND).is_some());
    assert_eq!(buckets.1, 1, "the take alone");
}

#[test]
fn levels_are_spent_once_they_were_full_for_as_long_as_they_take_to_fill() {
    let quota = Quota::new(2, 1, 4).unwrap();
    let mut levels = Levels::default();
    assert!(levels.is_spent(0));
    levels.set(&quota, 10 * SECOND);
    assert!(!levels.is_spent(10 * SECOND), "just full");
    assert!(!levels.is_spent(12 * SECOND - 1));
    assert!(levels.is_spent(12 * SECOND));
    levels.link(7, 20 * SECOND);
    assert!(
        !levels.is_spent(20 * SECOND - 1),
        "what is taken elsewhere counts here"
    );
    assert!(levels.is_spent(20 * SECOND));
}
