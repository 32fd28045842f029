//! Envoys with workers that take tokens in advance, and Redis.

use super::*;
use crate::limit::bucket::BucketKey;
use crate::limit::bucket::Contended;
use crate::limit::bucket::Levels;
use crate::limit::quota::Counts;
use crate::limit::quota::TallyKey;

/// Worker, key, route.
pub(super) type Try = (usize, usize, usize);

pub(super) struct Envoy {
    pub(super) now: u64,
    pub(super) wall: u64,
    pub(super) plans: [usize; 4],
    pub(super) keys: Vec<Fresh>,
    pub(super) keyset: Rc<InForce>,
    pub(super) shared: MemoryBuckets,
    pub(super) workers: Vec<Leases>,
    pub(super) model: Model,
}

/// A worker at its request. Rivals come in the middle of its updates.
struct AtWork<'e> {
    pub(super) envoy: &'e mut Envoy,
    pub(super) worker: usize,
    pub(super) rivals: Vec<Try>,
    verdict: Result<(), TestCaseError>,
}

impl AtWork<'_> {
    fn rival(&mut self) {
        if let Some(rival) = self.rivals.pop()
            && rival.0 != self.worker
        {
            let tried = self.envoy.attempt(rival, Vec::new());
            self.verdict = self.verdict.clone().and(tried.map(drop));
        }
    }
}

impl Buckets for AtWork<'_> {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        // A lost swap: what was read is outdated, and read again.
        if !self.rivals.is_empty() {
            self.envoy.shared.clone().update(key, f)?;
            self.rival();
        }
        self.envoy.shared.update(key, f)
    }

    fn with_leases<R>(&mut self, f: impl FnOnce(&mut Leases) -> R) -> Option<R> {
        Some(f(&mut self.envoy.workers[self.worker]))
    }
}

impl Tallies for AtWork<'_> {
    fn update_tally(
        &mut self,
        key: &TallyKey,
        f: &mut dyn FnMut(&mut Counts) -> bool,
    ) -> Result<(), Contended> {
        if !self.rivals.is_empty() {
            self.envoy.shared.clone().update_tally(key, f)?;
            self.rival();
        }
        self.envoy.shared.update_tally(key, f)
    }
}

impl Envoy {
    pub(super) fn new(plans: [usize; 4]) -> Self {
        let keys: Vec<_> = (1..=4).map(fresh).collect();
        Self {
            now: 1_000_000 * MS,
            wall: NOW,
            plans,
            keyset: keyset_of(1, plans, &keys),
            keys,
            shared: MemoryBuckets::default(),
            workers: (0..3).map(|_| Leases::default()).collect(),
            model: Model::default(),
        }
    }

    /// Whether it was let in.
    pub(super) fn attempt(
        &mut self,
        (worker, key, route): Try,
        rivals: Vec<Try>,
    ) -> Result<bool, TestCaseError> {
        let text = self.keys[key].text.expose_secret().to_owned();
        let call = call("GET", ROUTES[route].0).with("x-api-key", &text);
        let bytes = Headers::encode(&call.pairs);
        let request = Request {
            headers: Headers::new(&bytes),
            address: None,
            peer: call.peer,
            tls: false,
            virtual_host: None,
        };
        let clocks = Clocks {
            wall: self.wall,
            monotonic: self.now,
        };
        let (keyset, plan) = (Rc::clone(&self.keyset), self.plans[key]);
        let mut at_work = AtWork {
            envoy: self,
            worker,
            rivals,
            verdict: Ok(()),
        };
        let decision = decide(
            Ok(&keyset),
            &request,
            clocks,
            || None,
            &mut at_work,
            &mut (),
        );
        at_work.verdict?;
        let expected = matches!(
            decision.code(),
            "ok" | "rate_limited" | "quota_exceeded" | "insufficient_scope"
        );
        prop_assert!(expected, "{}", decision.code());
        let is_in = decision.verdict.is_ok();
        if is_in {
            // What was signed has been signed: no clock is behind it.
            let wall = clocks.wall.max(NOW);
            let may = self.model.admit(key, plan, route, clocks.monotonic, wall);
            prop_assert!(
                may,
                "key {key}, plan {}, {}",
                PLANS[plan].0,
                ROUTES[route].0
            );
        }
        Ok(is_in)
    }
}
