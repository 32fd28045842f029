//! What reaches the upstream: who calls, and no key.

use crate::fixture::{Keys, id};
use crate::support::{Seen, Upstream, echoed, get};

const POLICY: &str = r#"
version: 1
credentials:
  - { header: authorization, scheme: Bearer }
  - { header: x-api-key }
  - { query: api_key }
  - { cookie: api_key }
routes:
  - { path: /healthz, auth: none }
  - { path: /news, auth: optional }
  - { path: "/v1/{*rest}", scopes: ["read:users"] }
"#;

#[test]
fn the_upstream_learns_who_calls_from_the_filter_alone() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = key(&mut keys);
    let envoy = keys.start(&upstream);

    let spoofed = get("/v1/users/7")
        .bearer(&key)
        .header("x-keystile-client", "somebody-else")
        .header("X-Keystile-Key", "0000000000")
        .header("x-keystile-scopes", "admin")
        .header("x-keystile-scopes", "root")
        .header("x_keystile_client", "somebody-else");
    let answer = envoy.send(&spoofed);

    assert_eq!(answer.status, 200);
    let seen = echoed(&answer.json());
    assert_eq!(seen.header("x-keystile-client"), ["acme"]);
    assert_eq!(seen.header("x-keystile-key"), [id(&key).to_string()]);
    assert_eq!(seen.header("x-keystile-scopes"), ["read:users write:users"]);
    assert!(!format!("{seen:?}").contains("somebody-else"), "{seen:?}");
}

#[test]
fn a_caller_without_a_key_cannot_name_himself_on_open_routes() {
    let upstream = Upstream::start();
    let envoy = Keys::new(POLICY).start(&upstream);

    for path in ["/healthz", "/news"] {
        let spoofed = get(path)
            .header("x-keystile-client", "acme")
            .header("x-keystile-key", "0000000000")
            .header("x-keystile-scopes", "admin");
        let answer = envoy.send(&spoofed);

        assert_eq!(answer.status, 200);
        let seen = echoed(&answer.json());
        let names = seen.headers.iter().map(|(name, _)| name.as_str());
        let identity: Vec<_> = names.filter(|name| name.contains("keystile")).collect();
        assert!(identity.is_empty(), "{identity:?}");
    }
}

#[test]
fn on_a_route_where_a_key_is_optional_its_holder_is_named() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = key(&mut keys);
    let envoy = keys.start(&upstream);

    let seen = echoed(&envoy.send(&get("/news").bearer(&key)).json());

    assert_eq!(seen.header("x-keystile-client"), ["acme"]);
}

#[test]
fn wherever_the_key_stands_the_upstream_does_not_get_it() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = key(&mut keys);
    let envoy = keys.start(&upstream);
    let seen = |request| -> Seen {
        let answer = envoy.send(&request);
        assert_eq!(answer.status, 200, "{request:?}");
        let seen = echoed(&answer.json());
        assert_eq!(seen.header("x-keystile-client"), ["acme"]);
        assert!(!format!("{seen:?}").contains(&key), "{seen:?}");
        seen
    };

    let none: [&str; 0] = [];
    assert_eq!(
        seen(get("/v1/a").bearer(&key)).header("authorization"),
        none
    );
    assert_eq!(
        seen(get("/v1/a").header("x-api-key", &key)).header("x-api-key"),
        none
    );
    let query = seen(get(format!("/v1/a?page=2&api_key={key}&sort=%2Fup")));
    assert_eq!(query.path, "/v1/a?page=2&sort=%2Fup");
    let only = seen(get(format!("/v1/a?api_key={key}")));
    assert_eq!(only.path, "/v1/a");
    let cookies = format!("theme=dark; api_key={key}; lang=de");
    let cookie = seen(get("/v1/a").header("cookie", cookies));
    assert_eq!(cookie.header("cookie"), ["theme=dark; lang=de"]);
    // The same key in two places is one key, and both go.
    let twice = get("/v1/a").bearer(&key).header("x-api-key", &key);
    assert_eq!(seen(twice).header("authorization"), none);
}

#[test]
fn a_policy_that_forwards_credentials_leaves_the_key_to_the_upstream() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(&format!("{POLICY}forward_credential: true\n"));
    let key = key(&mut keys);
    let envoy = keys.start(&upstream);

    let seen = echoed(&envoy.send(&get("/v1/a").bearer(&key)).json());

    assert_eq!(seen.header("authorization"), [format!("Bearer {key}")]);
    assert_eq!(seen.header("x-keystile-client"), ["acme"]);
}

fn key(keys: &mut Keys) -> String {
    keys.issue_with("acme", |row| {
        row.scopes = vec!["write:users".into(), "read:users".into()];
    })
}
