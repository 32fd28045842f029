//! What a VM has decided is told to the control plane: everything, once, and at no request's cost.

use std::collections::BTreeMap;

use keystile_core::report::usage::{Batch, BatchRefusal, Receipt, seal_batch};
use serde_json::json;

use crate::fixture::control::{RowName, accepted, receipt, refusal, sent, status};
use crate::fixture::{Control, Edge, NOW, SECRET, Store, by_header, signing_keys};
use crate::host::{Fault, Headers, Process, Request, Status};

mod receipts;

const DROPPED: &str = "keystile_usage_dropped_total";

fn store_with(report: serde_json::Value) -> (Store, String) {
    let mut store = Store::with(json!({
        "report": report,
        "routes": [
            {"path": "/healthz", "auth": "none"},
            {"path": "/plain", "methods": ["GET"]},
            {"path": "/closed", "scopes": ["s"]},
        ],
    }));
    let key = store.issue("acme");
    (store, key)
}

fn store() -> (Store, String) {
    store_with(json!({"cluster": "control", "every": "10s"}))
}

fn row(key: Option<&str>, route: Option<&str>, outcome: &str) -> RowName {
    (
        key.map(str::to_owned),
        route.map(str::to_owned),
        outcome.to_owned(),
    )
}

fn logged(edge: &Edge, text: &str) -> usize {
    let process = edge.process.borrow();
    process
        .log
        .iter()
        .filter(|line| line.text.contains(text))
        .count()
}

#[test]
fn every_decision_is_told_under_key_route_and_outcome() {
    let (mut store, key) = store();
    let revoked = store.issue_as("acme", |row| row.revoked = true);
    let id = |store: &mut Store, key: &str| store.row(key).id.to_string();
    let (id, revoked_id) = (id(&mut store, &key), id(&mut store, &revoked));
    let mut edge = Edge::start(&store);
    let mut control = Control::default();
    for _ in 0..3 {
        edge.code(&key);
    }
    edge.ask(&by_header(&key).with(":path", "/closed"));
    edge.code(&revoked);
    edge.code("hunter2");
    edge.ask(&Request::get("/healthz"));
    edge.ask(&Request::get("/nowhere"));
    control.settle(&mut edge);
    let expected = BTreeMap::from([
        (row(Some(&id), Some("GET /plain"), "ok"), 3),
        (row(Some(&id), Some("/closed"), "insufficient_scope"), 1),
        (
            row(Some(&revoked_id), Some("GET /plain"), "revoked_api_key"),
            1,
        ),
        (row(None, Some("GET /plain"), "malformed_api_key"), 1),
        (row(None, Some("/healthz"), "ok"), 1),
        (row(None, None, "route_denied"), 1),
    ]);
    assert_eq!(control.sums(), expected);
    let batch = control.batches.values().next().unwrap();
    assert_eq!(
        (batch.at, batch.vm, &*batch.node),
        (NOW / 60 * 60, 0, "edge-1")
    );
    assert_eq!(batch.store, store.id.to_string());
    assert_eq!(batch.keys[0].last, NOW);
    assert_eq!(
        edge.gauge("vm=.=0;.;keystile_usage_waiting_batches"),
        Some(0)
    );
    assert_eq!(edge.counter(DROPPED), 0);
}

#[test]
fn without_report_or_with_usage_switched_off_nothing_is_told() {
    let off = json!({"cluster": "control", "every": "10s", "usage": false});
    for (store, key) in [Store::small(), store_with(off)] {
        let mut edge = Edge::start(&store);
        for _ in 0..100 {
            edge.code(&key);
            edge.tick();
            edge.wait(1);
        }
        assert_eq!(sent(&edge.process).len(), 0);
    }
}

#[test]
fn usage_costs_a_request_no_hostcall_but_one_look_at_the_address_a_tick() {
    let calls = |store: &Store, key: &str| {
        let mut edge = Edge::start(store);
        edge.code(key);
        edge.process.borrow_mut().calls.clear();
        for _ in 0..100 {
            edge.code(key);
        }
        edge.process.borrow().calls.clone()
    };
    let (silent, key) = store_with(json!({"cluster": "control", "usage": false}));
    let without = calls(&silent, &key);
    let (counting, key) = store();
    assert_eq!(calls(&counting, &key), without);

    let mut edge = Edge::start(&counting);
    let reads = |edge: &Edge| edge.process.borrow().called("proxy_get_property");
    for n in 1..5 {
        let before = reads(&edge);
        (0..10).for_each(|_| drop(edge.code(&key)));
        assert_eq!(reads(&edge) - before, 1, "tick {n}");
        edge.tick();
    }
}

#[test]
fn of_address_and_agent_only_what_the_policy_says_is_kept() {
    for (privacy, address, agent) in [
        (json!({}), Some("192.0.2.0"), None),
        (json!({"address": "truncated"}), Some("192.0.2.0"), None),
        (
            json!({"address": "full", "agent": true}),
            Some("192.0.2.77"),
            Some("curl/8.1"),
        ),
        (json!({"address": "none"}), None, None),
    ] {
        let mut report = json!({"cluster": "control"});
        report
            .as_object_mut()
            .unwrap()
            .extend(privacy.as_object().unwrap().clone());
        let (store, key) = store_with(report);
        let mut edge = Edge::start(&store);
        edge.process.borrow_mut().calls.clear();
        let request = by_header(&key)
            .property(&["source", "address"], "192.0.2.77:4000")
            .header("user-agent", "curl/8.1");
        edge.ask(&request);
        let reads = edge.process.borrow().called("proxy_get_property");
        assert_eq!(reads, u64::from(address.is_some()), "{privacy}");
        let mut control = Control::default();
        control.settle(&mut edge);
        let seen = &control.batches.values().next().unwrap().keys[0];
        assert_eq!(seen.address.as_deref(), address, "{privacy}");
        assert_eq!(seen.agent.as_deref(), agent, "{privacy}");
    }
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    edge.ask(&by_header(&key).property(&["source", "address"], "[2001:db8:1:2::3]:4000"));
    let mut control = Control::default();
    control.settle(&mut edge);
    let seen = &control.batches.values().next().unwrap().keys[0];
    assert_eq!(seen.address.as_deref(), Some("2001:db8:1::"));
}

#[test]
fn counts_outlive_pushes_and_a_root_that_dies_with_its_call_loses_and_doubles_nothing() {
    let (mut store, key) = store();
    let mut edge = Edge::start(&store);
    let mut control = Control::default();
    let mut asked = 0;
    for n in 0..30u32 {
        for _ in 0..n % 4 {
            edge.code(&key);
            asked += 1;
        }
        edge.tick();
        // Of some calls the batch arrives, and the answer never does.
        if let Some((_, batch)) = sent(&edge.process).last().filter(|_| n % 3 == 0) {
            control.take(batch);
        }
        edge.push(store.change(|_| {}));
        edge.wait(5);
    }
    control.settle(&mut edge);
    assert_eq!(control.total(), asked);
    let all = sent(&edge.process).len();
    assert!(all > control.batches.len(), "some were sent again");
}

#[test]
fn a_caller_that_is_refused_in_many_ways_costs_others_none_of_their_counts() {
    const ROUTES: usize = 170;
    let routes: Vec<_> = (0..ROUTES)
        .map(|n| json!({"path": format!("/r{n}"), "scopes": ["s"]}))
        .chain([json!({"path": "/plain", "methods": ["GET"]})])
        .collect();
    let mut store = Store::with(json!({
        "report": {"cluster": "control", "every": "10s"},
        "routes": routes,
    }));
    let good = store.issue("acme");
    let bad: Vec<String> = (0..100).map(|_| store.issue("noisy")).collect();
    let mut edge = Edge::start(&store);
    for (n, key) in bad.iter().enumerate() {
        for route in 0..ROUTES {
            let code = edge.ask(&by_header(key).with(":path", format!("/r{route}")));
            assert_eq!(code.code(), "insufficient_scope");
        }
        // Some before the flood, some within it, most when its rows are there.
        for _ in 0..if n == 99 { 302 } else { 2 } {
            assert_eq!(edge.code(&good), "ok");
        }
    }
    let mut control = Control::default();
    control.settle(&mut edge);
    let id = store.row(&good).id.to_string();
    let sums = control.sums();
    assert_eq!(
        sums.get(&row(Some(&id), Some("GET /plain"), "ok")),
        Some(&500)
    );
    assert_eq!(control.total(), (100 * ROUTES + 500) as u64);
    assert_eq!(edge.counter(DROPPED), 0);
}

#[test]
fn two_workers_tell_under_their_own_numbers_and_in_one_epoch() {
    let (store, key) = store();
    let process = Process::new();
    let mut workers = [
        Edge::beside(&process, &store),
        Edge::beside(&process, &store),
    ];
    let mut control = Control::default();
    for (n, worker) in workers.iter_mut().enumerate() {
        (0..=n).for_each(|_| drop(worker.code(&key)));
        control.settle(worker);
    }
    assert_eq!(control.total(), 3);
    let names: Vec<(u32, u64)> = control.batches.values().map(|b| (b.vm, b.epoch)).collect();
    assert_eq!(names.iter().map(|(vm, _)| *vm).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(names[0].1, names[1].1);
    let mut later = Edge::start(&store);
    later.wait(77);
    later.code(&key);
    let mut control = Control::default();
    control.settle(&mut later);
    assert_ne!(control.batches.values().next().unwrap().epoch, names[0].1);
}

#[test]
fn an_internal_redirect_is_one_request_and_a_second_pass_that_is_refused_is_told() {
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    let request = by_header(&key);
    let first = edge.ask(&request);
    assert!(
        edge.ask(&request.redirected(&first.outcome, "/plain"))
            .passed()
    );
    assert!(
        !edge
            .ask(&request.redirected(&first.outcome, "/closed"))
            .passed()
    );
    let mut control = Control::default();
    control.settle(&mut edge);
    let outcomes: Vec<(String, u64)> = control
        .sums()
        .into_iter()
        .map(|((_, _, o), n)| (o, n))
        .collect();
    assert_eq!(
        outcomes,
        [("insufficient_scope".to_owned(), 1), ("ok".to_owned(), 1)]
    );
}

#[test]
fn whatever_hostcall_fails_no_request_is_held_up_and_no_count_is_lost_or_doubled() {
    let (store, key) = store();
    let mut names: Vec<String> = {
        let mut edge = Edge::start(&store);
        let mut control = Control::default();
        edge.code(&key);
        edge.process.borrow_mut().calls.clear();
        edge.wait(61);
        control.settle(&mut edge);
        edge.process.borrow().calls.keys().cloned().collect()
    };
    // Without a clock the filter cannot know of time.
    let left_out = ["clock_time_get", "proxy_get_current_time_nanoseconds"];
    names.retain(|name| !left_out.contains(&&**name));
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        for call in [
            Status::BadArgument,
            Status::InternalFailure,
            Status::NotFound,
        ] {
            for (skip, times) in [(0, 1), (1, 3), (0, 200)] {
                let mut edge = Edge::start(&store);
                let mut control = Control::default();
                edge.code(&key);
                let fault = Fault {
                    status: call,
                    skip,
                    times,
                };
                edge.process.borrow_mut().fail.insert(name.clone(), fault);
                for _ in 0..30 {
                    control.tick(&mut edge);
                    edge.wait(1);
                }
                edge.process.borrow_mut().fail.clear();
                assert_eq!(edge.code(&key), "ok", "{name}");
                control.settle(&mut edge);
                assert_eq!(control.total(), 2, "{name} {call:?} {skip} {times}");
            }
        }
    }
}

#[test]
fn requests_send_nothing_and_batches_hold_no_secret() {
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    for _ in 0..10 {
        assert_eq!(edge.code(&key), "ok");
    }
    assert_eq!(edge.process.borrow().http_calls.len(), 0);
    let mut control = Control::default();
    control.settle(&mut edge);
    let all = edge.process.borrow().transcript();
    let whole = signing_keys();
    let (_, encoded) = whole.split_once(':').unwrap();
    for secret in [&SECRET[..], encoded.as_bytes(), key.as_bytes()] {
        assert!(!all.windows(secret.len()).any(|part| part == secret));
    }
}
