//! Quotas: exact over the workers of one Envoy, and from what others have taken as far as the control plane has said.

use std::time::Duration;

use keystile_core::limit::quota::Zone;
use serde_json::json;

use crate::fixture::{Control, Edge, NOW, Store, by_header};
use crate::host::{Fault, Process, Request, Status};

mod faults;

/// Midnight, UTC, before and after.
const TODAY: u64 = NOW - 8 * 3600;
const TOMORROW: u64 = TODAY + 86_400;

fn day(requests: u64) -> (Store, String) {
    Store::with_quota(json!({"requests": requests, "per": "day"}))
}

fn reporting(requests: u64) -> (Store, String) {
    let (store, key) = day(requests);
    (
        store.set("report", json!({"cluster": "control", "every": "10s"})),
        key,
    )
}

fn admitted(edge: &mut Edge, key: &str, tries: usize) -> usize {
    (0..tries).filter(|_| edge.code(key) == "ok").count()
}

#[test]
fn a_quota_of_three_admits_three_until_the_window_ends_and_then_three_again() {
    let (store, key) = day(3);
    let mut edge = Edge::start(&store);
    assert_eq!(admitted(&mut edge, &key, 10), 3);
    let answer = edge.ask(&by_header(&key));
    assert_eq!(answer.code(), "quota_exceeded");
    assert_eq!(
        answer.field("retry-after"),
        Some((TOMORROW - NOW).to_string())
    );
    edge.wait(TOMORROW - NOW - 1);
    assert_eq!(admitted(&mut edge, &key, 5), 0);
    edge.wait(1);
    assert_eq!(admitted(&mut edge, &key, 10), 3);
}

#[test]
fn a_quota_follows_the_clocks_of_its_time_zone() {
    let quota =
        json!({"requests": 1, "per": "day", "time_zone": "Asia/Tokyo", "rolls_over": {"hour": 18}});
    let (mut store, key) = Store::with_quota(quota);
    store
        .zones
        .insert("Asia/Tokyo".to_owned(), Zone(9 * 3600, Vec::new()));
    // Eight in the morning is five in the afternoon there.
    let mut edge = Edge::start(&store);
    assert_eq!(admitted(&mut edge, &key, 3), 1);
    edge.wait(3599);
    assert_eq!(admitted(&mut edge, &key, 3), 0);
    edge.wait(1);
    assert_eq!(admitted(&mut edge, &key, 3), 1);
}

/// Two keys of one line of rotation, on plans of their own.
fn line_of_two(quotas: [serde_json::Value; 2]) -> (Store, [String; 2]) {
    let (mut store, first) = day(1);
    let [a, b] = quotas;
    store.policy["plans"] = json!({"p": {"quota": a}, "other": {"quota": b}});
    let lineage = store.row(&first).lineage;
    let second = store.issue_as("acme", |row| {
        (row.plan, row.lineage) = (Some("other".to_owned()), lineage);
    });
    (store, [first, second])
}

#[test]
fn quotas_of_different_windows_do_not_share_a_tally() {
    let berlin = json!({"requests": 5, "per": "day", "time_zone": "Europe/Berlin"});
    for first in [json!({"requests": 5, "per": "month"}), berlin] {
        let (mut store, [narrow, wide]) =
            line_of_two([first, json!({"requests": 1000, "per": "day"})]);
        let zone = Zone(3600, Vec::new());
        store.zones.insert("Europe/Berlin".to_owned(), zone);
        let mut edge = Edge::start(&store);
        let (mut through, mut beside) = (0, 0);
        for _ in 0..4 {
            through += admitted(&mut edge, &narrow, 7);
            beside += admitted(&mut edge, &wide, 3);
        }
        assert_eq!((through, beside), (5, 12));
    }
}

#[test]
fn what_one_quota_gives_is_not_taken_from_another_of_the_same_key() {
    let (store, [narrow, wide]) = line_of_two([
        json!({"requests": 5, "per": "month"}),
        json!({"requests": 1000, "per": "day"}),
    ]);
    let mut edge = Edge::start(&store);
    let mut through = 0;
    for _ in 0..5 {
        through += admitted(&mut edge, &narrow, 1);
        assert_eq!(admitted(&mut edge, &wide, 3), 3);
    }
    // The month's five hold for the line as a whole: what its other key took counts.
    assert_eq!(through, 2);
}

#[test]
fn a_change_of_plan_begins_with_what_was_taken() {
    let (mut store, key) = day(1000);
    let mut edge = Edge::start(&store);
    assert_eq!(admitted(&mut edge, &key, 3), 3);
    edge.push(store.change(|store| {
        store.policy["plans"]["p"]["quota"] = json!({"requests": 5, "per": "month"});
    }));
    assert_eq!(admitted(&mut edge, &key, 9), 2);
}

#[test]
fn a_clock_that_steps_forward_and_back_gives_nothing_anew() {
    for ahead in [1, 2, 40, 400] {
        let (store, key) = day(3);
        let mut edge = Edge::start(&store);
        assert_eq!(admitted(&mut edge, &key, 5), 3);
        edge.set_wall(NOW + ahead * 86_400);
        edge.tick();
        assert_eq!(admitted(&mut edge, &key, 5), 3);
        edge.set_wall(NOW);
        edge.tick();
        let answer = edge.ask(&by_header(&key));
        assert_eq!(answer.code(), "quota_exceeded");
        assert_eq!(
            answer.field("retry-after"),
            Some((TOMORROW - NOW).to_string())
        );
    }
}

#[test]
fn it_is_exact_over_workers_pushes_and_crashes() {
    let (mut store, key) = day(20);
    let process = Process::new();
    let mut workers: Vec<Edge> = (0..3).map(|_| Edge::beside(&process, &store)).collect();
    let mut all = 0;
    for n in 0..30 {
        all += admitted(&mut workers[n % 3], &key, 1);
        if n % 7 == 0 {
            workers[n % 3].push(store.change(|_| {}));
        }
        if n % 11 == 0 {
            workers[n % 3] = Edge::beside(&process, &store);
        }
    }
    assert_eq!(all, 20);
}

#[test]
fn it_is_exact_when_workers_draw_at_the_same_moment() {
    let (store, key) = day(4);
    let mut edge = Edge::start(&store);
    edge.code(&key);
    // A rival takes one in the middle of ours.
    let mut rivals = 2;
    edge.process.borrow_mut().rival = Some(Box::new(move |name, value| {
        if !name.starts_with(b"keystile/t/") || rivals == 0 {
            return None;
        }
        rivals -= 1;
        let mut theirs = value?.to_vec();
        let own = u64::from_be_bytes(theirs[32..40].try_into().ok()?) + 1;
        theirs[32..40].copy_from_slice(&own.to_be_bytes());
        Some(theirs)
    }));
    assert_eq!(
        admitted(&mut edge, &key, 10),
        1,
        "one before, two of the rival"
    );
}

#[test]
fn a_key_that_was_rotated_to_draws_on_the_same_quota() {
    let (mut store, key) = day(3);
    let first = store.row(&key).id;
    let next = store.issue_as("acme", |row| {
        row.plan = Some("p".to_owned());
        (row.id, row.lineage) = (first, first);
        row.id = keystile_core::key::KeyId::from_u64(1).unwrap();
    });
    let mut edge = Edge::start(&store);
    assert_eq!(admitted(&mut edge, &key, 2), 2);
    assert_eq!(admitted(&mut edge, &next, 5), 1);
    let other = store.issue_as("acme", |row| row.plan = Some("p".to_owned()));
    edge.push(store.change(|_| {}));
    assert_eq!(admitted(&mut edge, &other, 5), 3, "another key has its own");
}

#[test]
fn who_is_refused_for_another_reason_takes_nothing_from_the_quota() {
    let plans = json!({"p": {
        "limits": [{"requests": 2, "per": "1m"}],
        "quota": {"requests": 4, "per": "day"},
    }});
    let (store, key) = day(4);
    let mut edge = Edge::start(&store.set("plans", plans));
    let closed = by_header(&key).with(":path", "/closed");
    (0..10).for_each(|_| assert_eq!(edge.ask(&closed).code(), "insufficient_scope"));
    assert_eq!(admitted(&mut edge, &key, 10), 2);
    assert_eq!(edge.code(&key), "rate_limited");
    edge.wait(60);
    assert_eq!(admitted(&mut edge, &key, 10), 2, "all four, and not fewer");
    edge.wait(60);
    let answer = edge.ask(&by_header(&key));
    assert_eq!(answer.code(), "quota_exceeded");
    assert_eq!(
        answer.field("ratelimit-policy").as_deref(),
        Some("\"p\";q=2;w=60, \"p-quota\";q=4;w=86400")
    );
    // And who is over the quota takes nothing from the limit.
    (0..5).for_each(|_| assert_eq!(edge.code(&key), "quota_exceeded"));
}

#[test]
fn limits_of_a_keys_own_leave_the_quota_of_its_plan_in_force() {
    let (mut store, key) = day(2);
    let limits = keystile_core::policy::checked_limits(
        "limits",
        &[serde_json::from_value(json!({"requests": 100, "per": "1s"})).unwrap()],
    );
    store.row(&key).limits = limits.unwrap();
    assert_eq!(admitted(&mut Edge::start(&store), &key, 5), 2);
}

#[test]
fn where_the_policy_wants_it_every_answer_says_what_is_left() {
    let plans = json!({"p": {
        "limits": [{"requests": 10, "per": "1m"}],
        "quota": {"requests": 100, "per": "day"},
    }});
    let (store, key) = day(1);
    let store = store
        .set("plans", plans)
        .set("rate_limit_fields", json!("always"));
    let mut edge = Edge::start(&store);
    let upstream = crate::host::Headers::new(&[(":status", "200")]);
    let (_, response) = edge.vm.exchange(edge.root, &by_header(&key), &upstream);
    assert_eq!(
        response.get("ratelimit"),
        Some(format!(
            "\"p\";r=9;t=6, \"p-quota\";r=99;t={}",
            TOMORROW - NOW
        ))
    );
}

#[test]
fn what_others_have_taken_counts_as_soon_as_a_receipt_says_so() {
    let (mut store, key) = reporting(10);
    let lineage = store.row(&key).lineage.to_string();
    let mut edge = Edge::start(&store);
    let mut control = Control::default();
    assert_eq!(admitted(&mut edge, &key, 2), 2);
    control.others.insert(lineage.clone(), (TODAY, 5));
    control.tick(&mut edge);
    assert_eq!(admitted(&mut edge, &key, 10), 3, "2 + 5 + 3");
    // An older receipt, one of yesterday, one of a key nobody has: none of them takes anything back.
    for (window, others) in [
        (TODAY, 1),
        (TODAY - 86_400, 0),
        (TOMORROW, 0),
        (0, u64::MAX),
    ] {
        control.others.insert(lineage.clone(), (window, others));
        control.others.insert("nonsense".to_owned(), (TODAY, 5));
        edge.code(&key);
        edge.wait(13);
        control.tick(&mut edge);
        assert_eq!(edge.code(&key), "quota_exceeded", "{window} {others}");
    }
    // What the operator gives back can be taken again.
    control.others.insert(lineage.clone(), (TODAY, 5));
    control.given_back = 10;
    edge.wait(13);
    control.tick(&mut edge);
    assert_eq!(admitted(&mut edge, &key, 20), 10, "all of it, once");
    control.given_back = 0;
    edge.process
        .borrow_mut()
        .advance(Duration::from_secs(86_400));
    control.others.insert(lineage, (TOMORROW, 8));
    assert_eq!(edge.code(&key), "ok");
    control.tick(&mut edge);
    assert_eq!(admitted(&mut edge, &key, 10), 1, "1 + 8 + 1");
}

/// Two Envoys over one control plane that adds up what it is told.
#[test]
fn two_envoys_let_through_no_more_than_the_quota_and_one_period_of_each_other() {
    let (mut store, key) = reporting(200);
    let lineage = store.row(&key).lineage.to_string();
    let mut edges = [Edge::start(&store), Edge::start(&store)];
    let mut control = [Control::default(), Control::default()];
    edges[1].process.borrow_mut().node = b"edge-2".to_vec();
    let (mut all, mut most_in_a_period, mut period) = (0, 0, 0);
    for second in 0..120 {
        for n in 0..2 {
            let let_through = admitted(&mut edges[n], &key, 3);
            all += let_through;
            period += let_through;
            let others: u64 = control[1 - n]
                .batches
                .values()
                .flat_map(|b| {
                    b.rows
                        .iter()
                        .filter(|r| b.outcomes[r.outcome as usize] == "ok")
                        .map(|r| r.requests)
                })
                .sum();
            control[n].others.insert(lineage.clone(), (TODAY, others));
            let [a, b] = &mut edges;
            control[n].tick([a, b][n]);
            edges[n].wait(1);
        }
        if second % 11 == 10 {
            most_in_a_period = period.max(most_in_a_period);
            period = 0;
        }
    }
    assert!(all >= 200, "{all}");
    assert!(
        all <= 200 + most_in_a_period,
        "{all}, {most_in_a_period} a period"
    );
    assert!(edges.iter_mut().all(|e| e.code(&key) == "quota_exceeded"));
}

#[test]
fn a_request_with_quota_and_limit_makes_three_more_calls_and_open_routes_none() {
    let plans = |quota| json!({"p": {"limits": [{"requests": 1000, "per": "1s"}], "quota": quota}});
    let calls = |quota| {
        let (store, key) = day(1);
        let mut edge = Edge::start(&store.set("plans", plans(quota)));
        edge.code(&key);
        edge.process.borrow_mut().calls.clear();
        edge.code(&key);
        edge.process.borrow().calls.values().sum::<u64>()
    };
    let without = calls(json!(null));
    assert_eq!(calls(json!({"requests": 100, "per": "month"})), without + 3);
    let (store, _) = day(1);
    let mut edge = Edge::start(&store);
    edge.tick();
    edge.process.borrow_mut().calls.clear();
    edge.ask(&Request::get("/plain"));
    assert_eq!(edge.process.borrow().called("proxy_get_shared_data"), 0);
}
