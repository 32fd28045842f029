//! On Envoy Gateway: the real Envoy is given what Envoy Gateway makes of the resources that
//! `keystilectl render envoy-gateway` prints.

mod listener;

use crate::istio::mesh::documents;
use crate::support::{
    Client, Companion, Envoy, Request, Response, Server, Upstream, echoed, eventually, fault,
    fresh_dir, get, shell,
};
use crate::traps::{trapping, write_broken};
use listener::{Chains, extend, listener, orders, patch, setup};
use serde_json::Value;

const POLICY: &str = r#"
version: 1
plans:
  day: { limits: [{ requests: 3, per: 1d }] }
routes:
  - { path: /healthz, auth: none }
  - { path: "/v1/{*rest}" }
  - { path: "/own/{*rest}" }
"#;
const NAME: &str = "edge/public/http";
const WASM_FILTER: &str = "envoy.filters.http.wasm/envoyextensionpolicy/edge/keystile/wasm/0";
const MODULE_FILTER: &str =
    "envoy.filters.http.dynamic_modules/envoyextensionpolicy/edge/keystile/dynamic-module/0";

fn companion() -> Companion {
    let companion = Companion::init(&fresh_dir(), POLICY);
    companion.run(&["client", "create", "acme"]);
    companion
}

/// EnvoyProxy, EnvoyExtensionPolicy if there is an image, EnvoyPatchPolicy.
fn rendered(companion: &Companion, more: &[&str]) -> Vec<Value> {
    let render = ["render", "envoy-gateway", "--namespace", "edge"];
    documents(&companion.run(&[&render[..], &["--gateway", "public"], more].concat()))
}

const IMAGE: [&str; 2] = ["--image", "oci://registry.example/keystile@sha256:00"];

/// One plain listener with the filter from this file, and the guard; and the EnvoyProxy.
fn plain(companion: &Companion, wasm: &str) -> (Value, Value) {
    let mut all = rendered(companion, &IMAGE);
    let mut listeners = [listener(NAME, Chains::Plain)];
    extend(&mut listeners[0], &all[0], &all[1], wasm);
    assert_eq!(patch(&mut listeners, &all[2]), [""; 0]);
    let [listener] = listeners;
    (listener, all.swap_remove(0))
}

fn start(companion: &Companion, upstream: &Upstream, wasm: &str) -> Envoy {
    let (listener, proxy) = plain(companion, wasm);
    let setup = setup(&listener, &proxy, upstream);
    Envoy::start(setup.signing_keys(&companion.signing_keys()))
}

fn send(envoy: &Envoy, request: &Request) -> Response {
    Client::connect(envoy.listener(NAME)).send(request)
}

fn delivered() -> String {
    shell::file().display().to_string()
}

#[test]
fn the_guard_stands_right_before_the_router_of_every_filter_chain() {
    let companion = companion();
    let want = [
        "envoy.filters.http.cors",
        match shell::is_module() {
            true => MODULE_FILTER,
            false => WASM_FILTER,
        },
        "envoy.filters.http.local_ratelimit",
        "keystile-guard",
        "envoy.filters.http.router",
    ];
    let hosts = ["a.example.com", "b.example.com"];
    for (options, names) in [
        (vec!["--listener", "https"], vec!["edge/public/https"]),
        (vec!["--listener", "https:443"], vec!["tcp-443"]),
        (
            vec!["--listener", "https", "--http3"],
            vec!["edge/public/https", "edge/public/https-quic"],
        ),
        (
            vec!["--listener", "a:443", "--listener", "b:443", "--http3"],
            vec!["tcp-443", "udp-443"],
        ),
    ] {
        let all = rendered(&companion, &[&IMAGE[..], &options].concat());
        let mut listeners: Vec<Value> = names
            .iter()
            .map(|name| listener(name, Chains::Tls(&hosts)))
            .collect();
        for listener in &mut listeners {
            extend(listener, &all[0], &all[1], &delivered());
        }
        assert_eq!(patch(&mut listeners, &all[2]), [""; 0], "{options:?}");
        for listener in &listeners {
            assert_eq!(orders(listener), [want, want], "{options:?}");
        }
    }
}

#[test]
fn on_discovery_the_filters_come_first_in_every_filter_chain() {
    let companion = companion();
    let plane = ["--discovery", "127.0.0.1:1", "--control", "127.0.0.1:1"];
    let all = rendered(&companion, &plane);
    for (chains, count) in [
        (Chains::Plain, 1),
        (Chains::Tls(&["a.example.com", "b.example.com"]), 2),
    ] {
        let mut listeners = [listener(NAME, chains)];
        assert_eq!(patch(&mut listeners, &all[1]), [""; 0]);
        let mut want = vec![
            "keystile-base",
            "keystile",
            "envoy.filters.http.cors",
            "envoy.filters.http.local_ratelimit",
            "keystile-guard",
            "envoy.filters.http.router",
        ];
        want.retain(|filter| !shell::is_module() || *filter != "keystile-guard");
        assert_eq!(orders(&listeners[0]), vec![want; count]);
    }
}

#[test]
fn a_gateway_lets_keys_in_and_nobody_else() {
    let (companion, upstream) = (companion(), Upstream::start());
    let (key, _) = companion.issue(&["acme"]);
    companion.run(&["client", "create", "daily", "--plan", "day"]);
    let (limited, _) = companion.issue(&["daily"]);
    let envoy = start(&companion, &upstream, &delivered());
    let ask = |path: &str| send(&envoy, &get(path));
    let with = |path: &str, key: &str| send(&envoy, &get(path).bearer(key));

    let answer = with("/v1/a", &key);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(echoed(&answer.json()).header("x-keystile-client"), ["acme"]);
    assert_eq!(ask("/v1/a").code().as_deref(), Some("missing_api_key"));
    assert_eq!(ask("/healthz").status, 200);
    let answers: Vec<u16> = (0..4).map(|_| with("/v1/a", &limited).status).collect();
    assert_eq!(answers, [200, 200, 200, 429]);
    // A route that has an EnvoyExtensionPolicy of its own lost ours: the guard refuses. So it
    // does where there is no route.
    let before = upstream.requests();
    for path in ["/own/a", "/nowhere"] {
        let answer = with(path, &key);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (403, "RBAC: access denied")
        );
    }
    assert_eq!(upstream.requests(), before);
    let refused = r#"keystile_requests_total{outcome="missing_api_key"}"#;
    eventually("the refusal to be counted", || {
        (envoy.metric(refused) == Some(1)).then_some(())
    });
}

#[test]
fn a_worker_without_the_filter_lets_nothing_through_a_gateway() {
    if shell::leaves_out(shell::Vms::Missing) {
        return;
    }
    let (companion, upstream) = (companion(), Upstream::start());
    let (key, _) = companion.issue(&["acme"]);
    let wasm = write_broken(companion.dir(), fault::failing_after_the_canary);
    let envoy = start(&companion, &upstream, &wasm);

    for request in [get("/v1/a").bearer(&key), get("/v1/a"), get("/healthz")] {
        assert_eq!(send(&envoy, &request).status, 403);
    }
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_gateway_that_loses_its_listener_takes_no_older_keyset_afterwards() {
    let (companion, upstream) = (companion(), Upstream::start());
    let (key, id) = companion.issue(&["acme"]);
    let (older, _) = plain(&companion, &delivered());
    companion.run(&["key", "revoke", &id]);
    let (newest, proxy) = plain(&companion, &delivered());
    let setup = setup(&newest, &proxy, &upstream).listeners_from_file();
    let mut envoy = Envoy::start(setup.signing_keys(&companion.signing_keys()));
    let asking = get("/v1/a").bearer(&key);
    assert_eq!(
        send(&envoy, &asking).code().as_deref(),
        Some("revoked_api_key")
    );
    eventually("every VM to have shown its version", || {
        (envoy.versions().len() == shell::gauges()).then_some(())
    });

    envoy.listener_file().remove();
    envoy.without_filter();
    envoy.listener_file().give(&older);
    envoy.look_for_listeners();
    for _ in 0..20 {
        let code = send(&envoy, &asking).code();
        assert_eq!(code.as_deref(), Some("keyset_unavailable"));
    }
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn after_a_trap_its_worker_stays_closed() {
    if shell::leaves_out(shell::Vms::Fail) {
        return;
    }
    let (companion, upstream) = (companion(), Upstream::start());
    let (key, _) = companion.issue(&["acme"]);
    let wasm = write_broken(companion.dir(), fault::trapping);
    let envoy = start(&companion, &upstream, &wasm);

    assert_eq!(send(&envoy, &trapping(&key)).status, 503);
    // The other worker's answers are 200, its own 503, and no third.
    let asking = get("/v1/a").bearer(&key);
    let closed = eventually("the worker to be met again", || {
        let status = send(&envoy, &asking).status;
        assert!(status == 200 || status == 503, "{status}");
        (status == 503).then_some(status)
    });
    assert_eq!(closed, 503);
}

#[test]
fn a_gateway_on_discovery_proves_a_revocation() {
    let policy = format!("{POLICY}report: {{ cluster: keystile-control, every: 1s }}\n");
    let companion = Companion::init(&fresh_dir(), &policy);
    companion.run(&["client", "create", "acme"]);
    let server = Server::start(&companion);
    let upstream = Upstream::start();
    let plane = [
        "--discovery",
        server.discovery(),
        "--control",
        server.address(),
    ];
    let all = rendered(&companion, &plane);
    let mut listeners = [listener(NAME, Chains::Plain)];
    assert_eq!(patch(&mut listeners, &all[1]), [""; 0]);
    let setup = setup(&listeners[0], &all[0], &upstream);
    let envoy = Envoy::start(setup.signing_keys(&companion.signing_keys()));

    let (key, id) = server.issue(&["acme"]);
    let asking = get("/v1/a").bearer(&key);
    eventually("the key to open the gateway", || {
        (0..8)
            .all(|_| send(&envoy, &asking).status == 200)
            .then_some(())
    });
    assert_eq!(
        server.json(&["key", "revoke", &id, "--wait"])["status"],
        "revoked"
    );
    for _ in 0..8 {
        assert_eq!(send(&envoy, &asking).status, 401);
    }
}
