//! Roll-back and expiry of keysets: judged in the VM, never in the verdict, and never to the good of an old one.

use serde_json::json;

use crate::fixture::{Edge, NOW, Store, by_header};
use crate::host::Process;
use keystile_core::keyset::StoreId;

mod listeners;

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

/// The last VMs may go with their listener right after a push.
#[test]
fn what_a_living_vm_takes_counts_before_its_next_tick() {
    let (old, new, key) = two_versions();
    let mut first = Edge::start(&old);
    first.tick();
    first.push(&new);
    let mut second = Edge::beside(&first.process, &old);
    assert_eq!(second.code(&key), "keyset_unavailable");
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

/// Tables of scopes and plans differ between the policy and the keys: names count, not numbers.
#[test]
fn scopes_and_plans_of_another_keyset_are_told_by_their_names() {
    let mut strict = Store::with(json!({
        "plans": {"p": {"limits": [{"requests": 1, "per": "1h"}]}},
        "routes": [{"path": "/plain", "scopes": ["m"]}],
    }));
    let holds = strict.issue_as("acme", |row| row.scopes = vec!["m".into()]);
    let lacks = strict.issue_as("beta", |row| row.scopes = vec!["z".into()]);
    let limited = strict.issue_as("gamma", |row| {
        row.scopes = vec!["m".into()];
        row.plan = Some("p".into());
    });
    let mut other = strict.clone().set(
        "routes",
        json!([{"path": "/plain", "scopes": ["a"]}, {"path": "/b", "scopes": ["b", "c"]}]),
    );
    other = other.set(
        "plans",
        json!({"a": {"limits": []}, "p": {"limits": [{"requests": 100, "per": "1h"}]},
               "z": {"limits": [{"requests": 2, "per": "1h"}]}}),
    );
    let newest = other.change(|_| {});
    let unknown = newest.issue_as("delta", |row| {
        row.scopes = vec!["a".into(), "m".into()];
        row.plan = Some("z".into());
    });
    let mut edge = Edge::start(&strict);
    let first = edge.add(newest);
    // A listener that goes on beside the new one has the newest keys within a second.
    edge.wait(1);
    edge.tick();
    let mut code = |key: &str| edge.ask_at(first, &by_header(key)).code();
    assert_eq!([code(&holds), code(&lacks)], ["ok", "insufficient_scope"]);
    assert_eq!([code(&limited), code(&limited)], ["ok", "rate_limited"]);
    let codes = [code(&unknown), code(&unknown), code(&unknown)];
    assert_eq!(
        codes,
        ["ok", "ok", "rate_limited"],
        "as it is defined elsewhere"
    );
    let answer = edge.ask_at(first, &by_header(&unknown));
    assert!(!answer.passed());
    let answer = edge.ask_at(first, &by_header(&holds));
    assert_eq!(
        answer.headers.get("x-keystile-scopes").as_deref(),
        Some("m")
    );
}

/// The numbers of scopes are the keys' own; which of them a publishable key keeps, the listener's policy says by name.
#[test]
fn the_scopes_that_a_publishable_key_tells_are_judged_by_name() {
    let strict = Store::with(json!({
        "publishable": {"scopes": ["m"]},
        "routes": [{"path": "/plain", "scopes": ["m"]}],
    }));
    let mut other = strict
        .clone()
        .set("routes", json!([{"path": "/b", "scopes": ["b", "c"]}]));
    let newest = other.change(|_| {});
    let key = newest.issue_as("web", |row| {
        row.publishable = true;
        row.origins = vec!["https://a.example".into()];
        row.scopes = vec!["a".into(), "m".into()];
    });
    let mut edge = Edge::start(&strict);
    let first = edge.add(newest);
    // A listener that goes on beside the new one has the newest keys within a second.
    edge.wait(1);
    edge.tick();
    let request = by_header(&key).header("origin", "https://a.example");
    let answer = edge.ask_at(first, &request);
    assert_eq!(answer.code(), "ok");
    let scopes = answer.headers.get("x-keystile-scopes");
    assert_eq!(scopes.as_deref(), Some("m"));
}
