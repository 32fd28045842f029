//! Limits against a naive model that shares no code with them: lists of takings, replayed in
//! exact rational arithmetic.

use super::*;
use crate::bucket::Kin;
use std::collections::{HashMap, HashSet};

/// Requests, seconds, burst.
type Rule = (u64, u64, u64);
/// Whose, and on which route.
type Slot = (Subject, u64);

/// The takings under one rule of one subject. Levels are in tokens times nanoseconds of the
/// period, so that nothing is ever rounded.
#[derive(Clone)]
struct Taken {
    begun: (u128, u128),
    takings: Vec<(u128, u128)>,
    /// The lines of rotation that may have been seen here, if it is a client's.
    lines: HashSet<u64>,
    /// Those that have been for certain: one that is full for long may be forgotten at any
    /// request, and begin anew.
    payers: HashSet<u64>,
    /// When a request was there last.
    touched: u128,
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
            level = refilled.min(most) - cost;
            at = *when;
        }
        (level, full_since)
    }

    /// Whether it is forgotten for certain, and with it who was seen there: whoever was there
    /// last left no more than it takes to fill lacking, and half of that in leases.
    fn is_forgotten(&self, rule: Rule, now: u128) -> bool {
        let most = u128::from(rule.2) * unit(rule);
        let fill = most.div_ceil(u128::from(rule.0));
        self.touched + 3 * fill <= now
    }

    /// What is missing, unless it has been full for as long as it takes to fill.
    fn missing(&self, rule: Rule, now: u128) -> Option<u128> {
        let (left, full_since) = self.level(rule, now);
        let most = u128::from(rule.2) * unit(rule);
        let fill = most.div_ceil(u128::from(rule.0));
        let is_stale = full_since.is_some_and(|since| since + fill <= now);
        (!is_stale).then_some(most - left)
    }
}

#[derive(Clone, Default)]
struct Model(HashMap<(u8, u64, u64), HashMap<Rule, Taken>>);

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

impl Model {
    /// What is missing under each rule of a place that may have been in force until now.
    fn before(
        &self,
        slot: Slot,
        limits: &[(Slot, Rule)],
        payer: Option<u64>,
        now: u128,
    ) -> Vec<(Rule, u128)> {
        let rules = self.0.get(&name(slot)).into_iter().flatten();
        let rules = rules.filter(|(rule, taken)| {
            !limits.contains(&(slot, **rule))
                && payer.is_none_or(|line| taken.payers.contains(&line))
        });
        rules
            .filter_map(|(rule, taken)| Some((*rule, taken.missing(*rule, now)?)))
            .collect()
    }

    /// Those buckets were made at `now`, for a request of `line` under `limits`. Of the other
    /// subject, `before` is what was so then.
    fn begin(
        &mut self,
        made: &[(Slot, Rule)],
        limits: &[(Slot, Rule)],
        line: u64,
        before: &Self,
        now: u128,
    ) {
        for (slot, rule) in made {
            if self
                .0
                .get(&name(*slot))
                .is_some_and(|rules| rules.contains_key(rule))
            {
                continue;
            }
            for (old, taken) in self.0.entry(name(*slot)).or_default() {
                if taken.is_forgotten(*old, now) {
                    taken.lines.clear();
                }
            }
            let is_clients = matches!(slot.0, Subject::Client(_));
            let payer = (!is_clients).then_some(line);
            let mut level = u128::from(rule.2) * unit(*rule);
            let others = before.before(other(*slot, line), limits, payer, now);
            let mine = is_clients.then_some(line);
            for (old, missing) in self
                .before(*slot, limits, mine, now)
                .into_iter()
                .chain(others)
            {
                let both = u128::from(old.2.min(rule.2));
                // In the new unit, rounded up: the model errs for the caller.
                let held = (both * unit(old)).saturating_sub(missing);
                level = level.min((held * unit(*rule)).div_ceil(unit(old)));
            }
            let begun = Taken {
                begun: (now, level),
                takings: Vec::new(),
                lines: is_clients.then_some(line).into_iter().collect(),
                payers: is_clients.then_some(line).into_iter().collect(),
                touched: now,
            };
            self.0.entry(name(*slot)).or_default().insert(*rule, begun);
        }
    }

    /// Those buckets of a client are new to `line`: if it comes from other rules, they hold no
    /// more than is left under those, beside what workers took in advance before that.
    fn switch(
        &mut self,
        new: &[(Slot, Rule)],
        limits: &[(Slot, Rule)],
        line: u64,
        workers: &[Leases],
        now: u128,
    ) {
        for (slot, rule) in new {
            let rules = &self.0[&name(*slot)];
            let since = rules.iter().filter(|(other, taken)| {
                *other != rule
                    && !limits.contains(&(*slot, **other))
                    && taken.payers.contains(&line)
            });
            // In the new unit, rounded up: the model errs for the caller.
            let left = since.filter_map(|(other, taken)| {
                let most = u128::from(other.2) * unit(*other);
                let left = most - taken.missing(*other, now)?;
                Some((left * unit(*rule)).div_ceil(unit(*other)))
            });
            let level = rules[rule].level(*rule, now).0;
            let bucket = (place(*slot), quota_of(*rule));
            let held = workers.iter().filter_map(|w| w.held.get(&bucket));
            let held: u64 = held.map(|lease| lease.left).sum();
            let left = left.min().map(|left| left + u128::from(held) * unit(*rule));
            if let Some(left) = left.filter(|left| *left < level) {
                let rules = self.0.get_mut(&name(*slot)).unwrap();
                let takings = &mut rules.get_mut(rule).unwrap().takings;
                takings.push((now, level - left));
            }
        }
    }

    /// Those buckets of a client have seen `line`: what it lacks in its own is taken from them,
    /// but for what workers hold in advance.
    fn join(
        &mut self,
        seen: &[(Slot, Rule)],
        limits: &[(Slot, Rule)],
        line: u64,
        before: &Self,
        workers: &[Leases],
        now: u128,
    ) -> Vec<(Slot, Rule)> {
        let mut new = Vec::new();
        for (slot, rule) in seen {
            let own = before.before(other(*slot, line), limits, None, now);
            let taken = self
                .0
                .get_mut(&name(*slot))
                .and_then(|rules| rules.get_mut(rule));
            let taken = taken.expect("it was made");
            if taken.missing(*rule, now).is_none() {
                taken.payers.clear();
            }
            taken.payers.insert(line);
            taken.touched = now;
            if taken.lines.insert(line) {
                new.push((*slot, *rule));
                let tokens = own
                    .iter()
                    .map(|(old, n)| n * unit(*rule) / unit(*old))
                    .max();
                let bucket = (place(*slot), quota_of(*rule));
                let held = workers.iter().filter_map(|w| w.held.get(&bucket));
                let held: u64 = held.map(|lease| lease.left).sum();
                let level = taken.level(*rule, now).0;
                let level = level.saturating_sub(u128::from(held) * unit(*rule));
                taken.takings.push((now, tokens.unwrap_or(0).min(level)));
            }
        }
        new
    }

    /// Whether a request may be let in.
    fn may(&self, limits: &[(Slot, Rule)], cost: u64, now: u128) -> bool {
        limits.iter().all(|(slot, rule)| {
            let cost = u128::from(cost.min(rule.2)) * unit(*rule);
            self.0[&name(*slot)][rule].level(*rule, now).0 >= cost
        })
    }

    /// A request was let in. What a line takes under one rule of its own counts under the
    /// others that were in force before, as far as it goes: what workers took there in advance
    /// stays theirs.
    fn note(&mut self, limits: &[(Slot, Rule)], cost: u64, workers: &[Leases], now: u128) {
        let mut places = HashSet::new();
        for (slot, rule) in limits {
            let rules = self.0.get_mut(&name(*slot)).unwrap();
            let tokens = u128::from(cost.min(rule.2));
            if matches!(slot.0, Subject::Key(_)) && places.insert(name(*slot)) {
                for (other, taken) in rules.iter_mut() {
                    let is_beside = other == rule || limits.contains(&(*slot, *other));
                    if !is_beside && taken.missing(*other, now).is_some() {
                        let bucket = (place(*slot), quota_of(*other));
                        let held = workers.iter().filter_map(|w| w.held.get(&bucket));
                        let held: u64 = held.map(|lease| lease.left).sum();
                        let left = taken.level(*other, now).0;
                        let left = left.saturating_sub(u128::from(held) * unit(*other));
                        taken.takings.push((now, left.min(tokens * unit(*other))));
                    }
                }
            }
            let taken = rules.get_mut(rule).unwrap();
            taken.takings.push((now, tokens * unit(*rule)));
        }
    }
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
    line: u64,
    limits: Vec<(Slot, Rule)>,
    /// The model when the request came.
    before: Model,
    rivals: Vec<Try>,
    verdict: Result<(), TestCaseError>,
}

impl Working<'_> {
    /// What is no longer there was full; nor is a line remembered for ever.
    fn forget(&mut self, key: &BucketKey) {
        let line = self.line;
        let slots = self.limits.iter().map(|(slot, _)| *slot);
        let slots = slots.flat_map(|slot| [slot, other(slot, line)]);
        let Some(slot) = slots.into_iter().find(|slot| place(*slot) == *key) else {
            return;
        };
        let now = self.world.now.into();
        let rules = self.world.model.0.entry(name(slot)).or_default();
        let read = self.world.shared.update(key, &mut |levels| {
            rules.retain(|rule, taken| {
                if !levels.has_member(&quota_of(*rule), line) {
                    taken.lines.remove(&line);
                }
                let is_there = levels.get(&quota_of(*rule)).is_some();
                let most = u128::from(rule.2) * unit(*rule);
                assert!(is_there || taken.level(*rule, now).0 == most, "{rule:?}");
                is_there
            });
            false
        });
        read.unwrap();
        let before = self.before.0.entry(name(slot)).or_default();
        for (rule, taken) in before {
            if !rules.get(rule).is_some_and(|now| now.lines.contains(&line)) {
                taken.lines.remove(&line);
            }
        }
    }

    /// Which of the request's buckets in one place are there, and which have seen the key.
    fn made(&mut self, key: &BucketKey) -> [Vec<(Slot, Rule)>; 2] {
        let mut made = self.limits.clone();
        made.retain(|(slot, _)| place(*slot) == *key);
        let mut seen = made.clone();
        seen.retain(|(slot, _)| matches!(slot.0, Subject::Client(_)));
        let read = self.world.shared.update(key, &mut |levels| {
            made.retain(|(_, rule)| levels.get(&quota_of(*rule)).is_some());
            seen.retain(|(_, rule)| levels.has_member(&quota_of(*rule), self.line));
            false
        });
        read.unwrap();
        [made, seen]
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
        self.forget(key);
        let [made, seen] = self.made(key);
        let (line, now) = (self.line, self.world.now.into());
        let (world, limits) = (&mut *self.world, &self.limits);
        let (model, workers) = (&mut world.model, &world.workers);
        model.begin(&made, limits, line, &self.before, now);
        let new = model.join(&seen, limits, line, &self.before, workers, now);
        model.switch(&new, limits, line, workers, now);
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
                kin: Some(Kin {
                    lineage: t.key / 2,
                    place: place(other(*slot, t.key / 2)),
                }),
            })
            .collect();
        let before = self.model.clone();
        let mut working = Working {
            world: self,
            worker: t.worker,
            line: t.key / 2,
            limits: limits.clone(),
            before,
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
            self.model.note(&limits, t.cost, &self.workers, now.into());
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
                kin: None,
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
