//! Clients that send what no honest one would, as bytes on a socket.

mod paths;
mod tunnelled;

use crate::fixture::{Keys, id};
use crate::support::{Envoy, Request, Setup, Upstream, echoed, get, raw::Raw, request};
use keystile_core::keyset::Network;

const POLICY: &str = r#"
version: 1
credentials:
  - { header: authorization, scheme: Bearer }
  - { header: x-api-key }
  - { query: api_key }
routes:
  - { path: /public, auth: none }
  - { path: "/public/{*rest}", auth: none }
  - { path: "/v1/{*rest}" }
  - { path: "/admin/{*rest}", scopes: [admin] }
"#;

#[test]
fn bytes_that_are_no_text_end_in_a_refusal_and_not_in_a_trap() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = keys.start(&upstream);
    let raw: [&[u8]; 5] = [
        b"\xff",
        b"ab\xff",
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\xf8\x88\x80\x80\x80",
    ];

    for bytes in raw {
        let bearer = [b"Bearer ", bytes].concat();
        let answer = envoy.send(&get("/v1/a").header("x-api-key", bytes));
        assert_eq!(
            answer.code().as_deref(),
            Some("malformed_api_key"),
            "{bytes:?}"
        );
        let answer = envoy.send(&get("/v1/a").header("authorization", bearer));
        assert_eq!(
            answer.code().as_deref(),
            Some("malformed_api_key"),
            "{bytes:?}"
        );
        // In places that the filter does not read for keys.
        let around = get("/v1/a")
            .bearer(&key)
            .header("x-other", bytes)
            .header("origin", bytes)
            .header("x-keystile-client", bytes);
        let answer = envoy.send(&around);
        assert_eq!(answer.status, 200, "{bytes:?}");
        assert_eq!(echoed(&answer.json()).header("x-keystile-client"), ["acme"]);
    }
    untouched(&envoy);
}

#[test]
fn a_header_of_a_hundred_kilobytes_is_no_key_and_no_danger() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let setup = Setup::ecds(&upstream).edit(
        "stat_prefix: public",
        "stat_prefix: public\n          max_request_headers_kb: 1024",
    );
    let envoy = keys.start_on(setup);
    let huge = "k".repeat(100 * 1024);

    let answer = envoy.send(&get("/v1/a").header("x-api-key", &huge));
    assert_eq!(answer.code().as_deref(), Some("malformed_api_key"));
    let answer = envoy.send(&get(format!("/v1/a?api_key={huge}")));
    assert_eq!(answer.code().as_deref(), Some("malformed_api_key"));
    let answer = envoy.send(&get("/v1/a").bearer(&key).header("x-other", &huge));
    assert_eq!(answer.status, 200);
    let answer = envoy.send(&get(format!("/v1/a?x={huge}")).bearer(&key));
    assert_eq!(answer.status, 200);
    untouched(&envoy);
}

#[test]
fn several_keys_are_refused_in_whatever_way_they_are_sent() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let other = keys.issue("rival");
    let envoy = keys.start(&upstream);
    let code = |request| envoy.send(&request).code();

    let two_lines = get("/v1/a").bearer(&key).bearer(&other);
    assert_eq!(code(two_lines).as_deref(), Some("multiple_api_keys"));
    let joined = get("/v1/a").header("authorization", format!("Bearer {key}, Bearer {other}"));
    assert_eq!(code(joined).as_deref(), Some("multiple_api_keys"));
    let headers = get("/v1/a")
        .header("x-api-key", &key)
        .header("X-API-Key", &other);
    assert_eq!(code(headers).as_deref(), Some("multiple_api_keys"));
    let query = get(format!("/v1/a?api_key={key}&api_key={other}"));
    assert_eq!(code(query).as_deref(), Some("multiple_api_keys"));
    let mixed = get(format!("/v1/a?api_key={other}")).bearer(&key);
    assert_eq!(code(mixed).as_deref(), Some("multiple_api_keys"));
    assert_eq!(upstream.requests(), 0);

    // The same key twice is one key.
    let same = get("/v1/a")
        .bearer(&key)
        .bearer(&key)
        .header("x-api-key", &key);
    let answer = envoy.send(&same);
    assert_eq!(answer.status, 200);
    assert!(!answer.text().contains(&key));
}

#[test]
fn pipelined_requests_are_each_decided_by_their_own_key() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = keys.start(&upstream);
    let allowed = [
        get("/v1/a").bearer(&key),
        request("POST", "/v1/b").bearer(&key).body("four"),
        get("/public/c"),
    ];
    let refused = [get("/v1/d"), get("/admin/e").bearer(&key), get("/f")];

    for order in [[0, 1, 2], [0, 3, 1], [3, 0, 1], [0, 3, 4], [4, 5, 0]] {
        let chosen = order.map(|n| allowed.iter().chain(&refused).nth(n).unwrap());
        let expected = order.map(|n| [200, 200, 200, 401, 403, 403][n]);
        let bytes: Vec<u8> = chosen.into_iter().flat_map(Request::to_bytes).collect();
        let before = upstream.requests();
        let mut client = envoy.client();
        client.write(&bytes).unwrap();

        let answers: Vec<_> = std::iter::from_fn(|| client.read("GET").ok())
            .take(3)
            .collect();

        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        // Envoy closes connections that pipeline behind refusals; what it answers is
        // answered in order, and right.
        assert!(
            !statuses.is_empty() && expected.starts_with(&statuses),
            "{order:?} {statuses:?}"
        );
        let through = expected.iter().filter(|status| **status == 200).count();
        assert!(upstream.requests() - before <= through, "{order:?}");
    }
}

#[test]
fn a_body_that_looks_like_a_request_is_a_body() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = keys.start(&upstream);
    let hidden = get("/admin/x").bearer(&key).to_bytes();

    // Both lengths: readers that believe different ones would see two requests.
    let smuggled = request("POST", "/v1/a")
        .bearer(&key)
        .header("content-length", hidden.len().to_string())
        .header("transfer-encoding", "chunked");
    let mut bytes = smuggled.to_bytes();
    bytes.extend(b"0\r\n\r\n");
    bytes.extend(&hidden);
    let mut client = envoy.client();
    client.write(&bytes).unwrap();
    assert_eq!(client.read("POST").unwrap().status, 400);
    assert_eq!(upstream.requests(), 0);

    let honest = request("POST", "/v1/a").bearer(&key).body(&hidden);
    assert_eq!(envoy.send(&honest).status, 200);
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn a_range_of_mapped_addresses_binds_callers_of_ipv4() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let mapped = |address: &str, prefix_len| Network {
        address: address.parse().unwrap(),
        prefix_len,
    };
    let denied = keys.issue_with("acme", |row| {
        row.deny = vec![mapped("::ffff:127.0.0.0", 104)]
    });
    let wide = keys.issue_with("acme", |row| row.deny = vec![mapped("::ffff:0:0", 90)]);
    let allowed = keys.issue_with("acme", |row| {
        row.allow = vec![mapped("::ffff:127.0.0.0", 104)]
    });
    let elsewhere = keys.issue_with("acme", |row| {
        row.allow = vec![mapped("::ffff:10.0.0.0", 104)]
    });
    let opened = keys.issue_with("acme", |row| row.allow = vec![mapped("::", 0)]);
    let envoy = keys.start(&upstream);
    let code = |key: &str| envoy.send(&get("/v1/a").bearer(key)).code();

    for key in [&denied, &wide, &elsewhere, &opened] {
        assert_eq!(code(key).as_deref(), Some("address_denied"));
    }
    assert_eq!(upstream.requests(), 0);
    assert_eq!(envoy.send(&get("/v1/a").bearer(&allowed)).status, 200);
}

#[test]
fn headers_that_proxies_believe_do_not_move_the_route_or_the_address() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let network = |address: [u8; 4]| Network {
        address: address.into(),
        prefix_len: 8,
    };
    let office = keys.issue_with("acme", |row| row.allow = vec![network([10, 0, 0, 0])]);
    let here = keys.issue_with("acme", |row| row.allow = vec![network([127, 0, 0, 0])]);
    let not_here = keys.issue_with("acme", |row| row.deny = vec![network([127, 0, 0, 0])]);
    let envoy = keys.start(&upstream);
    let spoofed = |path, key: &str| {
        get(path)
            .bearer(key)
            .header("x-forwarded-for", "10.1.2.3")
            .header("x-real-ip", "10.1.2.3")
            .header("forwarded", "for=10.1.2.3")
            .header("x-envoy-external-address", "10.1.2.3")
            .header("x-original-url", "/public")
            .header("x-rewrite-url", "/public")
            .header("x-envoy-original-path", "/public")
            .header("x-forwarded-proto", "https")
    };
    let code = |request| envoy.send(&request).code();

    assert_eq!(
        code(spoofed("/v1/a", &office)).as_deref(),
        Some("address_denied")
    );
    assert_eq!(
        code(spoofed("/v1/a", &not_here)).as_deref(),
        Some("address_denied")
    );
    assert_eq!(envoy.send(&spoofed("/v1/a", &here)).status, 200);
    let answer = code(spoofed("/admin/x", &here));
    assert_eq!(answer.as_deref(), Some("insufficient_scope"));
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn hop_by_hop_tricks_do_not_remove_the_identity() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = keys.start(&upstream);

    for connection in [
        "x-keystile-client, x-keystile-key",
        "close, x-keystile-client",
        "keep-alive, authorization",
    ] {
        let request = get("/v1/a").bearer(&key).header("connection", connection);
        let answer = envoy.send(&request);
        if answer.status == 200 {
            let seen = echoed(&answer.json());
            assert_eq!(seen.header("x-keystile-client"), ["acme"], "{connection}");
            assert_eq!(seen.header("x-keystile-key"), [id(&key).to_string()]);
        } else {
            assert!(
                matches!(answer.status, 400 | 401),
                "{connection}: {}",
                answer.status
            );
        }
    }
}

/// Envoy forwards `Connection` where an upgrade is asked for, and there alone.
#[test]
fn hop_by_hop_tricks_on_upgrades_do_not_remove_the_identity() {
    let upstream = Raw::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = keys.start_on(upstream.behind());
    for (name, value) in [
        ("x-other", "x"),
        ("connection", "x-keystile-scopes"),
        ("keep-alive", "x-keystile-client"),
        ("proxy-connection", "x-keystile-client"),
        ("te", "trailers, x-keystile-client"),
        ("trailer", "x-keystile-client"),
    ] {
        let upgrade = get("/v1/a")
            .bearer(&key)
            .header(
                "connection",
                "Upgrade, x-keystile-client, X_Keystile_Key, authorization, x-api-key, x-other",
            )
            .header("upgrade", "websocket")
            .header(name, value);
        assert_eq!(envoy.send(&upgrade).status, 101, "{name}");
        let head = upstream.seen().pop().unwrap();
        assert!(head.contains("\r\nx-keystile-client: acme\r\n"), "{head}");
        // `TE` travels on, and names codings, not fields.
        for field in ["connection", "keep-alive", "proxy-connection"] {
            let lines = head
                .lines()
                .filter_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
            let nominated: Vec<_> = lines.flat_map(|names| names.split(", ")).collect();
            let expected: &[&str] = match field {
                "connection" => &["upgrade", "x-other"],
                _ => &[],
            };
            assert_eq!(nominated, expected, "{name}: {head}");
        }
    }
    untouched(&envoy);
}

/// No VM trapped on the way.
fn untouched(envoy: &Envoy) {
    assert_eq!(
        envoy.stats("vm_reload_success").into_values().sum::<u64>(),
        0
    );
    assert!(!envoy.log().contains("panicked"), "{}", envoy.log());
    assert!(
        !envoy.log().contains("Function: proxy_on"),
        "{}",
        envoy.log()
    );
}
