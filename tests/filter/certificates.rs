//! Keys bound to client certificates: what Envoy says of the connection, and what it leaves unsaid.

use serde_json::json;

use crate::fixture::{Edge, Store, by_header};
use crate::host::Request;

const BILLING: &str = "spiffe://example.org/billing";

/// A connection with a certificate that Envoy checked.
fn proven(request: Request) -> Request {
    presented(request).property(&["connection", "peer_certificate_valid"], [1])
}

/// One with a certificate of which Envoy does not say whether it checked it.
fn presented(request: Request) -> Request {
    request.property(&["connection", "mtls"], [1])
}

fn uri(request: Request, uri: &str) -> Request {
    request.property(&["connection", "uri_san_peer_certificate"], uri)
}

fn dns(request: Request, name: &str) -> Request {
    request.property(&["connection", "dns_san_peer_certificate"], name)
}

fn bound(store: &mut Store, identity: &str) -> String {
    store.issue_as("acme", |row| row.certificates = vec![identity.to_owned()])
}

#[test]
fn a_bound_key_opens_with_its_certificate_alone() {
    let mut store = Store::new();
    let (by_uri, by_dns) = (
        bound(&mut store, BILLING),
        bound(&mut store, "dns:a.example"),
    );
    let free = store.issue("beta");
    let mut edge = Edge::start(&store);
    for (request, [uri_key, dns_key]) in [
        (
            uri(proven(Request::get("/plain")), BILLING),
            ["ok", "certificate_denied"],
        ),
        (
            dns(proven(Request::get("/plain")), "A.Example"),
            ["certificate_denied", "ok"],
        ),
        (
            uri(dns(proven(Request::get("/plain")), "a.example"), BILLING),
            ["ok", "ok"],
        ),
        (
            uri(proven(Request::get("/plain")), "spiffe://example.org/other"),
            ["certificate_denied"; 2],
        ),
        (
            dns(proven(Request::get("/plain")), "b.a.example"),
            ["certificate_denied"; 2],
        ),
        (proven(Request::get("/plain")), ["certificate_denied"; 2]),
        (Request::get("/plain"), ["certificate_denied"; 2]),
    ] {
        for (key, code) in [(&by_uri, uri_key), (&by_dns, dns_key), (&free, "ok")] {
            let request = request.clone().header("x-api-key", key);
            assert_eq!(edge.ask(&request).code(), code, "{:?}", request.properties);
        }
    }
}

/// The names are there before anybody checked the certificate that they stand in.
#[test]
fn names_in_a_certificate_that_is_not_known_to_be_checked_prove_nothing() {
    let mut store = Store::new();
    let key = bound(&mut store, BILLING);
    let mut edge = Edge::start(&store);
    let valid = ["connection", "peer_certificate_valid"];
    let named = || uri(presented(by_header(&key)), BILLING);
    for (request, details) in [
        (named(), "unproven"),
        (named().property(&valid, [0]), "unproven"),
        (named().property(&valid, []), "unproven"),
        (named().property(&valid, "true"), "unproven"),
        (uri(by_header(&key), BILLING), "absent"),
        (
            uri(by_header(&key), BILLING).property(&["connection", "mtls"], [0]),
            "absent",
        ),
        (proven(by_header(&key)), "other"),
    ] {
        let details = format!("keystile:certificate_denied:{details}");
        assert_eq!(edge.ask(&request).reply().details, details);
    }
    // What a caller can send of it says nothing at all.
    let said = by_header(&key).header("x-forwarded-client-cert", format!("URI={BILLING}"));
    assert_eq!(edge.ask(&said).code(), "certificate_denied");
}

#[test]
fn a_policy_can_take_the_listeners_word_for_it() {
    let mut store = Store::new().set("client_certificates", json!("presented"));
    let key = bound(&mut store, BILLING);
    let mut edge = Edge::start(&store);
    assert_eq!(
        edge.ask(&uri(presented(by_header(&key)), BILLING)).code(),
        "ok"
    );
    let other = uri(presented(by_header(&key)), "spiffe://example.org/other");
    assert_eq!(edge.ask(&other).code(), "certificate_denied");
    assert_eq!(
        edge.ask(&uri(by_header(&key), BILLING)).code(),
        "certificate_denied"
    );
}

#[test]
fn a_second_pass_asks_for_the_certificate_again() {
    let mut store = Store::new();
    let key = bound(&mut store, BILLING);
    let mut edge = Edge::start(&store);
    let request = uri(proven(by_header(&key)), BILLING);
    let first = edge.ask(&request);
    assert_eq!(first.code(), "ok");
    let second = request.redirected(&first.outcome, "/plain");
    assert_eq!(edge.ask(&second).code(), "ok");
    let without = second.without_property(&["connection", "mtls"]);
    assert_eq!(edge.ask(&without).code(), "certificate_denied");
}

#[test]
fn in_shadow_mode_a_missing_certificate_is_counted_and_let_through() {
    let mut store = Store::new().set("mode", json!("shadow"));
    let key = bound(&mut store, BILLING);
    let mut edge = Edge::start(&store);
    let answer = edge.ask(&by_header(&key));
    assert!(answer.passed());
    assert_eq!(
        answer.state("reason").as_deref(),
        Some("certificate_denied")
    );
    assert_eq!(edge.counted("certificate_denied"), 1);
}

#[test]
fn the_certificate_is_asked_for_only_where_some_key_is_bound_to_one() {
    let (mut store, key) = Store::small();
    let mut edge = Edge::start(&store);
    edge.process.borrow_mut().calls.clear();
    edge.ask(&uri(proven(by_header(&key)), BILLING));
    assert_eq!(edge.process.borrow().called("proxy_get_property"), 0);
    edge.push(store.change(|store| drop(bound(store, BILLING))));
    edge.process.borrow_mut().calls.clear();
    assert_eq!(edge.code(&key), "ok");
    assert_eq!(
        edge.process.borrow().called("proxy_get_property"),
        1,
        "one question where there is no certificate"
    );
}
