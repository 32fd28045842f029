//! Requests that no client sends by accident: none may trap the VM, and none may pass.

use crate::fixture::{Edge, Store, by_header};
use crate::host::{Headers, Request};

#[test]
fn bytes_that_are_no_text_are_refused_in_every_place() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    for bytes in [
        &b"\xff"[..],
        b"ab\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\x80\x80\x80\x80",
        b"\x01\x02",
    ] {
        let raw = |before: &str| [before.as_bytes(), bytes].concat();
        for (request, code) in [
            (by_header("").with("x-api-key", bytes), "malformed_api_key"),
            (
                by_header("").with("x-api-key", raw(&key)),
                "malformed_api_key",
            ),
            (
                Request::get("/plain").header("authorization", raw("Bearer ")),
                "malformed_api_key",
            ),
            (
                Request::get("/plain").header("cookie", raw("api_key=")),
                "malformed_api_key",
            ),
            (
                Request::get("/plain").with(":path", raw("/plain?api_key=")),
                "malformed_api_key",
            ),
            (
                Request::get("/plain").with(":method", bytes),
                "missing_api_key",
            ),
            (
                Request::get("/plain").with(":authority", bytes),
                "ambiguous_host",
            ),
            (
                Request::get("/plain").header("authorization", bytes),
                "missing_api_key",
            ),
        ] {
            let answer = edge.ask(&request);
            assert_eq!(answer.code(), code, "{bytes:?} {:?}", request.headers);
            assert!(!answer.passes_guard());
        }
    }
    assert_eq!(edge.code(&key), "ok", "the VM lives on");
}

#[test]
fn strange_names_and_values_beside_a_good_key_do_no_harm() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    let mut request = by_header(&key);
    for name in [
        &b"\xff\xfe"[..],
        b"x-keystile-client\xff",
        b"\x01",
        b"x-\xc3\xa9",
    ] {
        request.headers.add(name, b"\xff\x00\xfe");
    }
    let answer = edge.ask(
        &request
            .header("origin", b"\xff")
            .header("content-type", b"application/grpc\xff"),
    );
    assert_eq!(answer.code(), "ok");
    assert_eq!(
        answer.headers.get("x-keystile-client").as_deref(),
        Some("acme")
    );
}

#[test]
fn values_of_100_kb_are_refused_or_passed_by_and_never_trap() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    let long = |c: &str| c.repeat(100_000 / c.len());
    for c in [
        "a",
        ",",
        ";",
        "=",
        "%",
        "&",
        " ",
        "Bearer x,",
        "api_key=x;",
        "/",
    ] {
        for (request, may_pass) in [
            (by_header(&long(c)), false),
            (
                Request::get("/plain").header("authorization", format!("Bearer {}", long(c))),
                false,
            ),
            (
                Request::get("/plain").header("cookie", format!("api_key={}", long(c))),
                false,
            ),
            (Request::get(&format!("/plain?api_key={}", long(c))), false),
            (Request::get(&format!("/plain/{}", long(c))), false),
            (by_header(&key).header("x-other", long(c)), true),
            (
                by_header(&key)
                    .header("origin", long(c))
                    .header("user-agent", long(c)),
                true,
            ),
        ] {
            let answer = edge.ask(&request);
            assert_eq!(answer.code() == "ok", may_pass, "100 KB of `{c}`");
        }
    }
    let many = (0..5_000).fold(by_header(&key), |request, n| {
        request.header(&format!("x-{n}"), "v")
    });
    assert_eq!(edge.ask(&many).code(), "ok");
}

#[test]
fn differing_keys_are_refused_wherever_they_stand_and_the_same_one_is_not() {
    let mut store = Store::new();
    let (a, b) = (store.issue("acme"), store.issue("beta"));
    let mut edge = Edge::start(&store);
    let mut ask = |fields: &[(&str, String)], path: &str| {
        let request = fields
            .iter()
            .fold(Request::get(path), |request, (name, value)| {
                request.header(name, value)
            });
        edge.ask(&request).code()
    };
    let bearer = |key: &str| ("authorization", format!("Bearer {key}"));
    let header = |key: &str| ("x-api-key", key.to_owned());
    for (second, code) in [
        (&a, "ok"),
        (&b, "multiple_api_keys"),
        (&"hunter2".to_owned(), "multiple_api_keys"),
    ] {
        assert_eq!(ask(&[header(&a), header(second)], "/plain"), code);
        assert_eq!(ask(&[header(&a), bearer(second)], "/plain"), code);
        assert_eq!(ask(&[bearer(&a), bearer(second)], "/plain"), code);
        assert_eq!(
            ask(
                &[("authorization", format!("Bearer {a},Bearer {second}"))],
                "/plain"
            ),
            code,
            "joined by Envoy"
        );
        assert_eq!(
            ask(
                &[("authorization", format!("Bearer {a}, Bearer {second}"))],
                "/plain"
            ),
            code
        );
        assert_eq!(
            ask(&[header(&a)], &format!("/plain?api_key={second}")),
            code
        );
        assert_eq!(
            ask(
                &[header(&a), ("cookie", format!("api_key={second}"))],
                "/plain"
            ),
            code
        );
        assert_eq!(
            ask(
                &[("cookie", format!("api_key={a}; api_key={second}"))],
                "/plain"
            ),
            code
        );
    }
    // Joined without the scheme, the second is no part of the first.
    assert_eq!(
        ask(&[("authorization", format!("Bearer {a},{b}"))], "/plain"),
        "ok"
    );
    assert_eq!(
        ask(&[("x-api-key", format!("{a},{b}"))], "/plain"),
        "malformed_api_key"
    );
}

#[test]
fn requests_without_pseudo_headers_or_without_any_are_refused() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    let nothing = Request::default();
    assert_eq!(edge.ask(&nothing).code(), "ambiguous_path");
    let key_alone = Request {
        headers: Headers::new(&[("x-api-key", &key)]),
        ..nothing
    };
    assert_eq!(edge.ask(&key_alone).code(), "ambiguous_path");
    assert_eq!(
        edge.ask(&by_header(&key).without(":path")).code(),
        "ambiguous_path"
    );
    // A route for any method and host needs neither.
    assert_eq!(
        edge.ask(&by_header(&key).without(":method").without(":authority"))
            .code(),
        "ok"
    );
    let users = by_header(&key).with(":path", "/users/7").without(":method");
    assert_eq!(edge.ask(&users).code(), "route_denied");
}

#[test]
fn nothing_that_a_request_does_asks_the_host_for_what_it_does_not_have() {
    let mut store = Store::new();
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    for request in [
        by_header(&key),
        by_header("x"),
        Request::get("/healthz"),
        Request::default(),
    ] {
        edge.ask(&request);
    }
    edge.tick();
    assert_eq!(edge.process.borrow().unknown, Vec::<String>::new());
}
