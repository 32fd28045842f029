//! Limits against what they guarantee, read off the list of all takings in exact arithmetic.
//! Nothing here knows how buckets or leases are kept. (What a changed limit begins with, and
//! changes of subject, the oracle of `bucket::tests::changes` judges.)

use super::*;
use crate::limit::bucket::Kin;
use std::collections::HashSet;

/// Requests, seconds, burst.
type Rule = (u64, u64, u64);
/// Whose, and on which route.
type Slot = (Subject, u64);

const SECOND: u128 = 1_000_000_000;

/// A request that was let in.
struct Taking {
    /// Those of one act overlap: nobody knows which was first.
    act: usize,
    at: u128,
    line: u64,
    cost: u64,
    limits: Vec<(Slot, Rule)>,
}

fn name((subject, route): Slot) -> (u8, u64, u64) {
    match subject {
        Subject::Key(n) => (b'k', n, route),
        Subject::Client(n) => (b'c', n.into(), route),
    }
}

/// The same limit's place if it were the other subject's.
fn other((subject, route): Slot, line: u64) -> Slot {
    match subject {
        Subject::Key(_) => (Subject::Client(1), route),
        Subject::Client(_) => (Subject::Key(line), route),
    }
}

/// What is left under a rule, in tokens times nanoseconds of the period, so that nothing is ever
/// rounded.
struct Left {
    rule: Rule,
    at: u128,
    level: u128,
}

impl Left {
    fn unit(&self) -> u128 {
        u128::from(self.rule.1) * SECOND
    }

    fn most(&self) -> u128 {
        u128::from(self.rule.2) * self.unit()
    }

    /// Time passes. Whether it was full for as long as it takes to fill: then what was before may
    /// be forgotten.
    fn pass(&mut self, now: u128) -> bool {
        let (most, rate) = (self.most(), u128::from(self.rule.0));
        let full_in = (most - self.level) / rate;
        let is_stale = self.at + full_in + most / rate <= now;
        let refilled = self.level + (now - self.at) * rate;
        // The instant of the last change stays, that it is known how long it has been full.
        if refilled < most {
            (self.level, self.at) = (refilled, now);
        }
        is_stale
    }

    /// A taking under the rule: whether there was as much.
    fn take(&mut self, cost: u64, now: u128) -> bool {
        self.refill(now);
        let left = self
            .level
            .checked_sub(u128::from(cost.min(self.rule.2)) * self.unit());
        self.level = left.unwrap_or(0);
        left.is_some()
    }

    /// A taking of the same line under another rule that applied instead: it counts, as far as
    /// it goes. What workers took in advance, at most half of a large bucket, stays theirs.
    fn miss(&mut self, cost: u64, now: u128) {
        self.refill(now);
        let leased = match self.rule.2 < MIN_BURST {
            true => 0,
            false => self.most() / 2,
        };
        let missed = u128::from(cost) * self.unit();
        self.level -= missed.min(self.level.saturating_sub(leased));
    }

    fn refill(&mut self, now: u128) {
        let refilled = self.level + (now - self.at) * u128::from(self.rule.0);
        (self.level, self.at) = (refilled.min(self.most()), now);
    }
}

#[derive(Default)]
struct Oracle {
    takings: Vec<Taking>,
    acts: usize,
}

impl Oracle {
    /// The first rule that gave more than it may.
    fn overdrawn(&self) -> Option<(Slot, Rule)> {
        let mut seen = HashSet::new();
        let all = self.takings.iter().flat_map(|taking| &taking.limits);
        let mut all = all.filter(|(slot, rule)| seen.insert((name(*slot), *rule)));
        all.find(|of| !self.holds_alone(of) || !self.holds_beside_others(of))
            .copied()
    }

    /// In every interval of time a rule gives no more than its burst and what refills meanwhile:
    /// never, whoever takes and whatever else is in force.
    fn holds_alone(&self, of: &(Slot, Rule)) -> bool {
        let mut left = full(of.1);
        let mut own = self.takings.iter().filter(|t| t.limits.contains(of));
        own.all(|taking| left.take(taking.cost, taking.at))
    }

    /// A key that is under other rules in between gets no more of this one by that.
    fn holds_beside_others(&self, of: &(Slot, Rule)) -> bool {
        let (slot @ (Subject::Key(line), _), rule) = *of else {
            return true;
        };
        let mut takings: Vec<(&Taking, Option<u64>)> = Vec::new();
        for taking in self.takings.iter().filter(|t| t.line == line) {
            let is_there = taking.limits.iter().any(|(at, _)| name(*at) == name(slot));
            match (taking.limits.contains(of), is_there) {
                (true, _) => takings.push((taking, None)),
                (false, true) => takings.push((taking, Some(taking.cost))),
                (false, false) => {}
            }
        }
        // Of those that overlap, the order that lets in most.
        takings.sort_by_key(|(taking, missed)| (taking.act, missed.is_some()));
        let mut left: Option<Left> = None;
        takings.into_iter().all(|(taking, missed)| {
            let left = match (missed, &mut left) {
                (None, left) => left.get_or_insert_with(|| full(rule)),
                (Some(_), None) => return true,
                (Some(_), Some(left)) => left,
            };
            let is_stale = left.pass(taking.at);
            match missed {
                None => return left.take(taking.cost, taking.at),
                Some(_) if is_stale => {}
                Some(cost) => left.miss(cost, taking.at),
            }
            true
        })
    }
}

fn full(rule: Rule) -> Left {
    let mut left = Left {
        rule,
        at: 0,
        level: 0,
    };
    left.level = left.most();
    left
}

/// The plans: limits by key, by client, and likewise on a route.
const PLANS: [&[(char, Rule)]; 9] = [
    &[('k', (100, 1, 1000))],
    &[('c', (20, 86_400, 20))],
    &[('c', (100_000, 86_400, 10))],
    &[('k', (4000, 1, 4000)), ('c', (20_000, 1, 2000))],
    &[
        ('k', (3, 1, 3)),
        ('k', (5, 3600, 5)),
        ('r', (1500, 1, 1500)),
    ],
    &[('c', (100_000, 60, 2000)), ('r', (1000, 7, 1200))],
    &[('c', (100, 1, 1000)), ('R', (1000, 7, 1200))],
    &[('k', (20, 86_400, 20))],
    &[('k', (20_000, 1, 2000)), ('R', (1500, 1, 1500))],
];

/// Two keys of one line and one of another, of the same client.
fn limits(key: u64, plan: usize) -> Vec<(Slot, Rule)> {
    let slot = |by| match by {
        'k' => (Subject::Key(key / 2), 0),
        'c' => (Subject::Client(1), 0),
        'R' => (Subject::Client(1), 7),
        _ => (Subject::Key(key / 2), 7),
    };
    let all = PLANS[plan].iter();
    all.map(|(by, rule)| (slot(*by), *rule)).collect()
}

/// A worker's request, as it is tried.
#[derive(Clone, Copy, Debug)]
struct Try {
    worker: usize,
    key: u64,
    cost: u64,
    /// By way of a bucket, which never takes from leases.
    beside_quota: bool,
}

#[derive(Clone, Debug)]
enum Act {
    Try(Try, Vec<Try>),
    /// The last one again and again; in between, if so, the dearest that there can be.
    Again(u32, bool),
    Wait(u64),
    Tick(usize),
    Crash(usize),
    Plan(u64, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let cost = prop_oneof![4 => 1..30u64, 2 => 1..1100u64, 1 => 1..5000u64];
    let one = (0..3usize, 0..3u64, cost, proptest::bool::weighted(0.2));
    let one = one.prop_map(|(worker, key, cost, beside_quota)| Try {
        worker,
        key,
        cost,
        beside_quota,
    });
    prop_oneof![
        8 => (one.clone(), proptest::collection::vec(one, 0..3)).prop_map(|(t, r)| Act::Try(t, r)),
        4 => (1..60u32, any::<bool>()).prop_map(|(times, dear)| Act::Again(times, dear)),
        3 => (0..400 * MS).prop_map(Act::Wait),
        3 => (0..3 * MS).prop_map(Act::Wait),
        1 => (0..100_000 * MS).prop_map(Act::Wait),
        1 => (0..3usize).prop_map(Act::Tick),
        1 => (0..3usize).prop_map(Act::Crash),
        1 => (0..3u64, 0..PLANS.len()).prop_map(|(key, plan)| Act::Plan(key, plan)),
    ]
}

struct World {
    now: u64,
    plans: [usize; 3],
    shared: MemoryBuckets,
    workers: Vec<Leases>,
    oracle: Oracle,
}

struct Working<'w> {
    world: &'w mut World,
    worker: usize,
    rivals: Vec<Try>,
}

fn place((subject, route): Slot) -> BucketKey {
    BucketKey::new([7; 8], subject, route)
}

fn quota_of((requests, per, burst): Rule) -> Bucket {
    Bucket::new(requests, per, burst).unwrap()
}

impl Buckets for Working<'_> {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        if let Some(rival) = self.rivals.pop()
            && rival.worker != self.worker
        {
            self.world.shared.clone().update(key, f)?;
            self.world.attempt(rival, Vec::new());
        }
        self.world.shared.update(key, f)
    }

    fn with_leases<R>(&mut self, f: impl FnOnce(&mut Leases) -> R) -> Option<R> {
        Some(f(&mut self.world.workers[self.worker]))
    }
}

impl World {
    fn attempt(&mut self, t: Try, rivals: Vec<Try>) {
        let limits = limits(t.key, self.plans[t.key as usize]);
        let now = self.now;
        let charges: Vec<Charge> = limits
            .iter()
            .map(|(slot, rule)| Charge {
                key: place(*slot),
                bucket: quota_of(*rule),
                cost: t.cost,
                kin: Some(Kin {
                    lineage: t.key / 2,
                    place: place(other(*slot, t.key / 2)),
                }),
            })
            .collect();
        let mut working = Working {
            world: self,
            worker: t.worker,
            rivals,
        };
        let outcome = match t.beside_quota {
            false => take_all(&mut working, &charges, now),
            true => look(&mut working, &charges, now)
                .or_else(|| take_looked(&mut working, &charges, now)),
        };
        if matches!(outcome, Some(TakeOutcome::Taken { .. })) {
            self.oracle.takings.push(Taking {
                act: self.oracle.acts,
                at: now.into(),
                line: t.key / 2,
                cost: t.cost,
                limits,
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..crate::seeded() })]

    #[test]
    fn no_schedule_lets_in_more_than_the_limits_guarantee(
        plans in [0..PLANS.len(), 0..PLANS.len(), 0..PLANS.len()],
        acts in proptest::collection::vec(act(), 1..60),
    ) {
        let mut world = World {
            now: 1_000_000 * MS,
            plans,
            shared: MemoryBuckets::default(),
            workers: (0..3).map(|_| Leases::default()).collect(),
            oracle: Oracle::default(),
        };
        let mut last = None;
        for act in acts {
            world.oracle.acts += 1;
            match act {
                Act::Try(t, rivals) => {
                    world.attempt(t, rivals);
                    last = Some(t);
                }
                Act::Again(times, dear) => {
                    for t in (0..times).filter_map(|_| last) {
                        let cost = 30.min(t.cost);
                        world.oracle.acts += 1;
                        world.attempt(Try { cost, ..t }, Vec::new());
                        if dear {
                            world.oracle.acts += 1;
                            world.attempt(Try { cost: u64::MAX, ..t }, Vec::new());
                        }
                    }
                }
                Act::Wait(ns) => world.now += ns,
                Act::Tick(worker) => {
                    let expired = world.workers[worker].expire(world.now);
                    give_back(expired, &mut world.shared);
                }
                Act::Crash(worker) => world.workers[worker] = Leases::default(),
                Act::Plan(key, plan) => world.plans[key as usize] = plan,
            }
        }
        let overdrawn = world.oracle.overdrawn();
        prop_assert!(overdrawn.is_none(), "{overdrawn:?}");
    }
}

/// The schedule of the review: 13,900 tokens came through where 1,500 are allowed.
#[test]
fn a_refused_request_leaves_what_its_worker_holds_as_it_is() {
    let mut envoy = Envoy::new(1);
    let bucket = Bucket::new(100, 1, 1000).unwrap();
    let mut tokens = 0;
    for _ in 0..500 {
        for cost in [1; 13].into_iter().chain([990]).chain([1; 13]) {
            let charge = Charge {
                key: BucketKey::new([7; 8], Subject::Key(9), 0),
                bucket,
                cost,
                kin: None,
            };
            let now = envoy.now;
            let outcome = take_all(&mut Counted(&mut envoy, 0), &[charge], now);
            if matches!(outcome, Some(TakeOutcome::Taken { .. })) {
                tokens += cost;
            }
        }
        envoy.now += 10 * MS;
    }
    assert!((1_400..=1_500).contains(&tokens), "{tokens}");
}
