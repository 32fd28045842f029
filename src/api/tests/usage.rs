//! Usage as it is counted: every request once, whatever comes twice, late or in between.

use std::collections::{BTreeMap, HashMap, HashSet};

use keystile_core::limit::quota::Quota;
use keystile_core::report::usage::{Batch, KeyUse, MAX_ROWS, Receipt, Row};
use proptest::prelude::*;
use serde_json::Value;

use keystile_registry::usage::count::{Counted, NOBODY, Registry, count};
use keystile_registry::usage::question::{self, By, Question, Span};
use keystile_registry::usage::*;
use keystile_system as system;

mod giving_back;
mod odd;
mod size;
use crate::{Operation as _, usage as operation};
use keystile_model::error::{Code, refuse};
use keystile_model::wire::Id;
use keystile_registry::bench::{Bench, NOON};
use keystile_registry::key;
use keystile_store::{Query, Whose};

const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;

/// Property tests keep the seeds of their failures here, to be committed.
fn seeded() -> ProptestConfig {
    use proptest::test_runner::FileFailurePersistence;
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/seeds.txt");
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(seeds))),
        ..Default::default()
    }
}

const ROUTES: [&str; 2] = ["/v1/a", "/v1/b"];
const OUTCOMES: [&str; 3] = ["ok", "insufficient_scope", "revoked_api_key"];

fn batch(vm: u32, seq: u64, at: u64, ids: &[String], rows: Vec<Row>) -> Batch {
    Batch {
        node: format!("edge-{}", vm / 2),
        epoch: u64::MAX - u64::from(vm / 2),
        vm,
        claimed: 77,
        seq,
        store: "0707070707070707".into(),
        at,
        routes: ROUTES.map(str::to_owned).to_vec(),
        outcomes: OUTCOMES.map(str::to_owned).to_vec(),
        keys: ids
            .iter()
            .map(|id| KeyUse {
                id: id.clone(),
                last: at + 5,
                address: Some("192.0.2.7".into()),
                agent: Some("curl/8".into()),
            })
            .collect(),
        rows,
        dropped: 0,
    }
}

fn row(key: Option<u32>, route: Option<u32>, outcome: u32, requests: u64) -> Row {
    Row {
        key,
        route,
        outcome,
        requests,
    }
}

/// Counts in one transaction; `crash` breaks it off before it is done.
fn try_counting(
    b: &mut Bench,
    quotas: &HashMap<String, Quota>,
    batches: &[Batch],
    now: u64,
    crash: bool,
) -> keystile_model::error::Result<Vec<Counted>> {
    let registry = b
        .store
        .read(|tx| Registry::read(tx, quotas.clone(), batches))
        .unwrap();
    b.store.with_made_usage(|_, usage| {
        usage.write(|tx| {
            let counted = count(tx, &registry, batches, now)?;
            match crash {
                true => Err(refuse(Code::Interrupted, "killed", "start it again")),
                false => Ok(counted),
            }
        })
    })
}

fn counted(b: &mut Bench, batches: &[Batch], now: u64) -> Vec<Counted> {
    try_counting(b, &HashMap::new(), batches, now, false).unwrap()
}

fn ids(b: &mut Bench, n: u32) -> Vec<String> {
    let issued = b.issue(&system::at(NOON), n);
    issued.iter().map(|i| i.key.id.to_string()).collect()
}

fn show(b: &mut Bench, now: u64, ask: operation::Show) -> operation::Usage {
    ask.run(&mut b.store, &system::at(now)).unwrap()
}

/// What a test keeps by hand: requests by minute, key, route and outcome.
type Model = BTreeMap<(u64, Option<u32>, Option<u32>, u32), u64>;

fn learn(model: &mut Model, batch: &Batch) {
    for r in &batch.rows {
        *model
            .entry((batch.at, r.key, r.route, r.outcome))
            .or_default() += r.requests;
    }
}

/// Every table says what the model says, asked for in every way.
#[expect(clippy::too_many_lines, reason = "to be cut into steps")]
fn check(b: &mut Bench, model: &Model, ids: &[String], now: u64) {
    let numbers: Vec<(i64, i64)> = b
        .store
        .with_made_usage(|_, usage| {
            usage.read(|tx| {
                let mut out = Vec::new();
                for id in ids {
                    let number = tx.key_usage(id.parse().unwrap())?.map_or(0, |(n, _)| n);
                    let client = tx.key_of(number)?.map_or(NOBODY, |(_, c)| c);
                    out.push((number, client));
                }
                Ok(out)
            })
        })
        .unwrap();
    for step in Step::ALL {
        let since = now - if step == Step::Day { 5 * DAY } else { DAY };
        let span = Span::new((since, None), Some(step), &Settings::default(), now).unwrap();
        let within = |at: u64| (span.from()..span.until()).contains(&at);
        let mut whoses = vec![(Whose::All, None)];
        for (i, (key, client)) in numbers.iter().enumerate().filter(|(_, (n, _))| *n > 0) {
            let whose = Whose::Key {
                client: *client,
                key: *key,
            };
            whoses.push((whose, Some(i as u32)));
        }
        for (whose, key) in whoses {
            let mine = model
                .iter()
                .filter(|((at, k, _, _), _)| within(*at) && (key.is_none() || *k == key));
            let mut wanted: BTreeMap<Option<u32>, BTreeMap<String, u64>> = BTreeMap::new();
            let mut all = 0;
            for ((_, k, route, outcome), n) in mine {
                all += n;
                let route = route.map_or(String::new(), |r| ROUTES[r as usize].to_owned());
                let key = k.map_or(String::new(), |k| ids[k as usize].clone());
                let outcome = OUTCOMES[*outcome as usize].to_owned();
                for (by, name) in [(0, route), (1, outcome), (2, key)] {
                    *wanted.entry(Some(by)).or_default().entry(name).or_default() += n;
                }
            }
            for (n, by) in [By::Route, By::Outcome, By::Key].into_iter().enumerate() {
                let question = Question {
                    whose,
                    span,
                    by: Some(by),
                    most: 50,
                };
                let (answer, names) = b
                    .store
                    .with_usage(|_, usage| {
                        usage.read(|tx| {
                            let answer = question::answer(tx, &question)?;
                            let mut names = BTreeMap::new();
                            for g in &answer.groups {
                                let name = match by {
                                    By::Key => tx
                                        .key_of(g.number)?
                                        .map_or(String::new(), |k| k.0.to_string()),
                                    By::Route => {
                                        tx.name_of(keystile_store::Dimension::Route, g.number)?
                                    }
                                    _ => {
                                        tx.name_of(keystile_store::Dimension::Outcome, g.number)?
                                    }
                                };
                                assert_eq!(g.course.iter().sum::<u64>(), g.sum.requests);
                                names.insert(name, g.sum.requests);
                            }
                            Ok((answer, names))
                        })
                    })
                    .unwrap();
                assert_eq!(answer.sum.requests, all, "{step:?} {whose:?}");
                let sum: u64 = answer.course.iter().map(|s| s.requests).sum();
                assert_eq!(sum, all, "{step:?} {whose:?}");
                let mut wanted = wanted.remove(&Some(n as u32)).unwrap_or_default();
                if by == By::Key {
                    // Requests without a key are those of no key.
                    wanted.remove("");
                }
                assert_eq!(names, wanted, "{step:?} {whose:?} by {by:?}");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Move {
    /// A VM makes a batch and sends it; the answer may be lost.
    New(u32, u64, Vec<(Option<u32>, Option<u32>, u32, u64)>),
    /// A VM sends one of its last batches again.
    Again(u32, usize),
    /// What waits is counted in one transaction; the server may be killed in the middle.
    Turn { killed: bool },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let rows = (
        prop::option::weighted(0.9, 0u32..3),
        prop::option::weighted(0.8, 0u32..2),
        0u32..3,
        1u64..1000,
    );
    let one = prop_oneof![
        4 => (0u32..4, 0u64..600, prop::collection::vec(rows, 0..5))
            .prop_map(|(vm, ago, rows)| Move::New(vm, ago, rows)),
        3 => (0u32..4, 0usize..5).prop_map(|(vm, back)| Move::Again(vm, back)),
        3 => any::<bool>().prop_map(|killed| Move::Turn { killed }),
    ];
    prop::collection::vec(one, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..seeded() })]

    #[test]
    fn every_request_is_counted_once_whatever_is_lost_repeated_or_killed(moves in moves()) {
        let mut b = Bench::new();
        let ids = ids(&mut b, 3);
        let now = NOON + 30;
        let mut model = Model::new();
        let mut sent: HashMap<u32, Vec<Batch>> = HashMap::new();
        let mut waiting: Vec<Batch> = Vec::new();
        let mut known: HashSet<(u32, u64)> = HashSet::new();
        let mut settle = |b: &mut Bench, waiting: &mut Vec<Batch>, killed: bool| {
            let done = try_counting(b, &HashMap::new(), waiting, now, killed);
            assert_eq!(done.is_err(), killed);
            let Ok(done) = done else { return };
            for (batch, done) in waiting.drain(..).zip(done) {
                assert_eq!(done.fresh, known.insert((batch.vm, batch.seq)));
                assert_eq!(done.receipt.seq, batch.seq);
                if done.fresh {
                    learn(&mut model, &batch);
                }
            }
        };
        for step in moves {
            match step {
                Move::New(vm, ago, rows) => {
                    let mine = sent.entry(vm).or_default();
                    // With gaps: a VM may serve other stores too.
                    let seq = mine.last().map_or(3, |b| b.seq + 1 + ago % 3);
                    let rows = rows.into_iter().map(|(k, r, o, n)| row(k, r, o, n)).collect();
                    let at = NOON - (ago * 60);
                    let made = batch(vm, seq, at, &ids, rows);
                    mine.push(made.clone());
                    waiting.push(made);
                }
                Move::Again(vm, back) => {
                    if let Some(old) = sent.get(&vm).and_then(|s| s.iter().rev().nth(back)) {
                        waiting.push(old.clone());
                    }
                }
                Move::Turn { killed } => {
                    settle(&mut b, &mut waiting, killed);
                    if killed {
                        // What was on its way when the server died comes again, with the rest.
                        b.store = keystile_store::Store::open(&b.path, &b.key).ok().unwrap();
                    }
                }
            }
        }
        settle(&mut b, &mut waiting, false);
        // And all of it once more: nothing is counted twice.
        let mut again: Vec<Batch> = sent.into_values().flat_map(|all| all.into_iter().rev().take(60)).collect();
        settle(&mut b, &mut again, false);
        check(&mut b, &model, &ids, now);
    }
}

#[test]
fn a_batch_from_the_future_is_counted_now_and_one_of_last_year_is_said_to_be_lost() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    let rows = || vec![row(Some(0), Some(0), 0, 5)];
    let future = batch(0, 1, NOON + 7200, &ids, rows());
    let past = batch(0, 2, NOON - 100 * DAY, &ids, rows());
    let done = counted(&mut b, &[future, past.clone()], NOON);
    assert_eq!((done[0].late, done[1].late), (0, 5));
    assert!(done[1].outcomes.is_empty());
    let again = counted(&mut b, &[past], NOON + 1);
    assert!(!again[0].fresh && again[0].late == 0);
    let shown = show(&mut b, NOON, operation::Show::default());
    assert_eq!((shown.requests, shown.uncounted), (5, Some(5)));
}

#[test]
fn what_an_envoy_had_no_room_for_is_shown() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    let mut told = batch(0, 1, NOON, &ids, vec![row(Some(0), None, 0, 2)]);
    told.dropped = 9;
    counted(&mut b, &[told.clone()], NOON);
    counted(&mut b, &[told], NOON);
    let shown = show(&mut b, NOON, operation::Show::default());
    assert_eq!((shown.requests, shown.uncounted), (2, Some(9)));
}

#[test]
fn keys_that_the_store_does_not_know_are_counted_under_no_client() {
    let mut b = Bench::new();
    let keys = ["0123456789".to_owned(), "no key at all".to_owned()];
    let rows = vec![
        row(Some(0), Some(0), 0, 3),
        row(Some(1), Some(0), 0, 4),
        row(None, None, 1, 5),
    ];
    counted(&mut b, &[batch(0, 1, NOON, &keys, rows)], NOON);
    let ask = |by| operation::Show {
        by: Some(by),
        ..operation::Show::default()
    };
    let clients = show(&mut b, NOON, ask(By::Client));
    assert_eq!(clients.requests, 12);
    assert_eq!((clients.groups.len(), clients.groups[0].requests), (1, 12));
    assert_eq!(clients.groups[0].name, None);
    let finer = operation::Show {
        step: Some(Step::Hour),
        ..ask(By::Key)
    };
    let refused = finer.run(&mut b.store, &system::at(NOON)).err().unwrap();
    assert!(refused.to_string().contains("by day"), "{refused}");
    let keys = show(&mut b, NOON, ask(By::Key));
    assert_eq!((keys.groups.len(), keys.groups[0].requests), (1, 3));
}

#[test]
fn rows_at_their_limits_add_up_and_break_nothing() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    let most = vec![row(Some(0), Some(0), 0, u64::MAX); MAX_ROWS];
    let mut told = batch(0, u64::MAX, NOON, &ids, most);
    told.keys[0].agent = Some("ä\n".repeat(10_000));
    told.keys[0].address = Some("nowhere".into());
    told.routes = vec!["\u{1b}[31m".repeat(1000), "b".into()];
    told.dropped = u64::MAX;
    let done = counted(&mut b, &[told.clone()], NOON);
    assert!(done[0].fresh);
    told.vm = 1;
    counted(&mut b, &[told], NOON);
    let shown = show(&mut b, NOON, operation::Show::default());
    assert_eq!(shown.requests, (2 * MAX_ROWS as u64) << 26);
    let key = crate::key::Show {
        id: Id::read(&ids[0]).unwrap(),
    };
    let key = key.run(&mut b.store, &system::at(NOON)).unwrap();
    let usage = key.usage.unwrap();
    assert_eq!(usage.last_address, None);
    assert_eq!(usage.last_agent.unwrap().chars().count(), 128);
}

#[test]
fn a_key_remembers_its_first_and_its_last_use_and_only_what_was_let_through() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 2);
    let both = |seq, at, address: &str, agent: &str| {
        let rows = vec![row(Some(0), Some(0), 0, 1), row(Some(1), Some(0), 1, 1)];
        let mut told = batch(0, seq, at, &ids, rows);
        for key in &mut told.keys {
            key.address = Some(address.into());
            key.agent = Some(agent.into());
        }
        told
    };
    counted(&mut b, &[both(1, NOON, "192.0.2.1", "one")], NOON + 60);
    counted(
        &mut b,
        &[both(3, NOON + 600, "2001:db8::1", "two")],
        NOON + 660,
    );
    // One that comes late does not turn time back.
    counted(
        &mut b,
        &[both(2, NOON + 60, "192.0.2.9", "late")],
        NOON + 700,
    );
    let show = |b: &mut Bench, n: usize| {
        let id = Id::read(&ids[n]).unwrap();
        let shown = crate::key::Show { id };
        shown
            .run(&mut b.store, &system::at(NOON + 700))
            .unwrap()
            .usage
    };
    let usage = show(&mut b, 0).unwrap();
    assert_eq!(usage.first_used.unwrap().0, NOON + 5);
    assert_eq!(usage.last_used.unwrap().0, NOON + 605);
    assert_eq!(usage.first_address.as_deref(), Some("192.0.2.1"));
    assert_eq!(usage.last_address.as_deref(), Some("2001:db8::1"));
    assert_eq!(usage.last_agent.as_deref(), Some("two"));
    assert!(show(&mut b, 1).is_none());
}

#[test]
fn dormant_keys_are_those_that_nobody_used_for_so_long() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 3);
    let use_of = |b: &mut Bench, seq, key, at| {
        let told = batch(0, seq, at, &ids, vec![row(Some(key), Some(0), 0, 1)]);
        counted(b, &[told], at + 60);
    };
    use_of(&mut b, 1, 0, NOON);
    use_of(&mut b, 2, 1, NOON + 80 * DAY);
    let later = NOON + 100 * DAY;
    b.issue(&system::at(later - DAY), 1);
    let list = crate::key::List {
        unused: Some(keystile_model::wire::Span(90 * DAY)),
        ..Default::default()
    };
    let found = list.run(&mut b.store, &system::at(later)).unwrap();
    let mut found_ids: Vec<String> = found.keys.iter().map(|k| k.id.0.to_string()).collect();
    found_ids.sort();
    let mut wanted = vec![ids[0].clone(), ids[2].clone()];
    wanted.sort();
    assert_eq!(found_ids, wanted);
    assert_eq!(found.counted_since.unwrap().0, NOON + 60);
}

fn quotas() -> HashMap<String, Quota> {
    let plans = serde_json::json!({
        "day": {"quota": {"requests": 100, "per": "day"}},
        "month": {"quota": {"requests": 1000, "per": "month"}},
        "tokyo": {"quota": {"requests": 1000, "per": "day", "time_zone": "Asia/Tokyo"}},
    });
    let policy = serde_json::json!({"version": 1, "plans": plans});
    keystile_registry::usage::quotas(&serde_json::from_value(policy).unwrap(), NOON)
}

#[test]
fn windows_begin_at_midnight_and_at_the_first() {
    let at = 1_800_000_000; // 2027-01-15T08:00:00Z
    assert_eq!(window(&quotas()["day"], at), 1_799_971_200);
    assert_eq!(window(&quotas()["month"], at), 1_798_761_600);
    assert_eq!(window(&quotas()["day"], 1_799_971_200), 1_799_971_200);
    let midnight_in_tokyo = 1_799_971_200 - 9 * 3600;
    assert_eq!(window(&quotas()["tokyo"], at), midnight_in_tokyo);
}

#[test]
fn a_receipt_tells_what_others_let_through_of_each_quota_in_its_window() {
    let mut b = Bench::new();
    let policy =
        "version: 1\nplans:\n  day: {quota: {requests: 100, per: day}}\nroutes:\n- {path: /a}\n";
    b.store
        .write(&system::at(NOON), |tx| tx.insert_policy(policy, NOON))
        .unwrap();
    let draft = key::Draft {
        plan: Some("day".into()),
        ..key::Draft::default()
    };
    let issued = key::issue(&mut b.store, &system::at(NOON), "acme", draft, 1, |_| {});
    let id = issued.ok().unwrap().0[0].key.id.to_string();
    let grace = 3600;
    let rotated = crate::key::Rotate {
        id: Id::read(&id).unwrap(),
        grace: keystile_model::wire::Span(grace),
        ..rotation()
    };
    let next = rotated.run(&mut b.store, &system::at(NOON)).unwrap();
    let next = serde_json::to_value(&next).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let send = |b: &mut Bench, vm, seq, id: &str, at, n| -> Receipt {
        let rows = vec![row(Some(0), Some(0), 0, n), row(Some(0), Some(0), 1, 50)];
        let told = batch(vm, seq, at, &[id.to_owned()], rows);
        let mut done = try_counting(b, &quotas(), &[told], at + 60, false).unwrap();
        done.remove(0).receipt
    };
    let others = |r: &Receipt| {
        r.quotas
            .iter()
            .map(|q| (q.window, q.others))
            .collect::<Vec<_>>()
    };
    let midnight = window(&quotas()["day"], NOON);
    // VMs 0 and 1 are of one Envoy, 2 of another.
    assert_eq!(others(&send(&mut b, 0, 1, &id, NOON, 7)), [(midnight, 0)]);
    assert_eq!(others(&send(&mut b, 1, 1, &id, NOON, 8)), [(midnight, 0)]);
    let receipt = send(&mut b, 2, 1, &next, NOON, 20);
    assert_eq!(others(&receipt), [(midnight, 15)]);
    assert_eq!(receipt.quotas[0].lineage, id);
    // The same batch again: the same, as it is by then, and nothing counted.
    assert_eq!(others(&send(&mut b, 0, 1, &id, NOON, 7)), [(midnight, 20)]);
    let quota = operation::Quota {
        id: Id::read(&next).unwrap(),
    };
    let left = quota.run(&mut b.store, &system::at(NOON + 60)).unwrap();
    assert_eq!((left.used, left.remaining), (35, Some(65)));
    // The last minute of the day is told of in the next one: both windows are.
    let eve = midnight + DAY - 60;
    assert_eq!(
        others(&send(&mut b, 2, 2, &id, eve, 1)),
        [(midnight, 15), (midnight + DAY, 0)]
    );
}

fn rotation() -> crate::key::Rotate {
    serde_json::from_value(serde_json::json!({"id": "0000000000"})).unwrap()
}

#[test]
fn what_is_older_than_is_kept_goes_and_what_is_younger_stays() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    let now = NOON + 100 * DAY;
    for (seq, at) in [(1, NOON), (2, now - 50 * DAY), (3, now - DAY), (4, now)] {
        let at = at - at % 60;
        let rows = vec![row(Some(0), Some(0), 0, 1)];
        counted(&mut b, &[batch(0, seq, at, &ids, rows)], at + 60);
    }
    let shorter = operation::Configure {
        days: Some(keystile_model::wire::Span(90 * DAY)),
        ..Default::default()
    };
    shorter.run(&mut b.store, &system::at(now)).unwrap();
    while b
        .store
        .with_made_usage(|_, usage| usage.write(|tx| prune(tx, now)))
        .unwrap()
    {}
    let rows = |b: &mut Bench, table: &str| -> i64 {
        b.store
            .with_made_usage(|_, usage| {
                let sql = format!("SELECT count(*) FROM {table}");
                Ok(usage.sql().query_row(&sql, [], |r| r.get(0)).unwrap())
            })
            .unwrap()
    };
    for (table, left) in [
        ("key_minute", 2),
        ("key_hour", 3),
        ("key_day", 3),
        ("client_minute", 4),
        ("client_day", 6),
        ("vm", 1),
    ] {
        assert_eq!(rows(&mut b, table), left, "{table}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_and_changes_are_in_the_audit_log() {
    let mut b = Bench::new();
    let span = |s| Some(keystile_model::wire::Span(s));
    for wrong in [
        operation::Configure {
            minutes: span(60),
            ..Default::default()
        },
        operation::Configure {
            minutes: span(61 * DAY),
            ..Default::default()
        },
        operation::Configure {
            days: span(DAY),
            ..Default::default()
        },
    ] {
        assert!(wrong.run(&mut b.store, &system::at(NOON)).is_err());
    }
    let right = operation::Configure {
        hours: span(30 * DAY),
        ..Default::default()
    };
    right.run(&mut b.store, &system::at(NOON)).unwrap();
    let last = b
        .store
        .read(|tx| tx.last_audit(&Query::default(), 1))
        .unwrap();
    assert_eq!(last[0].action, "usage.configure");
    assert!(last[0].after.contains("30d"), "{}", last[0].after);
}

#[test]
fn addresses_and_agents_can_be_forgotten_and_counts_stay() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    counted(
        &mut b,
        &[batch(0, 1, NOON, &ids, vec![row(Some(0), None, 0, 6)])],
        NOON,
    );
    operation::Forget {}
        .run(&mut b.store, &system::at(NOON))
        .unwrap();
    let shown = crate::key::Show {
        id: Id::read(&ids[0]).unwrap(),
    };
    let usage = shown
        .run(&mut b.store, &system::at(NOON))
        .unwrap()
        .usage
        .unwrap();
    assert_eq!(
        (usage.first_address, usage.last_address, usage.last_agent),
        (None, None, None)
    );
    assert!(usage.last_used.is_some());
    assert_eq!(show(&mut b, NOON, operation::Show::default()).requests, 6);
}

#[test]
fn usage_is_unreadable_without_the_store_and_survives_a_new_master_key() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    counted(
        &mut b,
        &[batch(0, 1, NOON, &ids, vec![row(Some(0), Some(0), 0, 6)])],
        NOON,
    );
    let file = b.store.usage_file();
    b.store
        .with_made_usage(|_, usage| {
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            usage.sql().execute_batch(checkpoint).unwrap();
            Ok(())
        })
        .unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|w| w == text);
    assert!(!holds(b"SQLite format") && !holds(b"/v1/a") && !holds(b"192.0.2.7"));
    let key = keystile_store::master_key::MasterKey::generate(system::at(NOON).entropy)
        .ok()
        .unwrap();
    b.store.rekey(&key).unwrap();
    b.store = keystile_store::Store::open(&b.path, &key).ok().unwrap();
    assert_eq!(show(&mut b, NOON, operation::Show::default()).requests, 6);
}
