//! A push gives the VM a new root context: what survives it, what ends with it, and what two listeners share.

use keystile_core::keyset::StoreId;
use serde_json::json;

use crate::fixture::{Edge, Store, by_header};
use crate::host::{Headers, Outcome, Process, Request};

#[test]
fn a_revocation_is_in_force_on_the_old_root_too() {
    let (mut store, key) = Store::small();
    let mut edge = Edge::start(&store);
    let old = edge.add(store.change(|store| store.row(&key).revoked = true));
    assert_eq!(edge.ask_at(old, &by_header(&key)).code(), "revoked_api_key");
    assert_eq!(edge.code(&key), "revoked_api_key");
}

#[test]
fn two_listeners_share_one_keyset() {
    let (mut store, key) = Store::small();
    let mut edge = Edge::start(&store);
    let first = edge.root;
    edge.add(&store);
    let second = edge.root;
    edge.add(store.change(|store| store.row(&key).disabled = true));
    for root in [first, second, edge.root] {
        assert_eq!(
            edge.ask_at(root, &by_header(&key)).code(),
            "disabled_api_key"
        );
    }
    edge.vm.stop_plugin(edge.root).expect("it ends");
    assert_eq!(
        edge.ask_at(first, &by_header(&key)).code(),
        "disabled_api_key",
        "also when its own root is gone"
    );
}

#[test]
fn the_keyset_goes_with_the_last_root_of_its_store() {
    let (store, key) = Store::small();
    let (mut other, other_key) = Store::small();
    other.id = StoreId(*b"another!");
    let mut edge = Edge::start(&store);
    let first = edge.add(&other);
    edge.vm.stop_plugin(first).expect("it ends");
    assert_eq!(edge.code(&other_key), "ok");
    assert_eq!(
        edge.gauge("keystile_keyset_keys"),
        None,
        "nothing ticked yet"
    );
    edge.tick();
    assert_eq!(
        edge.gauge("keystile_keyset_keys"),
        Some(1),
        "the other store's keys alone"
    );
    edge.add(&store);
    assert_eq!(edge.code(&key), "ok");
    edge.tick();
    assert_eq!(edge.gauge("keystile_keyset_keys"), Some(2));
}

#[test]
fn streams_in_flight_end_well_across_a_push() {
    let (store, key) = Store::limited(json!([{"requests": 5, "per": "1m"}]));
    let mut store = store.set("rate_limit_fields", json!("always"));
    let mut edge = Edge::start(&store);
    let (stream, outcome) = edge.vm.open(edge.root, &by_header(&key));
    assert!(matches!(outcome, Outcome::Continue { .. }));
    let old = edge.add(store.change(|store| store.row(&key).revoked = true));
    let response = edge
        .vm
        .respond(&stream, Headers::new(&[(":status", "200")]))
        .expect("no trap");
    assert_eq!(
        response.get("ratelimit").as_deref(),
        Some("\"p\";r=4;t=12"),
        "decided under the old keyset"
    );
    edge.vm.finish(stream).expect("no trap");
    assert_eq!(edge.vm.stop_plugin(old), Ok(true));
    assert_eq!(edge.code(&key), "revoked_api_key");
}

#[test]
fn a_root_stops_ticking_when_it_is_done() {
    let (store, _) = Store::small();
    let mut edge = Edge::start(&store);
    assert!(edge.vm.tick_period(edge.root) > 0);
    let periods = || {
        edge.process
            .borrow()
            .called("proxy_set_tick_period_milliseconds")
    };
    let before = periods();
    let root = edge.root;
    edge.vm.stop_plugin(root).expect("it ends");
    assert_eq!(
        edge.process
            .borrow()
            .called("proxy_set_tick_period_milliseconds"),
        before + 1
    );
    assert!(before >= 1);
}

#[test]
fn ticks_come_soon_and_then_once_a_second() {
    let mut edge = Edge::start(&Store::small().0);
    assert!((1..=200).contains(&edge.vm.tick_period(edge.root)));
    edge.tick();
    assert_eq!(edge.vm.tick_period(edge.root), 1000);
    edge.tick();
    assert_eq!(edge.vm.tick_period(edge.root), 1000);
}

/// The host gives a second plugin with the same name and configuration the root that is there.
#[test]
fn a_root_that_is_configured_again_with_what_it_has_falls_not_behind() {
    let (mut store, key) = Store::small();
    let old = store.clone();
    let mut edge = Edge::start(&old);
    let first = edge.root;
    edge.add(store.change(|store| store.row(&key).revoked = true));
    edge.vm.stop_plugin(edge.root).expect("it ends");
    assert_eq!(
        edge.ask_at(first, &by_header(&key)).code(),
        "revoked_api_key"
    );
    assert_eq!(edge.vm.configure(first, Some(&old.seal())), Ok(first));
    assert_eq!(
        edge.ask_at(first, &by_header(&key)).code(),
        "revoked_api_key"
    );
}

#[test]
fn a_refused_configuration_changes_nothing_for_the_other_vms() {
    let (mut store, key) = Store::small();
    let process = Process::new();
    let mut worker = Edge::beside(&process, &store);
    let mut canary = Edge::beside(&process, &store);
    let mut bad = store.change(|store| store.row(&key).revoked = true).seal();
    let middle = bad.len() / 2;
    bad.truncate(middle);
    assert!(canary.vm.start_plugin(Some(&bad)).is_err());
    assert_eq!(worker.code(&key), "ok");
}

/// Linear memory never shrinks: what a push needs must be there from the pushes before, once the
/// allocator has found its places.
#[test]
fn pushes_do_not_make_the_vm_grow() {
    let (mut store, key) = Store::small();
    for n in 0..2_000 {
        store.issue_as(&format!("client-{n}"), |row| {
            row.origins = vec![format!("https://{n}.example")]
        });
    }
    let mut edge = Edge::start(&store);
    for _ in 0..20 {
        edge.push(store.change(|_| {}));
        edge.tick();
    }
    let before = edge.vm.memory();
    for _ in 0..40 {
        edge.push(store.change(|_| {}));
        assert_eq!(edge.code(&key), "ok");
        edge.tick();
    }
    assert_eq!(edge.vm.memory(), before);
}

#[test]
fn requests_do_not_make_the_vm_grow() {
    let (store, key) = Store::limited(json!([{"requests": 1_000_000, "per": "1s"}]));
    let mut edge = Edge::start(&store);
    let requests = [
        by_header(&key),
        by_header("hunter2"),
        Request::get("/plain"),
        by_header(&"x".repeat(10_000)),
    ];
    let round = |edge: &mut Edge| requests.iter().for_each(|request| drop(edge.ask(request)));
    (0..50).for_each(|_| round(&mut edge));
    let before = edge.vm.memory();
    (0..500).for_each(|_| round(&mut edge));
    assert_eq!(edge.vm.memory(), before);
}
