//! Where a request comes from: address, browser origin, TLS.

use serde_json::json;

use crate::fixture::{Edge, Store, by_header, network};
use crate::host::Request;

/// What a key with these ranges is answered from an address; an empty one is unknown.
#[track_caller]
fn from(allow: &[&str], deny: &[&str], cases: &[(&str, &str)]) {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| {
        row.allow = allow.iter().map(|range| network(range)).collect();
        row.deny = deny.iter().map(|range| network(range)).collect();
    });
    let free = store.issue("beta");
    let mut edge = Edge::start(&store);
    for &(address, code) in cases {
        let from = |request: Request| match address {
            "" => request.without_property(&["source", "address"]),
            address => request.property(&["source", "address"], address),
        };
        assert_eq!(
            edge.ask(&from(by_header(&key))).code(),
            code,
            "from `{address}`"
        );
        assert_eq!(
            edge.ask(&from(by_header(&free))).code(),
            "ok",
            "a key without ranges, from `{address}`"
        );
    }
}

#[test]
fn an_allowed_range_of_ipv4_ends_where_it_ends() {
    from(
        &["192.0.2.0/25", "198.51.100.7/32"],
        &[],
        &[
            ("192.0.2.0:1", "ok"),
            ("192.0.2.127:65535", "ok"),
            ("192.0.2.128:1", "address_denied"),
            ("192.0.1.255:1", "address_denied"),
            ("198.51.100.7:1", "ok"),
            ("198.51.100.6:1", "address_denied"),
            ("[2001:db8::1]:1", "address_denied"),
        ],
    );
}

#[test]
fn an_allowed_range_of_ipv6_ends_where_it_ends() {
    from(
        &["2001:db8:0:8000::/49", "::1/128"],
        &[],
        &[
            ("[2001:db8:0:8000::]:1", "ok"),
            ("[2001:db8:0:ffff:ffff:ffff:ffff:ffff]:1", "ok"),
            ("[2001:db8:0:7fff::1]:1", "address_denied"),
            ("[2001:db8:1::1]:1", "address_denied"),
            ("[::1]:1", "ok"),
            ("192.0.2.1:1", "address_denied"),
        ],
    );
}

#[test]
fn an_ipv4_address_mapped_into_ipv6_counts_as_ipv4() {
    let cases = [
        ("[::ffff:192.0.2.9]:1", "ok"),
        ("[::ffff:c000:209]:1", "ok"),
        ("[::ffff:192.0.3.9]:1", "address_denied"),
    ];
    from(&["192.0.2.0/24"], &[], &cases);
    from(
        &[],
        &["192.0.2.0/24"],
        &[
            ("[::ffff:192.0.2.9]:1", "address_denied"),
            ("[::ffff:192.0.3.9]:1", "ok"),
        ],
    );
}

#[test]
fn a_range_of_mapped_addresses_is_the_range_of_ipv4() {
    let inside = [
        ("127.0.0.1:1", "address_denied"),
        ("[::ffff:127.0.0.1]:1", "address_denied"),
        ("128.0.0.1:1", "ok"),
        ("[::1]:1", "ok"),
    ];
    from(&[], &["::ffff:127.0.0.0/104"], &inside);
    from(
        &["::ffff:192.0.2.0/120"],
        &[],
        &[
            ("192.0.2.9:1", "ok"),
            ("[::ffff:192.0.2.9]:1", "ok"),
            ("192.0.3.9:1", "address_denied"),
            ("[2001:db8::1]:1", "address_denied"),
        ],
    );
    // Wider than what is mapped: closed to IPv4 where it closes, and no more open.
    let wide = [
        ("127.0.0.1:1", "address_denied"),
        ("[::ffff:127.0.0.1]:1", "address_denied"),
    ];
    from(&[], &["::ffff:0:0/90"], &wide);
    from(&["::ffff:0:0/90"], &[], &wide);
}

#[test]
fn a_denied_range_is_denied_also_inside_an_allowed_one() {
    from(
        &["10.0.0.0/8"],
        &["10.1.0.0/16", "10.0.0.9/32"],
        &[
            ("10.0.0.8:1", "ok"),
            ("10.0.0.9:1", "address_denied"),
            ("10.1.2.3:1", "address_denied"),
            ("10.2.0.0:1", "ok"),
        ],
    );
    from(
        &[],
        &["10.0.0.0/8"],
        &[
            ("10.9.9.9:1", "address_denied"),
            ("11.0.0.0:1", "ok"),
            ("[::1]:1", "ok"),
        ],
    );
}

#[test]
fn a_range_of_everything_is_everything_of_its_kind() {
    from(
        &["0.0.0.0/0"],
        &[],
        &[
            ("255.255.255.255:1", "ok"),
            ("0.0.0.0:1", "ok"),
            ("[::1]:1", "address_denied"),
        ],
    );
    from(
        &["::/0"],
        &[],
        &[("[ffff::]:1", "ok"), ("192.0.2.1:1", "address_denied")],
    );
    from(
        &[],
        &["0.0.0.0/0", "::/0"],
        &[
            ("192.0.2.1:1", "address_denied"),
            ("[::1]:1", "address_denied"),
        ],
    );
}

#[test]
fn an_unknown_address_is_refused_where_there_are_rules() {
    let unknown = [
        ("", "address_denied"),
        ("/var/run/pipe", "address_denied"),
        ("192.0.2", "address_denied"),
        ("\u{fffd}", "address_denied"),
    ];
    from(&["0.0.0.0/0", "::/0"], &[], &unknown);
    from(&[], &["203.0.113.0/24"], &unknown);
}

#[test]
fn an_address_without_a_port_is_one_too() {
    from(
        &["192.0.2.0/24", "::1/128"],
        &[],
        &[("192.0.2.1", "ok"), ("::1", "ok")],
    );
}

#[test]
fn what_a_caller_says_of_its_address_counts_for_nothing() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| row.allow = vec![network("10.0.0.0/8")]);
    let request = by_header(&key)
        .header("x-forwarded-for", "10.0.0.1")
        .header("x-envoy-external-address", "10.0.0.1");
    assert_eq!(Edge::start(&store).ask(&request).code(), "address_denied");
}

#[test]
fn a_publishable_key_opens_from_its_origins_alone() {
    let mut store = Store::new();
    let origins = vec![
        "https://app.example".to_owned(),
        "http://localhost:3000".to_owned(),
    ];
    let key = store.issue_as("acme", |row| {
        (row.publishable, row.origins) = (true, origins.clone())
    });
    let mut edge = Edge::start(&store);
    for (origin, code) in [
        ("https://app.example", "ok"),
        ("HTTPS://App.Example", "ok"),
        ("http://localhost:3000", "ok"),
        ("http://localhost", "origin_denied"),
        ("http://app.example", "origin_denied"),
        ("https://app.example.evil.test", "origin_denied"),
        ("https://app.example/", "origin_denied"),
        ("https://app.exampl", "origin_denied"),
        ("null", "origin_denied"),
        ("", "origin_denied"),
    ] {
        assert_eq!(
            edge.ask(&by_header(&key).header("origin", origin)).code(),
            code,
            "`{origin}`"
        );
    }
    assert_eq!(edge.code(&key), "origin_denied", "no origin at all");
    let referer = by_header(&key).header("referer", "https://app.example/");
    assert_eq!(edge.ask(&referer).code(), "origin_denied");
}

/// No browser sends two.
#[test]
fn two_origins_are_not_twice_as_good() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| {
        (row.publishable, row.origins) = (true, vec!["https://app.example".to_owned()])
    });
    let mut edge = Edge::start(&store);
    for [first, second] in [
        ["https://evil.test", "https://app.example"],
        ["https://app.example", "https://evil.test"],
    ] {
        let request = by_header(&key)
            .header("origin", first)
            .header("origin", second);
        assert_eq!(
            edge.ask(&request).code(),
            "origin_denied",
            "{first}, then {second}"
        );
    }
}

#[test]
fn a_publishable_key_without_origins_opens_nowhere() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| row.publishable = true);
    let mut edge = Edge::start(&store);
    assert_eq!(edge.code(&key), "origin_denied");
    assert_eq!(
        edge.ask(&by_header(&key).header("origin", "https://app.example"))
            .code(),
        "origin_denied"
    );
}

#[test]
fn keys_are_looked_at_over_tls_alone_where_the_policy_says_so() {
    let mut store = Store::new().set("require_tls", json!(true));
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    let tls = |version: &str| by_header(&key).property(&["connection", "tls_version"], version);
    assert_eq!(edge.ask(&tls("TLSv1.3")).code(), "ok");
    assert_eq!(edge.ask(&tls("")).code(), "tls_required");
    // The scheme is what the caller says, and so are these.
    let said = by_header(&key)
        .with(":scheme", "https")
        .header("x-forwarded-proto", "https");
    assert_eq!(
        edge.ask(&said.header("forwarded", "proto=https")).code(),
        "tls_required"
    );
    assert_eq!(
        edge.ask(&by_header("hunter2")).code(),
        "tls_required",
        "before the key is looked at"
    );
    assert_eq!(
        edge.ask(&Request::get("/maybe")).code(),
        "tls_required",
        "a route that looks at keys"
    );
    assert_eq!(
        edge.ask(&Request::get("/healthz")).code(),
        "ok",
        "a route that does not"
    );
}

#[test]
fn the_address_is_asked_for_only_where_some_key_has_ranges() {
    let (mut store, key) = Store::small();
    let mut edge = Edge::start(&store);
    edge.process.borrow_mut().calls.clear();
    edge.code(&key);
    assert_eq!(edge.process.borrow().called("proxy_get_property"), 0);
    edge.push(store.change(|store| store.row(&key).allow = vec![network("192.0.2.0/24")]));
    edge.process.borrow_mut().calls.clear();
    assert_eq!(edge.code(&key), "ok");
    assert_eq!(edge.process.borrow().called("proxy_get_property"), 1);
}
