//! Internal redirects: Envoy follows the upstream's `Location` itself, and runs its
//! filters a second time, with the key already taken out.

use crate::fixture::{Keys, id};
use crate::support::{Envoy, Reply, Setup, Upstream, echoed, get};

const POLICY: &str = r#"
version: 1
plans:
  twice: { limits: [{ requests: 2, per: 1d }] }
routes:
  - { path: /open, auth: none }
  - { path: /news, auth: optional }
  - { path: "/v1/{*rest}", scopes: ["read"] }
  - { path: "/admin/{*rest}", scopes: ["admin"] }
"#;

#[test]
fn a_redirected_request_is_neither_refused_nor_charged_twice() {
    let (upstream, mut keys) = (redirecting(), Keys::new(POLICY));
    let key = reader(&mut keys);
    let envoy = start(&mut keys, &upstream);

    for _ in 0..2 {
        let answer = envoy.send(&get("/v1/old?to=/v1/new").bearer(&key));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let seen = echoed(&answer.json());
        assert_eq!(seen.path, "/v1/new");
        assert_eq!(seen.header("x-keystile-client"), ["acme"]);
        assert_eq!(seen.header("x-keystile-key"), [id(&key).to_string()]);
    }
    assert_eq!(upstream.requests(), 4);
    assert_eq!(envoy.send(&get("/v1/new").bearer(&key)).status, 429);
}

#[test]
fn the_scope_of_the_new_route_is_asked_for() {
    let (upstream, mut keys) = (redirecting(), Keys::new(POLICY));
    let key = reader(&mut keys);
    let envoy = start(&mut keys, &upstream);

    let answer = envoy.send(&get("/v1/old?to=/admin/users").bearer(&key));

    assert_eq!(answer.status, 403);
    assert_eq!(answer.code().as_deref(), Some("insufficient_scope"));
    assert_eq!(upstream.requests(), 1);
    let line = envoy.access_line(|line| line["reason"] == "keystile:insufficient_scope");
    assert_eq!(line["key"], id(&key).to_string());
}

#[test]
fn a_redirect_from_an_open_route_opens_no_other() {
    let (upstream, mut keys) = (redirecting(), Keys::new(POLICY));
    let key = reader(&mut keys);
    let envoy = start(&mut keys, &upstream);

    for path in ["/open?to=/v1/new", "/news?to=/v1/new"] {
        let answer = envoy.send(&get(path));
        assert_eq!(answer.code().as_deref(), Some("missing_api_key"), "{path}");
    }
    // Where the key was not looked at it is taken out as well, and the second pass is the
    // first to judge it.
    let answer = envoy.send(&get("/open?to=/v1/new").bearer(&key));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = echoed(&answer.json());
    assert_eq!(seen.header("x-keystile-client"), ["acme"]);
    assert!(!answer.text().contains(&key), "{seen:?}");
    let answer = envoy.send(&get("/open?to=/admin/x").bearer(&key));
    assert_eq!(answer.code().as_deref(), Some("insufficient_scope"));
    let answer = envoy.send(&get("/news?to=/v1/new").bearer(&key));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn an_open_route_hands_on_what_is_not_ours() {
    let (upstream, mut keys) = (Upstream::start(), Keys::new(POLICY));
    let key = reader(&mut keys);
    let envoy = start(&mut keys, &upstream);

    let theirs = get("/open").bearer("eyJhbGciOiJIUzI1NiJ9.e30.c2ln");
    let seen = echoed(&envoy.send(&theirs).json());
    assert_eq!(
        seen.header("authorization"),
        ["Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln"]
    );
    let seen = echoed(&envoy.send(&get("/open").bearer(&key)).json());
    assert!(seen.header("authorization").is_empty());
}

#[test]
fn a_caller_cannot_pretend_to_have_been_redirected() {
    let (upstream, mut keys) = (redirecting(), Keys::new(POLICY));
    reader(&mut keys);
    let envoy = start(&mut keys, &upstream);

    let answer = envoy.send(
        &get("/v1/new")
            .header("x-envoy-internal", "true")
            .header("x-envoy-original-path", "/v1/old")
            .header("keystile.entry", "00000000000000000000000000000000"),
    );

    assert_eq!(answer.code().as_deref(), Some("missing_api_key"));
}

/// Sends whoever asks with `?to=` there.
fn redirecting() -> Upstream {
    Upstream::answering(|seen| match seen.path.split_once("?to=") {
        Some((_, to)) => Reply::redirect(&format!("http://api.example.com{to}")),
        None => Reply::echo(seen),
    })
}

fn reader(keys: &mut Keys) -> String {
    keys.issue_with("acme", |row| {
        row.plan = Some("twice".into());
        row.scopes = vec!["read".into()];
    })
}

fn start(keys: &mut Keys, upstream: &Upstream) -> Envoy {
    let setup = Setup::ecds(upstream).edit(
        "route: {cluster: upstream}",
        "route: {cluster: upstream, internal_redirect_policy: {max_internal_redirects: 1}}",
    );
    keys.start_on(setup)
}
