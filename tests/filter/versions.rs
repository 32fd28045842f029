//! Roll-back and expiry of keysets: judged in the VM, never in the verdict, and never to the good of an old one.

use serde_json::json;

use crate::fixture::{Edge, NOW, Store, by_header};
use crate::host::Process;
use keystile_core::keyset::StoreId;

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

/// The first listener's policy is strict, the other's is tried out: each decides by its own, whichever came first, and
/// a revocation in either counts on both.
#[test]
fn a_policy_that_is_tried_on_one_listener_opens_no_other() {
    for trial in [
        ("routes", json!([{"path": "/plain", "auth": "none"}])),
        ("mode", json!("shadow")),
    ] {
        for strict_first in [true, false] {
            let (strict, key) = Store::small();
            let second = strict.clone().set(trial.0, trial.1.clone());
            let mut second = second.clone();
            let open = second.change(|_| {});
            let order = if strict_first {
                [&strict, open]
            } else {
                [open, &strict]
            };
            let mut edge = Edge::start(order[0]);
            edge.tick();
            let first = edge.add(order[1]);
            let roots = if strict_first {
                [first, edge.root]
            } else {
                [edge.root, first]
            };
            // A listener that goes on beside the new one has the newest keys within a second.
            edge.wait(1);
            edge.tick();
            let plain = crate::host::Request::get("/plain");
            assert_eq!(edge.ask_at(roots[0], &plain).code(), "missing_api_key");
            assert_eq!(edge.ask_at(roots[0], &by_header(&key)).code(), "ok");
            assert!(edge.ask_at(roots[1], &plain).passed());
            edge.add(open.change(|store| store.row(&key).revoked = true));
            assert_eq!(
                edge.ask_at(roots[0], &by_header(&key)).code(),
                "revoked_api_key"
            );
            assert_eq!(edge.ask_at(roots[0], &plain).code(), "missing_api_key");
            edge.add(&strict);
            assert_eq!(edge.code(&key), "revoked_api_key", "the same file again");
            assert_eq!(edge.ask(&plain).code(), "missing_api_key");
        }
    }
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

#[test]
fn an_older_file_brings_no_older_policy_back() {
    let (old, new, key) = two_versions();
    let old = old.set("routes", json!([{"path": "/plain", "auth": "none"}]));
    let mut edge = Edge::start(&new);
    let plain = crate::host::Request::get("/plain");
    assert_eq!(edge.ask(&plain).code(), "missing_api_key");
    edge.push(&old);
    assert_eq!(edge.ask(&plain).code(), "missing_api_key");
    assert_eq!(edge.code(&key), "revoked_api_key");
}

/// A process that starts cannot know which listener came first, nor a VM that is made anew.
#[test]
fn a_listener_keeps_its_older_policy_over_restarts_and_crashes() {
    let (old, new, key) = two_versions();
    let old = old.set("routes", json!([{"path": "/plain", "auth": "none"}]));
    let plain = crate::host::Request::get("/plain");
    for newest_first in [true, false] {
        let process = Process::new();
        let (first, second) = if newest_first {
            (&new, &old)
        } else {
            (&old, &new)
        };
        let mut edge = Edge::beside(&process, first);
        let one = edge.add(second);
        let other = edge.root;
        let (strict, lax) = if newest_first {
            (one, other)
        } else {
            (other, one)
        };
        let check = |edge: &mut Edge, strict, lax| {
            edge.wait(1);
            edge.tick();
            assert_eq!(edge.ask_at(strict, &plain).code(), "missing_api_key");
            assert_eq!(edge.ask_at(lax, &plain).code(), "ok");
            let revoked = edge.ask_at(strict, &by_header(&key));
            assert_eq!(revoked.code(), "revoked_api_key");
        };
        check(&mut edge, strict, lax);
        // A VM that is made anew is configured in any order.
        for newest_first in [true, false] {
            let (first, second) = if newest_first {
                (&new, &old)
            } else {
                (&old, &new)
            };
            let mut again = Edge::beside(&process, first);
            let one = again.add(second);
            let other = again.root;
            let (strict, lax) = if newest_first {
                (one, other)
            } else {
                (other, one)
            };
            check(&mut again, strict, lax);
        }
        // Once the listener has left it behind, the file opens nothing any more.
        let replaced = edge
            .vm
            .start_plugin(Some(&new.seal()))
            .expect("it is taken");
        edge.vm.stop_plugin(lax).expect("the old root ends");
        edge.root = strict;
        edge.tick();
        let back = edge
            .vm
            .start_plugin(Some(&old.seal()))
            .expect("it is accepted");
        edge.vm.stop_plugin(replaced).expect("the root ends");
        edge.wait(1);
        edge.tick();
        assert_eq!(edge.ask_at(back, &plain).code(), "missing_api_key");
    }
}

/// What no listener has any more is nobody's own, though it was the newest when the last one left.
#[test]
fn a_file_whose_last_listener_left_opens_nothing_when_a_newer_one_was_there() {
    let (old, new, _) = two_versions();
    let old = old.set("routes", json!([{"path": "/plain", "auth": "none"}]));
    let plain = crate::host::Request::get("/plain");
    let process = Process::new();
    let mut edge = Edge::beside(&process, &old);
    edge.tick();
    assert_eq!(edge.ask(&plain).code(), "ok");
    edge.vm.stop_plugin(edge.root).expect("the root ends");
    let mut edge = Edge::beside(&process, &new);
    edge.tick();
    assert_eq!(edge.ask(&plain).code(), "missing_api_key");
    edge.push(&old);
    assert_eq!(edge.ask(&plain).code(), "missing_api_key");
}

#[test]
fn where_it_cannot_be_noted_that_requests_were_decided_the_next_one_notes_it() {
    let (old, new, _) = two_versions();
    let old = old.set("routes", json!([{"path": "/plain", "auth": "none"}]));
    let plain = crate::host::Request::get("/plain");
    let mut edge = Edge::start(&new);
    let failure = crate::host::Status::InternalFailure;
    (edge.process.borrow_mut()).fail_next("proxy_set_shared_data", failure, 1);
    for _ in 0..2 {
        assert_eq!(edge.ask(&plain).code(), "missing_api_key");
    }
    edge.push(&old);
    assert_eq!(edge.ask(&plain).code(), "missing_api_key");
}

/// A store whose older version opens a path, and the newer one that closes it.
fn open_and_closed() -> (Store, Store, crate::host::Request) {
    let (old, new, _) = two_versions();
    let old = old.set("routes", json!([{"path": "/plain", "auth": "none"}]));
    (old, new, crate::host::Request::get("/plain"))
}

#[test]
fn a_policy_that_is_replaced_before_the_first_tick_stays_replaced() {
    let (old, new, plain) = open_and_closed();
    for ticks_between in [false, true] {
        let mut edge = Edge::start(&old);
        edge.push(&new);
        if ticks_between {
            edge.tick();
        }
        assert_eq!(edge.ask(&plain).code(), "missing_api_key");
        edge.tick();
        edge.push(&old);
        assert_eq!(edge.ask(&plain).code(), "missing_api_key");
        edge.wait(1);
        edge.tick();
        assert_eq!(edge.ask(&plain).code(), "missing_api_key");
    }
}

#[test]
fn a_vm_that_is_made_anew_forgets_what_is_replaced_before_its_first_tick() {
    let (old, new, plain) = open_and_closed();
    let mut crashed = Edge::start(&old);
    crashed.tick();
    assert_eq!(crashed.ask(&plain).code(), "ok");
    let mut edge = Edge::beside(&crashed.process, &old);
    drop(crashed.vm);
    edge.push(&new);
    assert_eq!(edge.ask(&plain).code(), "missing_api_key");
    edge.tick();
    edge.push(&old);
    assert_eq!(edge.ask(&plain).code(), "missing_api_key");
}

#[test]
fn a_listener_that_goes_before_the_first_tick_leaves_nothing_that_opens() {
    let (old, new, plain) = open_and_closed();
    let process = Process::new();
    let mut edge = Edge::beside(&process, &old);
    edge.vm.stop_plugin(edge.root).expect("the root ends");
    let mut edge = Edge::beside(&process, &new);
    assert_eq!(edge.ask(&plain).code(), "missing_api_key");
    edge.tick();
    edge.push(&old);
    assert_eq!(edge.ask(&plain).code(), "missing_api_key");
}

/// Envoy's canary is given one configuration, which may then be left out after all.
#[test]
fn a_canary_neither_notes_nor_forgets_what_a_listener_has() {
    let (old, new, plain) = open_and_closed();
    let process = Process::new();
    let canary = |store: &Store| {
        let mut canary = Edge::beside(&process, store);
        canary.vm.stop_plugin(canary.root).expect("the root ends");
    };
    let mut edge = Edge::beside(&process, &new);
    canary(&old);
    assert_eq!(edge.ask(&plain).code(), "missing_api_key");
    edge.tick();
    edge.push(&old);
    assert_eq!(
        edge.ask(&plain).code(),
        "missing_api_key",
        "no listener had it"
    );

    let process = Process::new();
    let mut edge = Edge::beside(&process, &old);
    assert_eq!(edge.ask(&plain).code(), "ok");
    let mut canary = Edge::beside(&process, &old);
    canary.vm.stop_plugin(canary.root).expect("the root ends");
    let strict = edge.add(&new);
    edge.tick();
    let mut again = Edge::beside(&process, &new);
    let newer = again.add(&old);
    assert_eq!(again.ask(&plain).code(), "ok", "a listener has it");
    assert_eq!(again.ask_at(newer, &plain).code(), "missing_api_key");
    assert_eq!(edge.ask_at(strict, &plain).code(), "ok", "the older one");
}

/// Envoy tries a push in a VM of its own, which right after the start knows of no newer keyset.
#[test]
fn what_the_canary_took_is_no_listeners_own() {
    let (old, new, _) = two_versions();
    let old = old.set("routes", json!([{"path": "/plain", "auth": "none"}]));
    let plain = crate::host::Request::get("/plain");
    let mut worker = Edge::start(&new);
    assert_eq!(worker.ask(&plain).code(), "missing_api_key");
    let canary = Edge::beside(&worker.process, &old);
    worker.push(&old);
    drop(canary);
    assert_eq!(worker.ask(&plain).code(), "missing_api_key");
    worker.tick();
    worker.push(&old);
    assert_eq!(worker.ask(&plain).code(), "missing_api_key");
}
