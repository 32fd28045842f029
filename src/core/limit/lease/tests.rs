use super::*;
use crate::limit::bucket::{
    Buckets, Contended, Levels, MemoryBuckets, Subject, give_back, look, take_all, take_looked,
};
use proptest::prelude::*;

mod held;
mod model;

const MS: u64 = 1_000_000;

/// What several workers do, in the order in which it happens.
#[derive(Clone, Debug)]
enum Step {
    /// A worker takes from some of the buckets. While it is at it, others take too: in the
    /// middle of its first update, and of its second.
    Take {
        worker: usize,
        buckets: u8,
        cost: u64,
        rivals: Vec<(usize, u8, u64)>,
    },
    /// A worker takes one after another; of some, in between, more than there is.
    Busy(usize, u32, bool),
    Wait(u64),
    Tick(usize),
    /// The worker's VM is made anew.
    Crash(usize),
    /// All get a policy with other limits.
    Push(usize),
}

fn step() -> impl Strategy<Value = Step> {
    // Above half of every bucket, too, so that requests are refused while leases are held.
    let cost = prop_oneof![4 => 1..50u64, 1 => 1..400u64, 2 => Just(u64::MAX)];
    let take = (0..4usize, 1..4u8, cost);
    prop_oneof![
        8 => (take.clone(), proptest::collection::vec(take, 0..3)).prop_map(
            |((worker, buckets, cost), rivals)| Step::Take { worker, buckets, cost, rivals }
        ),
        3 => (0..4usize, 1..60u32, any::<bool>()).prop_map(|(w, n, dear)| Step::Busy(w, n, dear)),
        3 => (0..400 * MS).prop_map(Step::Wait),
        3 => (0..3 * MS).prop_map(Step::Wait),
        1 => (0..4usize).prop_map(Step::Tick),
        1 => (0..4usize).prop_map(Step::Crash),
        1 => (0..3usize).prop_map(Step::Push),
    ]
}

fn sizes(policy: usize) -> [Bucket; 2] {
    let bucket = |requests, per, burst| Bucket::new(requests, per, burst).unwrap();
    match policy {
        0 => [bucket(4_000, 1, 4_000), bucket(100_000, 60, 2_000)],
        1 => [bucket(20_000, 1, 2_000), bucket(1_000, 1, 1_500)],
        _ => [bucket(50, 1, 10), bucket(10_000, 1, 60_000)],
    }
}

fn charges(policy: usize, buckets: u8, cost: u64) -> Vec<Charge> {
    let all = sizes(policy).into_iter().enumerate();
    all.filter(|(n, _)| buckets & 1 << n != 0)
        .map(|(n, bucket)| Charge {
            key: BucketKey::new([7; 8], Subject::Key(9), n as u64),
            bucket,
            cost: cost.min(bucket.burst()),
            kin: None,
        })
        .collect()
}

/// An Envoy with four workers, and what it let in.
struct Envoy {
    now: u64,
    policy: usize,
    shared: MemoryBuckets,
    workers: Vec<Leases>,
    admitted: Admitted,
}

/// The bucket as it would be had each admitted request taken its tokens when it came.
#[derive(Default)]
struct Admitted([u64; 2]);

impl Admitted {
    fn note(&mut self, charges: &[Charge], policy: usize, now: u64) -> Result<(), TestCaseError> {
        for (n, bucket) in sizes(policy).iter().enumerate() {
            let Some(charge) = charges.iter().find(|c| c.bucket == *bucket) else {
                continue;
            };
            let arrival = &mut self.0[n];
            *arrival = (*arrival).max(now) + bucket.interval() * charge.cost;
            let full = now + bucket.interval() * bucket.burst();
            prop_assert!(
                *arrival <= full,
                "{} tokens too many",
                (*arrival - full) / bucket.interval()
            );
        }
        Ok(())
    }
}

/// One worker at work.
struct AtWork<'e> {
    envoy: &'e mut Envoy,
    worker: usize,
    rivals: Vec<(usize, u8, u64)>,
    verdict: Result<(), TestCaseError>,
}

impl Buckets for AtWork<'_> {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        if let Some((rival, buckets, cost)) = self.rivals.pop()
            && rival != self.worker
        {
            // A lost swap: what was read is outdated, and read again.
            self.envoy.shared.clone().update(key, f)?;
            let taken = self.envoy.take(rival, buckets, cost, Vec::new());
            self.verdict = self.verdict.clone().and(taken.map(drop));
        }
        self.envoy.shared.update(key, f)
    }

    fn with_leases<R>(&mut self, f: impl FnOnce(&mut Leases) -> R) -> Option<R> {
        Some(f(&mut self.envoy.workers[self.worker]))
    }
}

impl Envoy {
    fn new(workers: usize) -> Self {
        Self {
            now: 1_000_000 * MS,
            policy: 0,
            shared: MemoryBuckets::default(),
            workers: (0..workers).map(|_| Leases::default()).collect(),
            admitted: Admitted::default(),
        }
    }

    fn take(
        &mut self,
        worker: usize,
        buckets: u8,
        cost: u64,
        rivals: Vec<(usize, u8, u64)>,
    ) -> Result<bool, TestCaseError> {
        let (now, policy) = (self.now, self.policy);
        let charges = charges(policy, buckets, cost);
        let mut at_work = AtWork {
            envoy: self,
            worker,
            rivals,
            verdict: Ok(()),
        };
        let outcome = take_all(&mut at_work, &charges, now);
        at_work.verdict?;
        let is_in = matches!(outcome, Some(TakeOutcome::Taken { .. }));
        if is_in {
            self.admitted.note(&charges, policy, now)?;
        }
        Ok(is_in)
    }

    fn tick(&mut self, worker: usize) {
        let expired = self.workers[worker].expire(self.now);
        give_back(expired, &mut self.shared);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..crate::seeded() })]

    #[test]
    fn no_interleaving_of_workers_crashes_and_pushes_admits_one_too_many(
        steps in proptest::collection::vec(step(), 1..80)
    ) {
        let mut envoy = Envoy::new(4);
        for step in steps {
            match step {
                Step::Take { worker, buckets, cost, rivals } => {
                    envoy.take(worker, buckets, cost, rivals)?;
                }
                Step::Busy(worker, times, dear) => for _ in 0..times {
                    envoy.take(worker, 1, 20, Vec::new())?;
                    if dear {
                        envoy.take(worker, 1, u64::MAX, Vec::new())?;
                    }
                },
                Step::Wait(ns) => envoy.now += ns,
                Step::Tick(worker) => envoy.tick(worker),
                Step::Crash(worker) => envoy.workers[worker] = Leases::default(),
                Step::Push(policy) => {
                    envoy.policy = policy;
                    envoy.admitted = Admitted::default();
                }
            }
        }
    }

    #[test]
    fn a_lone_worker_admits_what_it_would_without_leases_but_for_a_last_token(
        steps in proptest::collection::vec((1..300u64, 0..20 * MS, any::<bool>()), 1..200)
    ) {
        let mut envoy = Envoy::new(1);
        let mut plain = MemoryBuckets::default();
        for (cost, wait, ticks) in steps {
            envoy.now += wait;
            if ticks {
                envoy.tick(0);
            }
            let before = plain.clone();
            let exact = take_all(&mut plain, &charges(0, 1, cost), envoy.now);
            let taken = envoy.take(0, 1, cost, Vec::new())?;
            match exact {
                // A lease is of whole tokens, and the part of one may lapse.
                Some(TakeOutcome::Taken { state, .. }) if !taken => {
                    prop_assert_eq!(state.remaining, 0);
                    plain = before;
                }
                exact => prop_assert_eq!(taken, matches!(exact, Some(TakeOutcome::Taken { .. }))),
            }
        }
    }
}

/// How often the shared bucket is asked.
struct Counted<'e>(&'e mut Envoy, usize);

impl Buckets for Counted<'_> {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        self.1 += 1;
        self.0.shared.update(key, f)
    }

    fn with_leases<R>(&mut self, f: impl FnOnce(&mut Leases) -> R) -> Option<R> {
        Some(f(&mut self.0.workers[0]))
    }
}

#[test]
fn a_busy_bucket_is_asked_seldom_and_a_small_or_idle_one_always() {
    let asked = |policy, buckets, wait| {
        let mut envoy = Envoy::new(1);
        let charges = charges(policy, buckets, 1);
        let mut counted = Counted(&mut envoy, 0);
        for _ in 0..1000 {
            counted.0.now += wait;
            let now = counted.0.now;
            assert!(matches!(
                take_all(&mut counted, &charges, now),
                Some(TakeOutcome::Taken { .. })
            ));
        }
        counted.1
    };
    assert!(asked(0, 1, MS) < 20);
    assert!(asked(0, 3, MS) < 60, "two limits at once");
    assert_eq!(asked(0, 1, 300 * MS), 1000);
    assert_eq!(asked(2, 1, 20 * MS), 1000);
}

/// What is taken beside a quota may have to be given back, and a lease would be missing then.
#[test]
fn a_take_after_a_look_leases_nothing() {
    let mut envoy = Envoy::new(1);
    let charge = charges(0, 1, 1)[0];
    for _ in 0..3 {
        envoy.now += MS;
        let now = envoy.now;
        let mut counted = Counted(&mut envoy, 0);
        assert_eq!(look(&mut counted, &[charge], now), None);
        let outcome = take_looked(&mut counted, &[charge], now);
        assert!(matches!(outcome, Some(TakeOutcome::Taken { .. })));
        assert!(envoy.workers[0].held(&charge, now).is_hot);
        assert_eq!(envoy.workers[0].held[&(charge.key, charge.bucket)].left, 0);
    }
}

#[test]
fn what_is_unused_is_given_back_unless_others_took_since() {
    for others in [false, true] {
        let mut envoy = Envoy::new(2);
        for _ in 0..1100 {
            assert!(envoy.take(0, 1, 1, Vec::new()).unwrap());
        }
        let lease = envoy.workers[0].held.values().next().unwrap();
        assert!((300..=500).contains(&lease.left), "{}", lease.left);
        envoy.now += MS;
        if others {
            assert!(envoy.take(1, 1, 1, Vec::new()).unwrap());
        }
        envoy.now += SPAN;
        envoy.tick(0);
        let left = (0..)
            .take_while(|_| envoy.take(1, 1, 1, Vec::new()).unwrap())
            .count();
        // 2,900 were left, and a quarter of a second brought 1,004 more.
        match others {
            false => assert_eq!(left, 3904),
            true => assert!((3403..=3603).contains(&left), "{left}"),
        }
    }
}
