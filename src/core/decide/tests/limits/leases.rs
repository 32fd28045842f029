//! What workers may miss of a bucket because others took tokens in advance, against the level that
//! the bucket would have without leases.

use super::*;
use crate::limit::lease::SPAN;

/// Plans with one limit and no quota: leases of up to 25 tokens of 1,000, and of up to 250 of 2,000.
const SLOW: usize = 0;
const FAST: usize = 4;
/// How often a worker gives back what it has not used: the filter's tick.
const TICK: u64 = 1_000 * MS;
/// After this long, whatever a worker took has been given back: "little more than a second".
const GIVEN_BACK: u64 = TICK + SPAN;

struct Fleet {
    envoy: Envoy,
    plan: usize,
    began: u64,
}

impl Fleet {
    /// All keys are on one plan.
    fn on(plan: usize, workers: usize) -> Self {
        let mut envoy = Envoy::new([plan; 4]);
        envoy.workers.resize_with(workers, Leases::default);
        Self {
            plan,
            began: envoy.now,
            envoy,
        }
    }

    /// Time passes, and each worker ticks once a second, at an instant of its own.
    fn pass(&mut self, ns: u64) {
        let until = self.envoy.now + ns;
        loop {
            let next = |worker: usize| {
                let offset = self.began + worker as u64 * 90 * MS;
                let ticks = (self.envoy.now + 1).saturating_sub(offset).div_ceil(TICK);
                (offset + ticks * TICK, worker)
            };
            let workers = 0..self.envoy.workers.len();
            let (at, worker) = workers.map(next).min().unwrap();
            if at > until {
                self.envoy.now = until;
                return;
            }
            self.envoy.now = at;
            let expired = self.envoy.workers[worker].expire(at);
            give_back(expired, &mut self.envoy.shared);
        }
    }

    /// What the bucket would hold without leases.
    fn level(&mut self) -> u128 {
        let (subject, rule) = PLANS[self.plan].1[0];
        let whose = match subject {
            'k' => u64::from(KEYS[0].0),
            _ => u64::from(KEYS[0].1),
        };
        let slot = (subject, whose, "", rule);
        let takings = self.envoy.model.takings.entry(slot).or_default();
        takings.level(rule, self.envoy.now.into())
    }

    fn burst(&self) -> u64 {
        PLANS[self.plan].1[0].1.2
    }

    fn ask(&mut self, worker: usize, route: usize) -> Result<bool, TestCaseError> {
        self.envoy.attempt((worker, 0, route), Vec::new())
    }
}

/// Worker, route, how many requests, and the pause after them.
type Turn = (usize, usize, u32, u64);

fn turns(workers: usize) -> impl Strategy<Value = Vec<Turn>> {
    let pause = prop_oneof![4 => 0..3 * MS, 2 => 0..40 * MS, 1 => 0..2_000 * MS];
    let times = prop_oneof![1..4u32, 1..60u32];
    let turn = (0..workers, 0..4usize, times, pause);
    proptest::collection::vec(turn, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..crate::seeded() })]

    #[test]
    fn workers_miss_at_most_half_of_a_bucket(
        plan in prop::sample::select(&[SLOW, FAST]), workers in 2..10usize, turns in turns(10),
    ) {
        let mut fleet = Fleet::on(plan, workers);
        let burst = u128::from(fleet.burst());
        for (worker, route, times, pause) in turns {
            for _ in 0..times {
                let left = fleet.level();
                let cost = burst.min(ROUTES[route].1.into());
                let is_in = fleet.ask(worker % workers, route)?;
                prop_assert!(is_in || left < cost + burst / 2, "{left} left, {cost} asked for");
            }
            fleet.pass(pause);
        }
    }

    /// What a worker took in advance is there for the others a little more than a second later, if
    /// none of them took from the bucket meanwhile. (Of a token that lapses in part, the rest is lost.)
    #[test]
    fn what_one_worker_leaves_is_given_back_within_little_more_than_a_second(turns in turns(1)) {
        let mut fleet = Fleet::on(SLOW, 3);
        for (worker, route, times, pause) in turns {
            for _ in 0..times {
                fleet.ask(worker, route)?;
            }
            fleet.pass(pause);
        }
        fleet.pass(GIVEN_BACK);
        let left = fleet.level();
        for n in 1..left {
            prop_assert!(fleet.ask(1, 0)?, "{n} of {left}");
        }
    }

    /// Whoever took and left something, it comes back as the bucket fills: half of it takes 0.6 s.
    #[test]
    fn what_workers_leave_comes_back_as_the_bucket_fills(turns in turns(3)) {
        let mut fleet = Fleet::on(FAST, 3);
        for (worker, route, times, pause) in turns {
            for _ in 0..times {
                fleet.ask(worker, route)?;
            }
            fleet.pass(pause);
        }
        while fleet.level() < u128::from(fleet.burst()) {
            fleet.pass(10 * MS);
        }
        fleet.pass(600 * MS);
        prop_assert!(fleet.ask(1, 3)?, "all of it at once");
    }
}
