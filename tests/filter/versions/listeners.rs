//! Listeners whose keysets differ in age.

use super::*;

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
