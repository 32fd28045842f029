//! Two filters of ours in one chain: each judges by its own policy and its own keys.

use crate::fixture::Keys;
use crate::support::{Envoy, Reply, Setup, Upstream, get, shell};

const STRIPS: &str = r#"
version: 1
credentials: [{ header: x-api-key }]
routes: [{ path: "/{*rest}" }]
"#;
const FORWARDS: &str = r#"
version: 1
credentials: [{ header: x-api-key }]
forward_credential: true
routes: [{ path: "/{*rest}" }]
"#;
const SCOPED: &str = r#"
version: 1
credentials: [{ header: authorization, scheme: Bearer }]
routes: [{ path: "/{*rest}", scopes: [second] }]
"#;

#[test]
fn a_key_of_the_first_store_opens_nothing_of_the_second() {
    let upstream = redirecting();
    let (mut first, mut second) = (Keys::new(STRIPS), Keys::new(SCOPED));
    let key = first.issue("acme");
    let other = second.issue_with("rival", |row| row.scopes = vec!["second".to_owned()]);
    let envoy = start(&upstream, &mut first, &mut second);
    let code = |request| envoy.send(&request).code();
    let alone = get("/a").header("x-api-key", &key);
    assert_eq!(code(alone.clone()).as_deref(), Some("missing_api_key"));
    let both = alone.bearer(&other);
    assert_eq!(envoy.send(&both).status, 200);
    let redirected = get("/a?to=/b").header("x-api-key", &key).bearer(&other);
    assert_eq!(envoy.send(&redirected).status, 200, "both know it again");
    assert_eq!(upstream.requests(), 3);
}

#[test]
fn a_second_policy_of_the_same_store_is_asked_as_well() {
    let upstream = redirecting();
    for policy in [STRIPS, FORWARDS] {
        let mut first = Keys::new(policy);
        let key = first.issue_with("acme", |row| row.scopes = vec!["first".to_owned()]);
        let scoped = STRIPS.replace("\"/{*rest}\"", "\"/{*rest}\", scopes: [second]");
        let mut second = first.with_policy(&scoped);
        let envoy = start(&upstream, &mut first, &mut second);
        let answer = envoy.send(&get("/a").header("x-api-key", &key));
        let expected = match policy == FORWARDS {
            true => "insufficient_scope",
            false => "missing_api_key",
        };
        assert_eq!(answer.code().as_deref(), Some(expected));
    }
    assert_eq!(upstream.requests(), 0);
}

/// Envoy leaves a filter out of a worker whose VM has failed, and lets requests pass there: each guard asks for what
/// its own filter alone writes.
#[test]
fn neither_filter_stands_in_for_the_other_at_its_guard() {
    if shell::leaves_out(shell::Vms::Missing) {
        return;
    }
    let upstream = Upstream::start();
    let (mut first, mut second) = (Keys::new(STRIPS), Keys::new(SCOPED));
    let key = first.issue("acme");
    let other = second.issue_with("rival", |row| row.scopes = vec!["second".to_owned()]);
    let both = get("/a").header("x-api-key", &key).bearer(&other);
    for (absent, status) in [(None, 200), (Some("keystile"), 403), (Some("second"), 403)] {
        let mut setup = setup(&upstream, &mut second);
        if let Some(name) = absent {
            let filter = format!("          - name: {name}\n");
            setup = setup.edit(&filter, &format!("{filter}            disabled: true\n"));
        }
        let envoy = first.start_on(setup);
        assert_eq!(envoy.send(&both).status, status, "without {absent:?}");
    }
    assert_eq!(upstream.requests(), 1);
}

fn redirecting() -> Upstream {
    Upstream::answering(|seen| match seen.path.split_once("?to=") {
        Some((_, to)) => Reply::redirect(&format!("http://api.example.com{to}")),
        None => Reply::echo(seen),
    })
}

/// An Envoy with both, the second in a VM of its own with its own signing key.
fn start(upstream: &Upstream, first: &mut Keys, second: &mut Keys) -> Envoy {
    first.start_on(setup(upstream, second))
}

/// Each right before its guard.
fn setup(upstream: &Upstream, second: &mut Keys) -> Setup {
    let setup = Setup::ecds(upstream).edit(
        "route: {cluster: upstream}",
        "route: {cluster: upstream, internal_redirect_policy: {max_internal_redirects: 1}}",
    );
    let setup = match shell::is_module() {
        true => {
            second.rename_signing_key("second");
            setup.signing_keys(&second.signing_keys())
        }
        false => setup,
    };
    let response = crate::support::EcdsFile::response(&second.sealed());
    let wasm = response["resources"][0]["typed_config"].to_string();
    let wasm = wasm
        .replace("\"vm_id\":\"keystile\"", "\"vm_id\":\"second\"")
        .replace("\"name\":\"keystile\"", "\"name\":\"second\"")
        .replace(
            "\"host_env_keys\":[\"KEYSTILE_SIGNING_KEYS\"]",
            &format!(
                "\"key_values\":{{\"KEYSTILE_SIGNING_KEYS\":\"{}\"}}",
                second.signing_keys()
            ),
        );
    assert!(wasm.contains("key_values") && wasm.contains("\"name\":\"second\""));
    let principal = r#"{filter_state: {key: wasm.keystile.client.second, string_match: {safe_regex: {regex: ".+"}}}}"#;
    let second = format!(
        r#"          - name: second
            typed_config: {wasm}
          - name: second-guard
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules: {{action: ALLOW, policies: {{second: {{permissions: [{{any: true}}], principals: [{principal}]}}}}}}
          - name: envoy.filters.http.router"#
    );
    setup.edit("          - name: envoy.filters.http.router", &second)
}
