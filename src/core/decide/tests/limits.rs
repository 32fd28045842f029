//! What [`decide`] lets in, against a naive model that shares no code with limits and quotas:
//! a list of takings, in exact arithmetic.

use super::*;
use crate::limit::bucket::give_back;
use crate::limit::lease::Leases;
use crate::limit::quota::Zone;
use envoy::{Envoy, Try};
use std::collections::HashMap;
use std::rc::Rc;

mod envoy;
mod leases;

const MS: u64 = 1_000_000;
const SECOND: u128 = 1_000_000_000;

const LIMITED: &str = r#"{"version":1,"realm":"api","environments":["live"],
  "plans":{
    "a":{"limits":[{"requests":100,"per":"1s","burst":1000}]},
    "b":{"limits":[{"requests":20,"per":"1d","by":"client"}],"quota":{"requests":30,"per":"day"}},
    "c":{"limits":[{"requests":4000,"per":"1s"},{"requests":20000,"per":"1s","burst":2000,"by":"client"}],
         "quota":{"requests":60,"per":"month"}},
    "d":{"limits":[{"requests":3,"per":"1s"}],
         "quota":{"requests":40,"per":"day","time_zone":"Europe/Berlin"}},
    "e":{"limits":[{"requests":100000,"per":"1m","burst":2000,"by":"client"}]},
    "f":{"quota":{"requests":25,"per":"day"}},
    "g":{"limits":[{"requests":20,"per":"1d"}],
         "quota":{"requests":45,"per":"month","rolls_over":{"day":15}}}},
  "routes":[
    {"path":"/1"},
    {"path":"/30","cost":30},
    {"path":"/990","cost":990},
    {"path":"/5000","cost":5000},
    {"path":"/limited","limit":{"requests":1500,"per":"1s","by":"client"}},
    {"path":"/scoped","scopes":["write"]}
  ]}"#;

/// Requests, seconds, burst.
type Rule = (u64, u64, u64);

/// By key or client; the rule.
const PLANS: [(&str, &[(char, Rule)]); 7] = [
    ("a", &[('k', (100, 1, 1000))]),
    ("b", &[('c', (20, 86_400, 20))]),
    ("c", &[('k', (4000, 1, 4000)), ('c', (20_000, 1, 2000))]),
    ("d", &[('k', (3, 1, 3))]),
    ("e", &[('c', (100_000, 60, 2000))]),
    ("f", &[]),
    ("g", &[('k', (20, 86_400, 20))]),
];
/// The plans that have the same limit, one by client and one by key.
const ALIKE: [&str; 2] = ["b", "g"];
const ROUTES: [(&str, u64); 6] = [
    ("/1", 1),
    ("/30", 30),
    ("/990", 990),
    ("/5000", 5000),
    ("/limited", 1),
    ("/scoped", 1),
];
/// When the months from August to December of 2001 begin.
const MONTHS: [u64; 5] = [
    996_624_000,
    999_302_400,
    1_001_894_400,
    1_004_572_800,
    1_007_164_800,
];

/// Of each key: its line of rotation, and its client.
const KEYS: [(u8, u32); 4] = [(0, 1), (0, 1), (2, 1), (3, 2)];

/// The windows of a plan's quota: their name, which of them it is, and how many it gives.
fn window(plan: &str, wall: u64) -> Option<(&'static str, u64, u64)> {
    let month = MONTHS.iter().filter(|start| **start <= wall).count() as u64;
    match plan {
        "b" => Some(("day", wall / 86_400, 30)),
        "c" => Some(("month", month, 60)),
        "d" => Some(("day in Berlin", (wall + 7200) / 86_400, 40)),
        "f" => Some(("day", wall / 86_400, 25)),
        "g" => {
            let month = MONTHS.iter().filter(|start| **start + 14 * 86_400 <= wall);
            Some(("month from the 15th", month.count() as u64, 45))
        }
        _ => None,
    }
}

/// Every taking under one rule of one subject.
#[derive(Default)]
struct Takings(Vec<(u128, u128)>);

impl Takings {
    /// Whether no span of time up to the last has more than a full bucket and what refills in it.
    fn hold(&self, (requests, per, burst): Rule) -> bool {
        let unit = u128::from(per) * SECOND;
        let Some((now, _)) = self.0.last() else {
            return true;
        };
        let mut sum = 0;
        self.0.iter().rev().all(|(at, cost)| {
            sum += cost * unit;
            sum <= u128::from(burst) * unit + (now - at) * u128::from(requests)
        })
    }

    /// What a bucket holds that was full at first.
    fn level(&self, (requests, per, burst): Rule, now: u128) -> u128 {
        let unit = u128::from(per) * SECOND;
        let most = u128::from(burst) * unit;
        let (mut at, mut level) = (0, most);
        for (when, cost) in self.0.iter().chain([&(now, 0)]) {
            level = most.min(level + (when - at) * u128::from(requests)) - cost * unit;
            at = *when;
        }
        level / unit
    }
}

#[derive(Default)]
struct Model {
    takings: HashMap<(char, u64, &'static str, Rule), Takings>,
    drawn: HashMap<(u8, &'static str, u64), u64>,
}

impl Model {
    /// A request was let in. Whether it could be.
    fn admit(&mut self, key: usize, plan: usize, route: usize, now: u64, wall: u64) -> bool {
        let ((line, client), (plan, rules)) = (KEYS[key], PLANS[plan]);
        let (path, cost) = ROUTES[route];
        let own = rules.iter().map(|(by, rule)| match by {
            'k' => ('k', u64::from(line), "", *rule),
            _ => ('c', u64::from(client), "", *rule),
        });
        let of_route = (path == "/limited").then_some(('c', client.into(), path, (1500, 1, 1500)));
        let mut holds = path != "/scoped";
        for slot in own.chain(of_route) {
            let takings = self.takings.entry(slot).or_default();
            takings.0.push((now.into(), cost.min(slot.3.2).into()));
            holds &= takings.hold(slot.3);
        }
        if ALIKE.contains(&plan) {
            // Whoever goes to and fro between the two has the limit once.
            let rule = (20, 86_400, 20);
            let slot = ('a', u64::from(line), "", rule);
            let takings = self.takings.entry(slot).or_default();
            takings.0.push((now.into(), cost.min(20).into()));
            holds &= takings.hold(rule);
        }
        if let Some((name, which, requests)) = window(plan, wall) {
            let drawn = self.drawn.entry((line, name, which)).or_default();
            *drawn += 1;
            holds &= *drawn <= requests;
        }
        holds
    }
}

fn keyset_of(version: u64, plans: [usize; 4], keys: &[Fresh]) -> Rc<InForce> {
    let rows = keys.iter().enumerate().map(|(i, key)| KeyRow {
        client: format!("client-{}", KEYS[i].1),
        client_number: KEYS[i].1,
        plan: Some(PLANS[plans[i]].0.into()),
        lineage: keys[usize::from(KEYS[i].0)].id,
        ..row(key)
    });
    let content = Content {
        store: StoreId([9; 8]),
        version,
        issued_at: NOW,
        policy: serde_json::from_str(LIMITED).unwrap(),
        zones: [("Europe/Berlin".to_owned(), Zone(7200, Vec::new()))].into(),
        rows: rows.collect(),
    };
    let signing = SigningKey::new("k", Zeroizing::new(vec![1; 32])).unwrap();
    let text = build(&content).unwrap().seal(&signing, 0);
    let keys = SigningKeys::new(vec![signing]);
    let keyset = Keyset::load(&mut text.as_bytes(), &keys, |_| {});
    Rc::new(keyset.ok().unwrap().into())
}

#[derive(Clone, Debug)]
enum Act {
    Try(Try, Vec<Try>),
    /// The same again and again, with something dear or without the scope in between.
    Again(Try, u32, Option<usize>),
    Wait(u64),
    /// The wall clock is set: hours, forward or back.
    Step(i64),
    Tick(usize),
    Crash(usize),
    Push([usize; 4]),
}

fn act() -> impl Strategy<Value = Act> {
    let one = (0..3usize, 0..KEYS.len(), 0..ROUTES.len());
    let rivals = proptest::collection::vec(one.clone(), 0..3);
    let plans = proptest::array::uniform4(0..PLANS.len());
    let alike = any::<bool>().prop_map(|by_key| [if by_key { 6 } else { 1 }; 4]);
    prop_oneof![
        6 => (one.clone(), rivals).prop_map(|(t, r)| Act::Try(t, r)),
        5 => (one, 1..60u32, proptest::option::of(2..ROUTES.len()))
            .prop_map(|(t, times, between)| Act::Again(t, times, between)),
        3 => (0..3 * MS).prop_map(Act::Wait),
        3 => (0..400 * MS).prop_map(Act::Wait),
        1 => (0..100_000 * MS).prop_map(Act::Wait),
        2 => (-40..40i64).prop_map(Act::Step),
        1 => (0..3usize).prop_map(Act::Tick),
        1 => (0..3usize).prop_map(Act::Crash),
        2 => plans.prop_map(Act::Push),
        2 => alike.prop_map(Act::Push),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..crate::seeded() })]

    #[test]
    fn no_schedule_of_requests_lets_in_more_than_the_rules_say(
        plans in proptest::array::uniform4(0..PLANS.len()),
        acts in proptest::collection::vec(act(), 1..50),
    ) {
        let mut envoy = Envoy::new(plans);
        let mut version = 1;
        for act in acts {
            match act {
                Act::Try(t, rivals) => _ = envoy.attempt(t, rivals)?,
                Act::Again(t, times, between) => {
                    for _ in 0..times {
                        envoy.attempt(t, Vec::new())?;
                        if let Some(route) = between {
                            envoy.attempt((t.0, t.1, route), Vec::new())?;
                        }
                    }
                }
                Act::Wait(ns) => envoy.now += ns,
                Act::Step(hours) => {
                    let wall = envoy.wall.saturating_add_signed(hours * 3600);
                    envoy.wall = wall.clamp(MONTHS[0], MONTHS[4] - 1);
                }
                Act::Tick(worker) => {
                    let expired = envoy.workers[worker].expire(envoy.now);
                    give_back(expired, &mut envoy.shared);
                }
                Act::Crash(worker) => envoy.workers[worker] = Leases::default(),
                Act::Push(plans) => {
                    version += 1;
                    envoy.plans = plans;
                    envoy.keyset = keyset_of(version, plans, &envoy.keys);
                }
            }
        }
    }

    /// Leases may keep at most half of a bucket from being taken.
    #[test]
    fn a_worker_without_rivals_is_refused_only_if_less_than_half_a_bucket_stays_beside_it(
        acts in proptest::collection::vec((0..4usize, 1..60u32, 0..40 * MS), 1..60),
    ) {
        let rule = PLANS[0].1[0].1;
        let mut envoy = Envoy::new([0; 4]);
        for (route, times, pause) in acts {
            for _ in 0..times {
                let slot = ('k', 0, "", rule);
                let takings = envoy.model.takings.entry(slot).or_default();
                let left = takings.level(rule, envoy.now.into());
                let is_in = envoy.attempt((0, 0, route), Vec::new())?;
                let cost = u128::from(ROUTES[route].1.min(rule.2));
                prop_assert!(is_in || left < cost + u128::from(rule.2 / 2), "{left} left, {cost} asked for");
            }
            envoy.now += pause;
        }
    }
}

#[test]
fn a_limit_by_key_that_is_the_clients_for_a_while_is_given_once() {
    let mut envoy = Envoy::new([6; 4]);
    let mut admitted = 0;
    for (version, plan) in [6, 1, 6, 1, 6].into_iter().enumerate() {
        envoy.plans = [plan; 4];
        envoy.keyset = keyset_of(version as u64 + 1, envoy.plans, &envoy.keys);
        let tries = if version == 0 { 2 } else { 12 };
        for _ in 0..tries {
            // The model fails where more are let in.
            admitted += u64::from(envoy.attempt((0, 0, 0), Vec::new()).unwrap());
        }
    }
    assert_eq!(admitted, 20);
}
