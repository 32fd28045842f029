//! Shadow mode, and CORS preflights.

use crate::fixture::{Keys, id};
use crate::support::{Request, Upstream, echoed, get, request};

const POLICY: &str = r#"
version: 1
plans:
  once: { limits: [{ requests: 1, per: 1d }] }
routes:
  - { path: "/v1/{*rest}" }
  - { path: "/admin/{*rest}", scopes: ["admin"] }
"#;

#[test]
fn shadow_mode_lets_everything_through_and_counts_what_it_would_refuse() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(&format!("{POLICY}mode: shadow\n"));
    let key = keys.issue_on("acme", "once");
    let revoked = keys.issue_with("acme", |row| row.revoked = true);
    let envoy = keys.start(&upstream);

    let would_be = |request: &Request, code: Option<&str>| {
        let answer = envoy.send(request);
        assert_eq!(answer.status, 200, "{code:?}");
        let seen = echoed(&answer.json());
        let client: &[&str] = if code.is_none() { &["acme"] } else { &[] };
        assert_eq!(seen.header("x-keystile-client"), client, "{code:?}");
        if let Some(code) = code {
            let name = format!(r#"keystile_shadow_refusals_total{{outcome="{code}"}}"#);
            assert_eq!(envoy.metric(&name), Some(1), "{code}");
        }
    };
    would_be(&get("/v1/a").bearer(&key), None);
    would_be(&get("/v1/a").bearer(&key), Some("rate_limited"));
    would_be(&get("/v1/a"), Some("missing_api_key"));
    would_be(&get("/v1/a").bearer("hunter2"), Some("malformed_api_key"));
    would_be(&get("/v1/a").bearer(&revoked), Some("revoked_api_key"));
    would_be(&get("/admin/a").bearer(&key), Some("insufficient_scope"));
    would_be(&get("/nowhere"), Some("route_denied"));
    would_be(&get("/v1%2fa").bearer(&key), Some("ambiguous_path"));
    // Whoever checks keys behind us still can.
    let seen = echoed(&envoy.send(&get("/v1/a").bearer("hunter2")).json());
    assert_eq!(seen.header("authorization"), ["Bearer hunter2"]);
    // But nobody names himself.
    let spoofed = get("/v1/a").header("x-keystile-client", "acme");
    let none: [&str; 0] = [];
    assert_eq!(
        echoed(&envoy.send(&spoofed).json()).header("x-keystile-client"),
        none
    );
}

#[test]
fn shadow_mode_and_back_is_a_push() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = keys.start(&upstream);
    let status = |request: &Request| envoy.send(request).status;

    assert_eq!(status(&get("/v1/a")), 401);
    keys.set_policy(&format!("{POLICY}mode: shadow\n"));
    keys.push(&envoy);
    assert_eq!(status(&get("/v1/a")), 200);
    keys.set_policy(POLICY);
    keys.push(&envoy);
    assert_eq!(status(&get("/v1/a")), 401);
    assert_eq!(status(&get("/v1/a").bearer(&key)), 200);
}

#[test]
fn a_cors_preflight_passes_without_a_key_where_the_policy_says_so() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(&format!("{POLICY}preflight: allow\n"));
    let key = keys.issue_with("acme", |row| {
        row.publishable = true;
        row.origins = vec!["https://app.example.com".into()];
    });
    let envoy = keys.start(&upstream);
    let preflight = request("OPTIONS", "/v1/a")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization");

    let answer = envoy.send(&preflight);
    assert_eq!(answer.status, 200);
    assert_eq!(echoed(&answer.json()).method, "OPTIONS");
    let line = envoy.access_line(|line| line["method"] == "OPTIONS");
    assert_eq!(line["client"], "-");

    // Only a preflight is one.
    let bare = request("OPTIONS", "/v1/a").header("origin", "https://app.example.com");
    assert_eq!(envoy.send(&bare).status, 401);
    let other = get("/v1/a")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "GET");
    assert_eq!(envoy.send(&other).status, 401);

    // And the request that follows it brings its key and its origin.
    let real = |origin: &str| get("/v1/a").bearer(&key).header("origin", origin);
    assert_eq!(envoy.send(&real("https://app.example.com")).status, 200);
    assert_eq!(envoy.send(&real("https://evil.example.com")).status, 403);
    let line = envoy.access_line(|line| line["reason"] == "keystile:origin_denied");
    assert_eq!(line["key"], id(&key).to_string());
}

#[test]
fn a_cors_preflight_is_a_request_like_any_other_by_default() {
    let upstream = Upstream::start();
    let envoy = Keys::new(POLICY).start(&upstream);

    let preflight = request("OPTIONS", "/v1/a")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "GET");

    assert_eq!(envoy.send(&preflight).status, 401);
}
