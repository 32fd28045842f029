//! Addresses that try unknown keys: slowed over all workers, and at no cost to anybody else.

use serde_json::json;

use crate::fixture::{Edge, Store, by_header};
use crate::host::{Process, Request, Status};

/// Three at once, and one every twenty seconds.
fn store() -> (Store, String) {
    let field = json!({"attempts": 3, "per": "1m"});
    let mut store = Store::new().set("brute_force", field);
    let key = store.issue("acme");
    (store, key)
}

/// A key that is shaped as ours are, and was never issued here.
fn unknown() -> String {
    // Every store issues the same keys in the same order.
    let mut other = Store::new();
    other.issue("acme");
    other.issue("stranger")
}

fn from(address: &str, key: &str) -> Request {
    by_header(key).property(&["source", "address"], address)
}

const HERE: &str = "198.51.100.7:4711";

/// Of several workers in turn.
fn codes(edges: &mut [Edge], request: &Request, times: usize) -> Vec<String> {
    let workers = edges.len();
    (0..times)
        .map(|n| edges[n % workers].ask(request).code())
        .collect()
}

#[test]
fn an_address_is_slowed_over_all_workers_and_a_known_key_of_it_passes() {
    let (store, key) = store();
    let process = Process::new();
    let mut edges = [(); 3].map(|()| Edge::beside(&process, &store));
    let (stranger, good) = (from(HERE, &unknown()), from(HERE, &key));
    let mut want = vec!["unknown_api_key"; 3];
    want.extend(["too_many_attempts"; 4]);
    assert_eq!(codes(&mut edges, &stranger, 7), want);
    assert_eq!(codes(&mut edges, &good, 3), ["ok"; 3]);
    let elsewhere = from("198.51.100.8:4711", &unknown());
    assert_eq!(codes(&mut edges, &elsewhere, 1), ["unknown_api_key"]);

    let answer = edges[0].ask(&stranger);
    assert_eq!(answer.reply().status, 429);
    assert_eq!(answer.field("retry-after").as_deref(), Some("20"));
    assert_eq!(answer.field("www-authenticate"), None);
    assert!(!answer.passes_guard());
    edges[0].wait(20);
    let again = ["unknown_api_key", "too_many_attempts"];
    assert_eq!(codes(&mut edges, &stranger, 2), again);
}

#[test]
fn a_push_forgives_nothing_and_without_the_field_nobody_is_slowed() {
    let (mut store, _) = store();
    let stranger = from(HERE, &unknown());
    let mut edge = Edge::start(&store);
    for _ in 0..3 {
        edge.ask(&stranger);
    }
    edge.push(store.change(|_| {}));
    assert_eq!(edge.ask(&stranger).code(), "too_many_attempts");
    edge.push(store.change(|store| {
        store.policy.as_object_mut().unwrap().remove("brute_force");
    }));
    assert_eq!(edge.ask(&stranger).code(), "unknown_api_key");
}

#[test]
fn only_an_unknown_key_costs_anything() {
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    // The first request of a worker does more than others.
    edge.code(&key);
    let mut cost = |request: &Request| {
        let names = [
            "proxy_get_property",
            "proxy_get_shared_data",
            "proxy_set_shared_data",
        ];
        let before = names.map(|name| edge.process.borrow().called(name));
        edge.ask(request);
        let after = names.map(|name| edge.process.borrow().called(name));
        [0, 1, 2].map(|n| after[n] - before[n])
    };
    assert_eq!(cost(&from(HERE, &key)), [0, 0, 0]);
    assert_eq!(cost(&from(HERE, "hunter2")), [0, 0, 0]);
    assert_eq!(cost(&from(HERE, &unknown())), [1, 1, 1]);
    for _ in 0..2 {
        cost(&from(HERE, &unknown()));
    }
    assert_eq!(
        cost(&from(HERE, &unknown())),
        [1, 1, 0],
        "a refusal writes nothing"
    );
}

#[test]
fn without_an_address_nobody_is_slowed_and_with_odd_or_contended_data_everybody_is() {
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    let nowhere = by_header(&unknown()).without_property(&["source", "address"]);
    for _ in 0..5 {
        assert_eq!(edge.ask(&nowhere).code(), "unknown_api_key");
    }
    let stranger = from(HERE, &unknown());
    edge.process.borrow_mut().lose_swaps = 64;
    let answer = edge.ask(&stranger);
    assert_eq!(answer.code(), "too_many_attempts");
    assert_eq!(answer.field("retry-after").as_deref(), Some("1"));
    assert_eq!(edge.ask(&stranger).code(), "unknown_api_key");

    let mut process = edge.process.borrow_mut();
    let mut sets = process.shared_data.iter_mut();
    let (_, (value, _)) = sets
        .find(|(key, _)| key.starts_with(b"keystile/attempts/"))
        .unwrap();
    *value = b"somebody else's".to_vec();
    drop(process);
    assert_eq!(edge.ask(&stranger).code(), "too_many_attempts");
    assert_eq!(edge.ask(&from(HERE, &key)).code(), "ok");
    let name = "proxy_get_shared_data";
    edge.process
        .borrow_mut()
        .fail_next(name, Status::InternalFailure, 1);
    assert_eq!(
        edge.ask(&from("203.0.113.1:1", &unknown())).code(),
        "too_many_attempts"
    );
}

#[test]
fn very_many_addresses_take_a_bounded_part_of_shared_data() {
    let (store, _) = store();
    let mut edge = Edge::start(&store);
    let key = unknown();
    for n in 0..20_000u32 {
        let address = std::net::Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761));
        let answer = edge.ask(&from(&format!("{address}:1"), &key));
        assert_eq!(answer.code(), "unknown_api_key");
    }
    let process = edge.process.borrow();
    let ours = process.shared_data.iter();
    let ours: Vec<_> = ours
        .filter(|(key, _)| key.starts_with(b"keystile/attempts/"))
        .collect();
    assert!((2_000..=2_048).contains(&ours.len()), "{}", ours.len());
    assert!(ours.iter().all(|(_, (value, _))| value.len() == 128));
}
