//! The table of answers in the design, row by row: what a caller is told, and in which words.

use serde_json::json;

use crate::fixture::{Edge, NOW, Store, by_bearer, by_header, name, network};
use crate::host::Request;

/// A row: the answer, and an Envoy and a request that bring it about.
pub struct Row {
    status: u32,
    grpc: u32,
    pub code: &'static str,
    /// What access logs are told.
    details: &'static str,
    pub scene: fn() -> (Edge, Request),
}

const fn row(
    status: u32,
    grpc: u32,
    code: &'static str,
    details: &'static str,
    scene: fn() -> (Edge, Request),
) -> Row {
    Row {
        status,
        grpc,
        code,
        details,
        scene,
    }
}

#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row(401, 16, "missing_api_key", "keystile:missing_api_key", || scene(|_| Request::get("/plain"))),
    row(401, 16, "malformed_api_key", "keystile:malformed_api_key:shape", || scene(|_| by_header("hunter2"))),
    row(401, 16, "malformed_api_key", "keystile:malformed_api_key:length", || scene(|_| by_header(&"x".repeat(257)))),
    row(401, 16, "malformed_api_key", "keystile:malformed_api_key:checksum", || scene(|store| {
        let key = store.issue("acme");
        by_header(&key.replace("live", "test"))
    })),
    row(401, 16, "multiple_api_keys", "keystile:multiple_api_keys", || scene(|store| {
        by_header(&store.issue("acme")).header("x-api-key", store.issue("acme"))
    })),
    row(401, 16, "unknown_api_key", "keystile:unknown_api_key", || scene(|store| {
        let key = store.issue("acme");
        store.rows.clear();
        by_header(&key)
    })),
    row(401, 16, "expired_api_key", "keystile:expired_api_key", || with_key(|row| row.expires = Some(NOW))),
    row(401, 16, "expired_api_key", "keystile:expired_api_key:rotated", || with_key(|row| row.overlap_end = Some(NOW))),
    row(401, 16, "inactive_api_key", "keystile:inactive_api_key", || with_key(|row| row.not_before = Some(NOW + 1))),
    row(401, 16, "disabled_api_key", "keystile:disabled_api_key", || with_key(|row| row.disabled = true)),
    row(401, 16, "revoked_api_key", "keystile:revoked_api_key", || with_key(|row| row.revoked = true)),
    row(403, 7, "insufficient_scope", "keystile:insufficient_scope", || scene(|store| {
        by_bearer("GET", "/users/7", &store.issue("acme"))
    })),
    row(403, 7, "route_denied", "keystile:route_denied", || scene(|store| {
        by_bearer("GET", "/nowhere", &store.issue("acme"))
    })),
    row(403, 7, "address_denied", "keystile:address_denied", || with_key(|row| row.allow = vec![network("10.0.0.0/8")])),
    row(403, 7, "certificate_denied", "keystile:certificate_denied:absent", || {
        with_key(|row| row.certificates = vec!["spiffe://example.org/a".to_owned()])
    }),
    row(403, 7, "origin_denied", "keystile:origin_denied", || with_key(|row| row.origins = vec!["https://a.example".to_owned()])),
    row(403, 7, "environment_denied", "keystile:environment_denied", || with_key(|row| row.environment = name("test"))),
    row(403, 7, "tls_required", "keystile:tls_required", || {
        let mut store = Store::new().set("require_tls", json!(true));
        let key = store.issue("acme");
        (Edge::start(&store), by_header(&key))
    }),
    row(400, 3, "ambiguous_host", "keystile:ambiguous_host", || scene(|_| Request::get("/plain").with(":authority", "a@b"))),
    row(400, 3, "ambiguous_path", "keystile:ambiguous_path", || scene(|_| Request::get("/open/%2e%2e/plain"))),
    row(429, 8, "rate_limited", "keystile:rate_limited", || {
        let (store, key) = Store::limited(json!([{"requests": 1, "per": "1m"}]));
        let mut edge = Edge::start(&store);
        assert_eq!(edge.code(&key), "ok");
        (edge, by_header(&key))
    }),
    row(429, 8, "quota_exceeded", "keystile:quota_exceeded", || {
        let (store, key) = Store::with_quota(json!({"requests": 1, "per": "month"}));
        let mut edge = Edge::start(&store);
        assert_eq!(edge.code(&key), "ok");
        (edge, by_header(&key))
    }),
    row(429, 8, "too_many_attempts", "keystile:too_many_attempts", || {
        let mut store = Store::new().set("brute_force", json!({"attempts": 1, "per": "1h"}));
        let key = store.issue("acme");
        store.rows.clear();
        let mut edge = Edge::start(&store);
        assert_eq!(edge.code(&key), "unknown_api_key");
        (edge, by_header(&key))
    }),
    row(503, 14, "keyset_unavailable", "keystile:keyset_unavailable:past_not_after", || {
        let mut store = Store::new().set("not_after", json!("1h"));
        let key = store.issue("acme");
        store.issued_at = NOW - 3600;
        (Edge::start(&store), by_header(&key))
    }),
    row(503, 14, "keyset_unavailable", "keystile:keyset_unavailable:none_in_force", || {
        let (mut store, key) = Store::small();
        store.version = 2;
        let mut first = Edge::start(&store);
        first.tick();
        store.version = 1;
        (Edge::beside(&first.process, &store), by_header(&key))
    }),
];

fn scene(request: impl FnOnce(&mut Store) -> Request) -> (Edge, Request) {
    let mut store = Store::new();
    let request = request(&mut store);
    (Edge::start(&store), request)
}

fn with_key(edit: impl FnOnce(&mut keystile_core::keyset::KeyRow)) -> (Edge, Request) {
    scene(|store| by_header(&store.issue_as("acme", edit)))
}

#[test]
fn every_row_has_its_status_code_and_details() {
    for row in TABLE {
        let (mut edge, request) = (row.scene)();
        let before = edge.counted(row.code);
        let answer = edge.ask(&request);
        assert_eq!(answer.reply().details, row.details);
        assert_eq!(answer.reply().status, row.status, "{}", row.details);
        assert_eq!(answer.code(), row.code);
        assert_eq!(edge.counted(row.code), before + 1, "{}", row.details);
        assert!(!answer.passes_guard(), "{}", row.details);
        assert_eq!(answer.state("reason").as_deref(), Some(row.code));
        assert_eq!(
            answer.state("entry"),
            None,
            "{}: nobody to recognise",
            row.code
        );
    }
}

#[test]
fn every_body_is_a_problem_of_rfc_9457() {
    for row in TABLE {
        let (mut edge, request) = (row.scene)();
        let answer = edge.ask(&request);
        assert_eq!(
            answer.field("content-type").as_deref(),
            Some("application/problem+json")
        );
        let problem = answer.problem();
        let fields: Vec<&String> = problem.as_object().expect("an object").keys().collect();
        let more: &[&str] = match row.code {
            "insufficient_scope" => &["missing_scopes"],
            _ => &[],
        };
        let usual = ["code", "detail", "status", "title", "type"];
        let mut expected = [&usual[..], more].concat();
        expected.sort_unstable();
        assert_eq!(fields, expected);
        assert_eq!(problem["status"], row.status);
        assert_eq!(problem["code"], row.code);
        assert_eq!(
            problem["type"],
            format!("urn:keystile:problem:{}", row.code)
        );
        for text in ["title", "detail"] {
            assert!(
                problem[text].as_str().is_some_and(|text| text.len() > 5),
                "{problem}"
            );
        }
    }
}

#[test]
fn every_401_has_a_challenge_for_each_scheme_and_of_the_others_one_names_the_scope() {
    for row in TABLE {
        let (mut edge, request) = (row.scene)();
        let answer = edge.ask(&request);
        let challenges: Vec<String> = answer
            .reply()
            .headers
            .all("www-authenticate")
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect();
        if row.status != 401 {
            let scope = "Bearer realm=\"api.example.com\", error=\"insufficient_scope\", scope=\"read:users\"";
            let expected: &[&str] = match row.code {
                "insufficient_scope" => &[scope],
                _ => &[],
            };
            assert_eq!(challenges, expected, "{}", row.code);
            continue;
        }
        // A caller without a key has done nothing wrong yet (RFC 6750 section 3.1).
        let error = match row.code {
            "missing_api_key" => "",
            _ => ", error=\"invalid_token\"",
        };
        let bearer = format!("Bearer realm=\"api.example.com\"{error}");
        assert_eq!(
            challenges,
            [&bearer, "ApiKey realm=\"api.example.com\""],
            "{}",
            row.code
        );
    }
}

#[test]
fn only_429_says_when_to_come_back_and_shows_the_limit() {
    for row in TABLE {
        let (mut edge, request) = (row.scene)();
        let answer = edge.ask(&request);
        let fields =
            ["retry-after", "ratelimit", "ratelimit-policy"].map(|name| answer.field(name));
        let expected = match row.status {
            // From eight on the fifteenth to the end of the month.
            429 if row.code == "quota_exceeded" => [
                "1440000",
                "\"p-quota\";r=0;t=1440000",
                "\"p-quota\";q=1;w=2678400",
            ]
            .map(|value| Some(value.to_owned())),
            // A limit of its address, which is nobody's to be told of.
            429 if row.code == "too_many_attempts" => [Some("3600".to_owned()), None, None],
            429 => ["60", "\"p\";r=0;t=60", "\"p\";q=1;w=60"].map(|value| Some(value.to_owned())),
            _ => [None, None, None],
        };
        assert_eq!(fields, expected, "{}", row.code);
    }
}

#[test]
fn grpc_calls_get_grpc_statuses_and_no_problem_body() {
    for row in TABLE {
        for content_type in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc+json",
        ] {
            let (mut edge, request) = (row.scene)();
            let call = request
                .with(":method", "POST")
                .header("content-type", content_type);
            let answer = edge.ask(&call);
            let reply = answer.reply();
            if reply.details.starts_with("keystile:route_denied") {
                continue; // no route of the table takes a POST
            }
            assert_eq!(reply.grpc_status, Some(row.grpc), "{}", row.code);
            assert_eq!(reply.details, row.details);
            assert_eq!(answer.field("content-type"), None, "Envoy writes its own");
            assert!(!reply.body.starts_with(b"{") && !reply.body.is_empty());
        }
    }
}

/// Envoy words a local reply to such a request as gRPC, which is HTTP 200 and has no body. A cache may keep a 200.
#[test]
fn a_request_that_is_no_call_has_its_own_status_whatever_its_content_type() {
    for row in TABLE {
        for method in ["GET", "HEAD", "PUT"] {
            let (mut edge, request) = (row.scene)();
            let request = request
                .with(":method", method)
                .header("content-type", "application/grpc");
            let (stream, outcome) = edge.vm.open(edge.root, &request);
            let reply = outcome.reply().clone();
            assert_eq!(reply.grpc_status, None, "{}", row.code);
            let mut worded = reply.headers.clone();
            worded.replace(b":status", b"200");
            worded.replace(b"content-type", b"application/grpc");
            worded.replace(b"grpc-status", b"2");
            worded.replace(b"grpc-message", b"x");
            let sent = edge.vm.respond(&stream, worded).expect("no trap");
            assert_eq!(sent.get(":status"), Some(reply.status.to_string()));
            for name in ["content-type", "grpc-status", "grpc-message"] {
                assert_eq!(sent.get(name), None, "{} {method}", row.code);
            }
            assert_eq!(sent.get("cache-control").as_deref(), Some("no-store"));
            edge.vm.finish(stream).expect("no trap");
        }
    }
}

#[test]
fn no_refusal_may_be_kept_by_a_cache() {
    for row in TABLE {
        for content_type in ["application/json", "application/grpc"] {
            let (mut edge, request) = (row.scene)();
            let request = request.header("content-type", content_type);
            let answer = edge.ask(&request);
            assert_eq!(
                answer.field("cache-control").as_deref(),
                Some("no-store"),
                "{}",
                row.code
            );
        }
    }
}

#[test]
fn plain_requests_never_get_a_grpc_status() {
    let near = [
        "application/json",
        "application/grpc-web",
        "application/grpcx",
        "text/application/grpc",
        "",
    ];
    for row in TABLE {
        for content_type in near {
            let (mut edge, request) = (row.scene)();
            let answer = edge.ask(&request.header("content-type", content_type));
            assert_eq!(
                answer.reply().grpc_status,
                None,
                "{} for `{content_type}`",
                row.code
            );
        }
        let (mut edge, request) = (row.scene)();
        assert_eq!(edge.ask(&request).reply().grpc_status, None, "{}", row.code);
    }
}

#[test]
fn the_limits_of_plan_and_route_are_all_listed_and_the_tightest_is_shown() {
    let mut store = Store::new();
    let key = store.issue_as("acme", |row| {
        row.scopes = vec!["read:reports".to_owned()];
        row.plan = Some("gold".to_owned());
    });
    let mut edge = Edge::start(&store);
    let request = by_bearer("GET", "/reports/7", &key);
    assert_eq!(
        [edge.ask(&request).code(), edge.ask(&request).code()],
        ["ok", "ok"]
    );
    let answer = edge.ask(&request);
    assert_eq!(
        answer.field("ratelimit-policy").as_deref(),
        Some("\"gold\";q=100;w=1, \"@route\";q=2;w=1")
    );
    assert_eq!(
        answer.field("ratelimit").as_deref(),
        Some("\"@route\";r=0;t=1")
    );
}

/// Limits of one plan may differ in `by` alone, and a plan may be named `route`. The draft, section 3: names of policies
/// are unique in a field.
#[test]
fn every_limit_has_a_name_of_its_own() {
    let of_plan = json!([
        {"requests": 1, "per": "1m"},
        {"requests": 5, "per": "1m", "by": "client"},
        {"requests": 9, "per": "1h"},
    ]);
    let of_route = json!([{"path": "/plain", "limit": {"requests": 1, "per": "1h"}}]);
    for (plan, limits, routes) in [
        ("p", of_plan, json!([{"path": "/plain"}])),
        ("route", json!([{"requests": 1, "per": "1m"}]), of_route),
    ] {
        let plans = json!({plan: {"limits": limits}});
        let mut store = Store::with(json!({"plans": plans, "routes": routes}));
        let key = store.issue_as("acme", |row| row.plan = Some(plan.to_owned()));
        let mut edge = Edge::start(&store);
        edge.code(&key);
        let field = edge.ask(&by_header(&key)).field("ratelimit-policy");
        let field = field.expect("a 429 has it");
        let names: Vec<&str> = field
            .split(", ")
            .map(|item| &item[..item.find(';').unwrap()])
            .collect();
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{field}");
    }
}
