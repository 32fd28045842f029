//! Limits against a naive model that shares no code with them: lists of takings, replayed in
//! exact rational arithmetic.

use super::*;
use std::collections::HashMap;

/// Requests, seconds, burst.
type Rule = (u64, u64, u64);
/// Whose, and on which route.
type Slot = (Subject, u64);

/// The takings under one rule of one subject. Levels are in tokens times nanoseconds of the
/// period, so that nothing is ever rounded.
struct Taken {
    begun: (u128, u128),
    takings: Vec<(u128, u128)>,
}

const SECOND: u128 = 1_000_000_000;

fn unit((_, per, _): Rule) -> u128 {
    u128::from(per) * SECOND
}

impl Taken {
    /// The level, and when it last became full, if it is.
    fn level(&self, rule: Rule, now: u128) -> (u128, Option<u128>) {
        let most = u128::from(rule.2) * unit(rule);
        let rate = u128::from(rule.0);
        let (mut at, mut level) = self.begun;
        let end = (now, 0);
        let mut full_since = None;
        for (when, cost) in self.takings.iter().chain([&end]) {
            let refilled = level + (when - at) * rate;
            full_since = (refilled >= most).then(|| at + (most - level).div_ceil(rate));
            level = refilled.min(most) - cost * unit(rule);
            at = *when;
        }
        (level, full_since)
    }
}

#[derive(Default)]
struct Model(HashMap<(u8, u64, u64), HashMap<Rule, Taken>>);

fn name((subject, route): Slot) -> (u8, u64, u64) {
    match subject {
        Subject::Key(n) => (b'k', n, route),
        Subject::Client(n) => (b'c', n.into(), route),
    }
}

impl Model {
    /// Those buckets were made at `now`, for a request under `limits`.
    fn begin(&mut self, made: &[(Slot, Rule)], limits: &[(Slot, Rule)], now: u128) {
        for (slot, rule) in made {
            let rules = self.0.entry(name(*slot)).or_default();
            if rules.contains_key(rule) {
                continue;
            }
            let most = u128::from(rule.2) * unit(*rule);
            let mut level = most;
            for (old, taken) in &*rules {
                let is_beside = limits.contains(&(*slot, *old));
                let (left, full_since) = taken.level(*old, now);
                let fill = (u128::from(old.2) * unit(*old)).div_ceil(u128::from(old.0));
                if is_beside || full_since.is_some_and(|since| since + fill <= now) {
                    continue;
                }
                let missing = u128::from(old.2) * unit(*old) - left;
                let both = u128::from(old.2.min(rule.2));
                // In the new unit, rounded up: the model errs for the caller.
                let held = (both * unit(*old)).saturating_sub(missing);
                level = level.min((held * unit(*rule)).div_ceil(unit(*old)));
            }
            let begun = Taken {
                begun: (now, level),
                takings: Vec::new(),
            };
            rules.insert(*rule, begun);
        }
    }

    /// Whether a request may be let in.
    fn may(&self, limits: &[(Slot, Rule)], cost: u64, now: u128) -> bool {
        limits.iter().all(|(slot, rule)| {
            let cost = u128::from(cost.min(rule.2)) * unit(*rule);
            self.0[&name(*slot)][rule].level(*rule, now).0 >= cost
        })
    }

    fn note(&mut self, limits: &[(Slot, Rule)], cost: u64, now: u128) {
        for (slot, rule) in limits {
            let rules = self.0.get_mut(&name(*slot)).unwrap();
            let cost = u128::from(cost.min(rule.2));
            rules.get_mut(rule).unwrap().takings.push((now, cost));
        }
    }
}

/// The plans: limits by key, by client and on a route.
const PLANS: [&[(char, Rule)]; 6] = [
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
];

/// Two keys of one line and one of another, of the same client.
fn limits(key: u64, plan: usize) -> Vec<(Slot, Rule)> {
    let slot = |by| match by {
        'k' => (Subject::Key(key / 2), 0),
        'c' => (Subject::Client(1), 0),
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
    /// By way of a quota, which never takes from leases.
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
    model: Model,
}

struct Working<'w> {
    world: &'w mut World,
    worker: usize,
    limits: Vec<(Slot, Rule)>,
    rivals: Vec<Try>,
    verdict: Result<(), TestCaseError>,
}

impl Working<'_> {
    /// Which of the request's buckets are there, of those in one place.
    fn made(&mut self, key: &BucketKey) -> Vec<(Slot, Rule)> {
        let mut made = self.limits.clone();
        made.retain(|(slot, _)| place(*slot) == *key);
        let read = self.world.shared.update(key, &mut |levels| {
            made.retain(|(_, rule)| levels.get(&quota_of(*rule)).is_some());
            false
        });
        read.unwrap();
        made
    }
}

fn place((subject, route): Slot) -> BucketKey {
    BucketKey::new([7; 8], subject, route)
}

fn quota_of((requests, per, burst): Rule) -> Quota {
    Quota::new(requests, per, burst).unwrap()
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
            let tried = self.world.attempt(rival, Vec::new());
            self.verdict = self.verdict.clone().and(tried);
        }
        self.world.shared.update(key, f)?;
        let made = self.made(key);
        let now = self.world.now.into();
        self.world.model.begin(&made, &self.limits, now);
        Ok(())
    }

    fn with_leases<R>(&mut self, f: impl FnOnce(&mut Leases) -> R) -> Option<R> {
        Some(f(&mut self.world.workers[self.worker]))
    }
}

impl World {
    fn attempt(&mut self, t: Try, rivals: Vec<Try>) -> Result<(), TestCaseError> {
        let limits = limits(t.key, self.plans[t.key as usize]);
        let now = self.now;
        let charges: Vec<Charge> = limits
            .iter()
            .map(|(slot, rule)| Charge {
                key: place(*slot),
                quota: quota_of(*rule),
                cost: t.cost.min(rule.2),
            })
            .collect();
        let mut working = Working {
            world: self,
            worker: t.worker,
            limits: limits.clone(),
            rivals,
            verdict: Ok(()),
        };
        let outcome = match t.beside_quota {
            false => take_all(&mut working, &charges, now),
            true => look(&mut working, &charges, now)
                .or_else(|| take_looked(&mut working, &charges, now)),
        };
        working.verdict?;
        if matches!(outcome, Some(Outcome::Taken { .. })) {
            let may = self.model.may(&limits, t.cost, now.into());
            prop_assert!(may, "{t:?} is let in at {now}");
            self.model.note(&limits, t.cost, now.into());
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..crate::seeded() })]

    #[test]
    fn no_schedule_lets_in_what_the_model_would_not(
        plans in [0..PLANS.len(), 0..PLANS.len(), 0..PLANS.len()],
        acts in proptest::collection::vec(act(), 1..60),
    ) {
        let mut world = World {
            now: 1_000_000 * MS,
            plans,
            shared: MemoryBuckets::default(),
            workers: (0..3).map(|_| Leases::default()).collect(),
            model: Model::default(),
        };
        let mut last = None;
        for act in acts {
            match act {
                Act::Try(t, rivals) => {
                    world.attempt(t, rivals)?;
                    last = Some(t);
                }
                Act::Again(times, dear) => {
                    for t in (0..times).filter_map(|_| last) {
                        let cost = 30.min(t.cost);
                        world.attempt(Try { cost, ..t }, Vec::new())?;
                        if dear {
                            world.attempt(Try { cost: u64::MAX, ..t }, Vec::new())?;
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
    }
}

/// The schedule of the review: 13,900 tokens came through where 1,500 are allowed.
#[test]
fn a_refused_request_leaves_what_its_worker_holds_as_it_is() {
    let mut envoy = Envoy::new(1);
    let quota = Quota::new(100, 1, 1000).unwrap();
    let mut tokens = 0;
    for _ in 0..500 {
        for cost in [1; 13].into_iter().chain([990]).chain([1; 13]) {
            let charge = Charge {
                key: BucketKey::new([7; 8], Subject::Key(9), 0),
                quota,
                cost,
            };
            let now = envoy.now;
            let outcome = take_all(&mut Counted(&mut envoy, 0), &[charge], now);
            if matches!(outcome, Some(Outcome::Taken { .. })) {
                tokens += cost;
            }
        }
        envoy.now += 10 * MS;
    }
    assert!((1_400..=1_500).contains(&tokens), "{tokens}");
}
