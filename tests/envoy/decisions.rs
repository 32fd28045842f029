//! Keys in, others out: the table of refusals as callers see it, on every configuration
//! that is shipped.

use crate::fixture::{Keys, id, mistyped, now};
use crate::support::{Client, Envoy, Request, Response, Setup, Upstream, eventually, get, request};
use keystile_core::keyset::Network;
use serde_json::Value;
use std::net::SocketAddr;

const POLICY: &str = r#"
version: 1
realm: api.example.com
credentials:
  - { header: authorization, scheme: Bearer }
  - { header: x-api-key }
plans:
  once: { limits: [{ requests: 1, per: 1d }] }
routes:
  - { path: /healthz, auth: none }
  - { path: "/v1/users/{id}", methods: [GET], scopes: ["read:users"] }
  - { path: "/v1/users/{id}", methods: [DELETE], scopes: ["write:users"] }
"#;

#[test]
fn keys_are_let_in_and_others_turned_away_with_the_keyset_in_envoys_own_file() {
    let upstream = Upstream::start();
    let case = Case::new();
    let mut keys = case.keys;
    let setup = Setup::fixed(&upstream, &keys.sealed()).signing_keys(&keys.signing_keys());
    let envoy = Envoy::start(setup);

    check(&envoy, envoy.address(), &upstream, &case.rows);
}

#[test]
fn keys_are_let_in_and_others_turned_away_with_the_keyset_in_a_watched_file() {
    let upstream = Upstream::start();
    let mut case = Case::new();
    let envoy = case.keys.start(&upstream);

    check(&envoy, envoy.address(), &upstream, &case.rows);
}

#[test]
fn keys_are_let_in_and_others_turned_away_on_the_second_of_several_listeners() {
    let upstream = Upstream::start();
    let mut case = Case::new();
    let envoy = case.keys.start_on(Setup::listeners(&upstream));

    check(&envoy, envoy.listener("partners"), &upstream, &case.rows);
}

#[test]
fn a_bucket_is_the_same_bucket_on_every_listener() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(&POLICY.replace("requests: 1,", "requests: 2,"));
    let key = keys.issue_with("acme", |row| {
        row.plan = Some("once".into());
        row.scopes = vec!["read:users".into()];
    });
    let envoy = keys.start_on(Setup::listeners(&upstream));
    let status = |listener| {
        let mut client = Client::connect(envoy.listener(listener));
        client.send(&get("/v1/users/7").bearer(&key)).status
    };

    assert_eq!(status("public"), 200);
    assert_eq!(status("partners"), 200);
    assert_eq!(status("public"), 429);
    assert_eq!(status("partners"), 429);
}

#[test]
fn a_keyset_past_its_not_after_opens_nothing_not_even_open_routes() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(&format!("{POLICY}not_after: 1m\n"));
    let key = keys.issue_with("acme", |row| row.scopes = vec!["read:users".into()]);
    keys.content.issued_at = now() - 60;
    let envoy = keys.start(&upstream);

    for request in [get("/v1/users/7").bearer(&key), get("/healthz")] {
        let answer = envoy.send(&request);
        assert_eq!(answer.status, 503);
        assert_eq!(answer.code().as_deref(), Some("keyset_unavailable"));
    }
    assert_eq!(upstream.requests(), 0);
    let line = envoy.access_line(|line| line["path"] == "/healthz");
    assert_eq!(line["reason"], "keystile:keyset_unavailable:past_not_after");
}

/// One line of the table: who asks, and what has to come back.
#[derive(Debug)]
struct Row {
    request: Request,
    status: u16,
    /// The access log's `reason`, behind `keystile:`; it begins with the code. None for
    /// who is let in.
    reason: Option<&'static str>,
    /// The access log's `key`.
    key: Option<String>,
}

impl Row {
    fn code(&self) -> Option<&'static str> {
        self.reason?.split(':').next()
    }
}

struct Case {
    keys: Keys,
    rows: Vec<Row>,
}

impl Case {
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn new() -> Self {
        let mut keys = Keys::new(POLICY);
        let reader = vec!["read:users".to_owned()];
        let elsewhere = Network {
            address: [10, 0, 0, 0].into(),
            prefix_len: 8,
        };
        let good = keys.issue_with("acme", |row| row.scopes = reader.clone());
        let expired = keys.issue_with("acme", |row| row.expires = Some(now() - 60));
        let rotated = keys.issue_with("acme", |row| row.overlap_end = Some(now() - 60));
        let inactive = keys.issue_with("acme", |row| row.not_before = Some(now() + 600));
        let disabled = keys.issue_with("acme", |row| row.disabled = true);
        let revoked = keys.issue_with("acme", |row| row.revoked = true);
        let network = keys.issue_with("acme", |row| row.allow = vec![elsewhere]);
        let browser = keys.issue_with("acme", |row| {
            row.publishable = true;
            row.origins = vec!["https://app.example.com".into()];
        });
        let test = keys.issue_in("test", "acme", |_| {});
        let once = keys.issue_with("acme", |row| {
            row.plan = Some("once".into());
            row.scopes = reader.clone();
        });
        let unknown = Keys::new(POLICY).issue("stranger");
        let claimed = format!("unverified:{}", id(&unknown));

        let mut rows = Vec::new();
        let mut refused = |request: Request, status, reason, key: Option<&str>| {
            rows.push(Row {
                request,
                status,
                reason: Some(reason),
                key: key.map(|key| id(key).to_string()),
            });
        };
        let with = |key: &str| get("/v1/users/7").bearer(key);
        let long = "k".repeat(257);
        refused(get("/v1/users/7"), 401, "missing_api_key", None);
        refused(with("hunter2"), 401, "malformed_api_key:shape", None);
        refused(with(&long), 401, "malformed_api_key:length", None);
        let typo = mistyped(&good);
        refused(with(&typo), 401, "malformed_api_key:checksum", None);
        let two = with(&good).header("x-api-key", &unknown);
        refused(two, 401, "multiple_api_keys", None);
        refused(with(&unknown), 401, "unknown_api_key", Some(&unknown));
        refused(with(&expired), 401, "expired_api_key", Some(&expired));
        refused(
            with(&rotated),
            401,
            "expired_api_key:rotated",
            Some(&rotated),
        );
        refused(with(&inactive), 401, "inactive_api_key", Some(&inactive));
        refused(with(&disabled), 401, "disabled_api_key", Some(&disabled));
        refused(with(&revoked), 401, "revoked_api_key", Some(&revoked));
        let write = request("DELETE", "/v1/users/7").bearer(&good);
        refused(write, 403, "insufficient_scope", Some(&good));
        refused(get("/v2").bearer(&good), 403, "route_denied", None);
        refused(with(&network), 403, "address_denied", Some(&network));
        let foreign_page = with(&browser).header("origin", "https://evil.example.com");
        refused(foreign_page, 403, "origin_denied", Some(&browser));
        refused(with(&test), 403, "environment_denied", Some(&test));
        let hidden = get("/v1/users/%2e%2e%2fadmin").bearer(&good);
        refused(hidden, 400, "ambiguous_path", None);

        let allowed = |request: Request, key: Option<&str>| Row {
            request,
            status: 200,
            reason: None,
            key: key.map(|key| id(key).to_string()),
        };
        rows.push(allowed(with(&good), Some(&good)));
        let header = get("/v1/users/7").header("x-api-key", &good);
        rows.push(allowed(header, Some(&good)));
        rows.push(allowed(get("/healthz"), None));
        rows.push(allowed(with(&once), Some(&once)));
        rows.push(Row {
            request: with(&once),
            status: 429,
            reason: Some("rate_limited"),
            key: Some(id(&once).to_string()),
        });
        for row in &mut rows {
            if row.reason == Some("unknown_api_key") {
                row.key = Some(claimed.clone());
            }
        }
        Self { keys, rows }
    }
}

fn check(envoy: &Envoy, address: SocketAddr, upstream: &Upstream, rows: &[Row]) {
    let mut let_in = 0;
    for (n, row) in rows.iter().enumerate() {
        let answer = Client::connect(address).send(&row.request);

        let (status, code) = (answer.status, answer.code());
        assert_eq!(
            (status, code.as_deref()),
            (row.status, row.code()),
            "{row:?}"
        );
        match row.code() {
            None => let_in += 1,
            Some(code) => check_problem(&answer, code),
        }
        assert_eq!(upstream.requests(), let_in, "{row:?}");

        let line = eventually("one more line in the access log", || {
            envoy.access_log().into_iter().nth(n)
        });
        check_line(&line, row);
        if row.reason.is_some() {
            check_request_id(&answer, &line);
        }
    }
}

/// The caller has the id by which the line is found: the one that Envoy made.
fn check_request_id(answer: &Response, line: &Value) {
    let id = line["request_id"].as_str().unwrap();
    assert_eq!(id.len(), 36, "{id}");
    assert_eq!(answer.header("x-request-id"), Some(id));
    assert_eq!(answer.json()["request_id"], id);
}

/// The line tells client, key and reason, and of a known key that is refused where, and by which limit.
fn check_line(line: &Value, row: &Row) {
    let reason = match row.reason {
        Some(reason) => format!("keystile:{reason}"),
        None => "via_upstream".to_owned(),
    };
    let client = match (row.reason, &row.key) {
        (None, None) => "-".into(),
        (Some(_), Some(key)) if key.starts_with("unverified:") => Value::Null,
        (_, Some(_)) => "acme".into(),
        (Some(_), None) => Value::Null,
    };
    let is_refused = row.reason.is_some() && client != Value::Null;
    let route = is_refused.then_some("/v1/users/{id}");
    let is_limited = row.reason == Some("rate_limited");
    let limit = is_limited.then_some("plan once: 1 per 86400 s, burst 1, by key");
    assert_eq!(line["route"].as_str(), route, "{row:?}");
    assert_eq!(line["limit"].as_str(), limit, "{row:?}");
    assert_eq!(line["status"], row.status, "{row:?}");
    assert_eq!(line["reason"], reason, "{row:?}");
    assert_eq!(line["client"], client, "{row:?}");
    assert_eq!(line["key"].as_str(), row.key.as_deref(), "{row:?}");
}

fn check_problem(answer: &Response, code: &str) {
    let problem = answer.json();
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(problem["status"], answer.status);
    assert_eq!(problem["type"], format!("urn:keystile:problem:{code}"));
    for member in ["title", "detail"] {
        assert!(
            problem[member].as_str().is_some_and(|text| text.len() > 3),
            "{problem}"
        );
    }
    let challenge = answer.header("www-authenticate");
    if answer.status == 401 {
        let challenge = challenge.unwrap();
        assert!(
            challenge.starts_with(r#"Bearer realm="api.example.com""#),
            "{challenge}"
        );
    } else if code == "insufficient_scope" {
        let expected =
            r#"Bearer realm="api.example.com", error="insufficient_scope", scope="write:users""#;
        assert_eq!(challenge, Some(expected));
        assert_eq!(
            problem["missing_scopes"],
            serde_json::json!(["write:users"])
        );
    } else {
        assert_eq!(challenge, None);
    }
    if answer.status == 429 {
        assert_eq!(answer.header("retry-after"), Some("86400"));
        assert_eq!(
            answer.header("ratelimit-policy"),
            Some(r#""once";q=1;w=86400"#)
        );
        assert_eq!(answer.header("ratelimit"), Some(r#""once";r=0;t=86400"#));
    }
}
