//! Usage as it is counted: every request once, whatever comes twice, late or in between.

use std::collections::{BTreeMap, HashMap, HashSet};

use keystile_core::limit::quota::Quota;
use keystile_core::report::usage::{Batch, KeyUse, MAX_ROWS, Receipt, Row};
use proptest::prelude::*;
use serde_json::Value;

use keystile_registry::usage::count::{CountedBatch, NOBODY, Registry, count};
use keystile_registry::usage::question::{self, Breakdown, Span, UsageQuestion};
use keystile_registry::usage::*;
use keystile_system as system;

mod exposed;
mod giving_back;
mod kept;
mod model;
mod odd;
mod receipts;
mod size;
use crate::{Operation as _, usage as operation};
use keystile_model::error::{Code, refuse};
use keystile_model::wire::Id;
use keystile_registry::bench::{Bench, NOON};
use keystile_registry::key;
use keystile_store::{Dimension, OnlyThese, Query, UsageTx, Whose};

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
) -> keystile_model::error::Result<Vec<CountedBatch>> {
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

fn counted(b: &mut Bench, batches: &[Batch], now: u64) -> Vec<CountedBatch> {
    try_counting(b, &HashMap::new(), batches, now, false).unwrap()
}

fn ids(b: &mut Bench, n: u32) -> Vec<String> {
    let issued = b.issue(&system::at(NOON), n);
    issued.iter().map(|i| i.key.id.to_string()).collect()
}

fn show(b: &mut Bench, now: u64, ask: operation::Show) -> operation::Usage {
    ask.run(&mut b.store, &system::at(now)).unwrap()
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
    let clients = show(&mut b, NOON, ask(Breakdown::Client));
    assert_eq!(clients.requests, 12);
    assert_eq!((clients.groups.len(), clients.groups[0].requests), (1, 12));
    assert_eq!(clients.groups[0].name, None);
    let finer = operation::Show {
        step: Some(Step::Hour),
        ..ask(Breakdown::Key)
    };
    let refused = finer.run(&mut b.store, &system::at(NOON)).err().unwrap();
    assert!(refused.to_string().contains("by day"), "{refused}");
    let keys = show(&mut b, NOON, ask(Breakdown::Key));
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

fn rotation() -> crate::key::Rotate {
    serde_json::from_value(serde_json::json!({"id": "0000000000"})).unwrap()
}
