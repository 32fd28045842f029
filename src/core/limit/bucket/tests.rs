use super::*;
use members::Leased;
use proptest::prelude::*;

mod changes;
mod corners;
mod members;
mod overdrawn;
mod rules;
mod sole;

fn bucket(requests: u64, per: u64, burst: u64) -> Bucket {
    Bucket::new(requests, per, burst).unwrap()
}

fn charge(n: u64, bucket: Bucket, cost: u64) -> Charge {
    Charge {
        key: BucketKey::new([7; 8], Subject::Key(n), 0),
        bucket,
        cost,
        kin: None,
    }
}

#[test]
fn a_hundred_a_minute_means_a_hundred() {
    let q = bucket(100, 60, 100);
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
    assert_eq!(Bucket::new(0, 60, 1), None);
    assert_eq!(Bucket::new(1, 0, 1), None);
    assert_eq!(Bucket::new(1, 60, 0), None);
    assert_eq!(Bucket::new(u64::MAX, 1, 1), None);
    assert_eq!(Bucket::new(1, u64::MAX, 1), None);
    assert_eq!(Bucket::new(1, 86_400, u64::MAX), None);
}

#[test]
fn the_greatest_figures_saturate() {
    let q = bucket(1, 86_400, 36_000);
    assert_eq!(q.take(1, 0, u64::MAX).unwrap().stored, u64::MAX);
    assert!(q.take(u64::MAX, u64::MAX, 1).is_err());
    assert_eq!(q.give_back(u64::MAX, 5), 0);
}

#[test]
fn a_token_is_refilled_in_the_time_that_the_rule_says_and_never_faster() {
    assert_eq!(bucket(100, 60, 100).interval(), 600_000_000);
    assert_eq!(bucket(3, 1, 1).interval(), 333_333_334);
    assert_eq!(bucket(1, 86_400, 5).interval(), 86_400 * SECOND);
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
            let mut mix = crate::fast_hash::FastHasher::default();
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
        !matches!(outcome, Some(TakeOutcome::Taken { .. }))
    });
    count.unwrap() as u64
}

#[test]
fn a_look_makes_buckets_and_changes_none() {
    let all = [bucket(2, 1, 2), bucket(5, 3600, 5)].map(|bucket| charge(1, bucket, 1));
    let mut buckets = MemoryBuckets::default();
    assert_eq!(look(&mut buckets, &all, SECOND), None);
    let made = buckets.buckets.clone();
    let levels = &made[&all[0].key];
    assert_eq!(all.map(|c| levels.get(&c.bucket)), [Some(SECOND); 2]);
    assert_eq!(look(&mut buckets, &all, 9 * SECOND), None);
    assert_eq!(buckets.buckets, made);
}

#[test]
fn of_several_buckets_that_refuse_the_longest_wait_is_told_and_of_equals_the_first() {
    let [short, long] = [bucket(1, 60, 1), bucket(1, 3600, 1)];
    for (sizes, by, wait) in [
        ([short, long, short], 1, 3600),
        ([long, short, short], 0, 3600),
        ([short, short, long], 2, 3600),
        ([short, short, short], 0, 60),
    ] {
        let mut n = 0;
        let all = sizes.map(|bucket| {
            n += 1;
            charge(n, bucket, 1)
        });
        let mut buckets = MemoryBuckets::default();
        assert!(matches!(
            take_all(&mut buckets, &all, SECOND),
            Some(TakeOutcome::Taken { tightest: 0, .. })
        ));
        for told in [
            look(&mut buckets, &all, SECOND),
            take_all(&mut buckets, &all, SECOND),
        ] {
            let Some(TakeOutcome::Refused { by: told, refused }) = told else {
                panic!("{told:?}");
            };
            assert_eq!((told, refused.retry_after()), (by, wait));
        }
    }
}

#[test]
fn a_clock_that_goes_back_and_forth_fills_nothing() {
    let one = charge(1, bucket(1, 1, 5), 1);
    let mut buckets = MemoryBuckets::default();
    let mut admitted = 0;
    for now in [100, 50, 100, 1, 100, 99, 100] {
        admitted += drained(&mut buckets, one, now * SECOND);
    }
    assert_eq!(admitted, 5);
    assert_eq!(drained(&mut buckets, one, 101 * SECOND), 1);
}

/// Of key `n` of the client, by key or by client.
fn charge_of(n: u64, by_client: bool, bucket: Bucket) -> Charge {
    let place = |subject| BucketKey::new([7; 8], subject, 0);
    let (key, client) = (place(Subject::Key(n)), place(Subject::Client(1)));
    let (key, place) = if by_client {
        (client, key)
    } else {
        (key, client)
    };
    Charge {
        key,
        bucket,
        cost: 1,
        kin: Some(Kin { lineage: n, place }),
    }
}

#[test]
fn levels_are_read_back_and_nothing_else_is() {
    let mut levels = Levels::default();
    levels.set(&bucket(20, 86_400, 20), 7);
    levels.set(&bucket(1, 1, 1), u64::MAX);
    let bytes = levels.to_bytes();
    assert_eq!(Levels::from_bytes(&bytes), Some(levels));
    for foreign in [&b""[..], &bytes[..63], &[0; 32], &bytes.repeat(33)] {
        assert_eq!(Levels::from_bytes(foreign), None);
    }
}

#[test]
fn a_refused_request_takes_from_no_bucket() {
    let mut buckets = MemoryBuckets::default();
    let wide = charge(1, bucket(100, 60, 100), 1);
    let narrow = charge(2, bucket(1, 60, 1), 1);
    assert!(matches!(
        take_all(&mut buckets, &[wide, narrow], SECOND),
        Some(TakeOutcome::Taken { tightest: 1, state }) if state.remaining == 0
    ));
    let before = buckets.clone().buckets;
    assert!(matches!(
        take_all(&mut buckets, &[wide, narrow], SECOND),
        Some(TakeOutcome::Refused { by: 1, refused }) if refused.retry_after() == 60
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
        let wide = charge(1, bucket(100, 60, 100), 3);
        let narrow = charge(2, bucket(1, 60, 1), 1);
        let mut raced = Raced {
            inner: MemoryBuckets::default(),
            calls: 0,
            at: 4,
            rival: narrow,
            lose,
        };
        let outcome = take_all(&mut raced, &[wide, narrow], SECOND);
        assert_eq!(
            matches!(outcome, Some(TakeOutcome::Contended { by: 1 })),
            lose
        );
        assert_eq!(
            matches!(outcome, Some(TakeOutcome::Refused { by: 1, .. })),
            !lose
        );
        let full = take_all(
            &mut raced.inner,
            &[charge(1, bucket(100, 60, 100), 100)],
            SECOND,
        );
        assert!(
            matches!(full, Some(TakeOutcome::Taken { .. })),
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
        let q = Bucket::new(requests, per, burst);
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
        let q = bucket(requests, per, burst);
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
        let q = Bucket::new(requests, per, burst);
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
    let one = charge(1, bucket(1, 60, 1), 1);
    for is_in in [true, false, false] {
        let outcome = take_all(&mut buckets, &[one], SECOND);
        assert_eq!(matches!(outcome, Some(TakeOutcome::Taken { .. })), is_in);
    }
    assert!(look(&mut buckets, &[one], SECOND).is_some());
    assert_eq!(buckets.1, 1, "the take alone");
}

#[test]
fn levels_are_spent_once_they_were_full_for_as_long_as_they_take_to_fill() {
    let bucket = Bucket::new(2, 1, 4).unwrap();
    let mut levels = Levels::default();
    assert!(levels.is_spent(0));
    levels.set(&bucket, 10 * SECOND);
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
