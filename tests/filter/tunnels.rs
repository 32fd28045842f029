//! Open tunnels: they end with their key.

use crate::fixture::{Edge, NOW, Store, by_header};
use crate::host::{Outcome, Request, Stream};

fn upgrade(key: &str) -> Request {
    by_header(key)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
}

fn open(edge: &mut Edge, request: &Request) -> Stream {
    let (stream, outcome) = edge.vm.open(edge.root, request);
    assert!(matches!(outcome, Outcome::Continue { .. }), "{outcome:?}");
    stream
}

/// `open`, or the details of what the filter has ended it with.
fn state(edge: &mut Edge, stream: &Stream) -> String {
    let reply = edge.vm.reply(stream);
    reply.map_or_else(|| "open".to_owned(), |reply| reply.details)
}

#[test]
fn a_tunnel_ends_with_the_push_that_ends_its_key() {
    for (edit, details) in [
        (
            (|store: &mut Store, key: &str| store.row(key).revoked = true) as fn(&mut Store, &str),
            "keystile:revoked_api_key",
        ),
        (
            |store, key| store.row(key).disabled = true,
            "keystile:disabled_api_key",
        ),
        (
            |store, key| store.row(key).expires = Some(NOW),
            "keystile:expired_api_key",
        ),
        (
            |store, _| drop(store.rows.remove(0)),
            "keystile:unknown_api_key",
        ),
    ] {
        let (mut store, key) = Store::small();
        let other = store.issue("rival");
        let mut edge = Edge::start(&store);
        let connect = by_header(&key).with(":method", "CONNECT");
        let doomed = [upgrade(&key), connect].map(|request| open(&mut edge, &request));
        let others = [upgrade(&other), by_header(&key)].map(|request| open(&mut edge, &request));
        edge.add(store.change(|store| edit(store, &key)));
        for stream in &doomed {
            assert_eq!(state(&mut edge, stream), details);
            let (_, told) = edge.vm.left(stream);
            let reason = &told["wasm.keystile.reason"].value;
            assert_eq!(
                details.strip_prefix("keystile:").map(str::as_bytes),
                Some(&reason[..])
            );
        }
        for stream in &others {
            assert_eq!(state(&mut edge, stream), "open", "{details}");
        }
        // It is counted once, however long Envoy takes.
        edge.tick();
        let code = details.trim_start_matches("keystile:");
        let counter = format!("outcome=.={code};.;keystile_tunnels_ended_total");
        assert_eq!(edge.counter(&counter), 2);
        for stream in doomed.into_iter().chain(others) {
            edge.vm.finish(stream).expect("no trap");
        }
    }
}

#[test]
fn a_tunnel_ends_when_its_key_expires_and_when_nothing_is_known_of_it_any_more() {
    for (edit, details) in [
        (
            (|store: &mut Store, key: &str| store.row(key).expires = Some(NOW + 60))
                as fn(&mut Store, &str),
            "keystile:expired_api_key",
        ),
        (
            |store, key| store.row(key).overlap_end = Some(NOW + 60),
            "keystile:expired_api_key:rotated",
        ),
        (
            |store, _| store.policy["not_after"] = "120s".into(),
            "keystile:keyset_unavailable:past_not_after",
        ),
    ] {
        let (mut store, key) = Store::small();
        edit(&mut store, &key);
        let mut edge = Edge::start(&store);
        let stream = open(&mut edge, &upgrade(&key));
        for (seconds, expected) in [(1, "open"), (58, "open"), (1, details)] {
            edge.wait(seconds);
            edge.tick();
            assert_eq!(state(&mut edge, &stream), expected);
        }
        edge.vm.finish(stream).expect("no trap");
    }
}

#[test]
fn a_tunnel_that_is_gone_is_not_asked_about() {
    let (mut store, key) = Store::small();
    let mut edge = Edge::start(&store);
    let stream = open(&mut edge, &upgrade(&key));
    edge.vm.finish(stream).expect("no trap");
    edge.push(store.change(|store| store.row(&key).revoked = true));
    let process = edge.process.borrow();
    assert_eq!(process.called("proxy_set_effective_context"), 0);
    assert_eq!(process.called("proxy_send_local_response"), 0);
}

#[test]
fn the_identity_cannot_be_nominated_away() {
    let (store, key) = Store::small();
    let mut edge = Edge::start(&store);
    let request = upgrade(&key).with("connection", "Upgrade, X-Keystile-Client, x-other");
    let answer = edge.ask(&request);
    let left = answer.headers.get("connection");
    assert_eq!(left.as_deref(), Some("Upgrade, x-other"));
}
