//! Roll-back and expiry of keysets: judged in the VM, never in the verdict, and never to the good of an old one.

use serde_json::json;

use crate::fixture::{Edge, NOW, Store, by_header};
use crate::host::Process;
use keystile::keyset::StoreId;

const OLDER: &str = "reason=.=older_version;.;keystile_pushes_refused_total";

/// A store at version 5, with a key; and the same store at version 4, before the key was revoked there.
fn two_versions() -> (Store, Store, String) {
    let (mut old, key) = Store::small();
    old.version = 4;
    let mut new = old.clone();
    new.change(|store| store.row(&key).revoked = true);
    (old, new, key)
}

#[test]
fn an_older_version_is_accepted_and_not_taken() {
    let (old, new, key) = two_versions();
    let mut edge = Edge::start(&new);
    edge.push(&old);
    assert_eq!(edge.code(&key), "revoked_api_key");
    assert_eq!(edge.counter(OLDER), 1);
    assert!(edge.process.borrow().logged("version 4 is older than 5"));
}

#[test]
fn a_newer_and_an_equal_version_are_taken() {
    let (old, new, key) = two_versions();
    let mut edge = Edge::start(&old);
    assert_eq!(edge.code(&key), "ok");
    edge.push(&new);
    assert_eq!(edge.code(&key), "revoked_api_key");
    // The same version with another nonce: what a push of the same store is.
    let mut again = new.clone();
    again.nonce += 1;
    let other = again.issue("beta");
    edge.push(&again);
    assert_eq!(edge.code(&other), "ok", "it is really taken");
    assert_eq!(edge.counter(OLDER), 0);
}

#[test]
fn a_fresh_vm_does_not_fall_behind_what_a_living_one_had_in_force() {
    let (old, new, key) = two_versions();
    let mut first = Edge::start(&new);
    first.tick();
    let mut second = Edge::beside(&first.process, &old);
    let answer = second.ask(&by_header(&key));
    assert_eq!(
        answer.reply().details,
        "keystile:keyset_unavailable:none_in_force"
    );
    assert_eq!(answer.reply().status, 503);
    assert_eq!(second.counter(OLDER), 1);
    second.push(&new);
    assert_eq!(second.code(&key), "revoked_api_key");
}

#[test]
fn a_vm_that_never_ticked_raises_no_floor_because_the_canary_may_be_overruled() {
    let (old, new, key) = two_versions();
    let canary = Edge::start(&new);
    let mut worker = Edge::beside(&canary.process, &old);
    assert_eq!(worker.code(&key), "ok");
}

#[test]
fn the_floor_never_sinks() {
    let (old, new, key) = two_versions();
    let process = Process::new();
    let (mut lagging, mut first) = (Edge::beside(&process, &old), Edge::beside(&process, &new));
    first.tick();
    lagging.tick();
    assert_eq!(
        lagging.code(&key),
        "ok",
        "it keeps what it has until the push reaches it"
    );
    assert_eq!(
        Edge::beside(&process, &old).code(&key),
        "keyset_unavailable"
    );
}

#[test]
fn another_store_has_versions_of_its_own() {
    let (mut other, other_key) = Store::small();
    other.id = StoreId(*b"another!");
    let (_, mut new, key) = two_versions();
    new.version = 1000;
    let mut edge = Edge::start(&new);
    edge.tick();
    let first = edge.add(&other);
    assert_eq!(edge.code(&other_key), "ok");
    assert_eq!(
        edge.ask_at(first, &by_header(&key)).code(),
        "revoked_api_key"
    );
    assert_eq!(Edge::beside(&edge.process, &other).code(&other_key), "ok");
    assert_eq!(edge.counter(OLDER), 0);
}

/// The VM keeps the last good keyset, says the design: also when a push is not taken because of the floor alone.
#[test]
fn a_push_that_is_not_taken_leaves_the_keyset_in_force_alone() {
    let (mut store, key) = Store::small();
    let process = Process::new();
    let mut worker = Edge::beside(&process, &store);
    let between = store.change(|_| {}).clone();
    Edge::beside(&process, store.change(|_| {})).tick();
    assert_eq!(worker.code(&key), "ok");
    worker.push(&between);
    assert_eq!(
        worker.counter(OLDER),
        1,
        "version 2 is older than the 3 that another VM has"
    );
    assert_eq!(worker.code(&key), "ok", "version 1 is still in force here");
}

#[test]
fn past_its_not_after_a_keyset_is_accepted_and_opens_nothing() {
    let (store, key) = Store::small();
    let mut store = store.set("not_after", json!("2m"));
    store.issued_at = NOW - 120;
    let mut edge = Edge::start(&store);
    let answer = edge.ask(&by_header(&key));
    assert_eq!(
        answer.reply().details,
        "keystile:keyset_unavailable:past_not_after"
    );
    edge.set_wall(NOW - 1);
    assert_eq!(edge.code(&key), "ok", "one second earlier");
    edge.set_wall(NOW);
    assert_eq!(edge.code(&key), "keyset_unavailable");
    store.issued_at = NOW;
    edge.push(&store);
    assert_eq!(edge.code(&key), "ok", "issued anew, at the same version");
}

#[test]
fn a_stale_keyset_in_shadow_mode_lets_everything_through() {
    let (store, key) = Store::small();
    let store = store
        .set("not_after", json!("2m"))
        .set("mode", json!("shadow"));
    let mut edge = Edge::start(&store);
    edge.wait(3600);
    let answer = edge.ask(&by_header(&key));
    assert!(answer.passed());
    assert_eq!(answer.state("client").as_deref(), Some("-"));
    assert_eq!(
        answer.state("reason").as_deref(),
        Some("keyset_unavailable")
    );
}

#[test]
fn without_any_keyset_even_open_routes_are_closed() {
    let (mut old, _) = Store::small();
    old = old.set("routes", json!([{"path": "/healthz", "auth": "none"}]));
    old.version = 1;
    let mut new = old.clone();
    let mut first = Edge::start(new.change(|_| {}));
    first.tick();
    let mut second = Edge::beside(&first.process, &old);
    assert_eq!(
        second.ask(&crate::host::Request::get("/healthz")).code(),
        "keyset_unavailable"
    );
}
