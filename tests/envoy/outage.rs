//! The server is away: what an Envoy starts from, and when it stops deciding.

use crate::support::{Companion, Envoy, Server, Upstream, eventually, fresh_dir, get};
use std::time::{Duration, Instant};

const POLICY: &str = r#"
version: 1
not_after: 1d
report: { cluster: keystile-control, every: 1s }
routes:
  - { path: "/v1/{*rest}" }
"#;

fn status(envoy: &Envoy, key: &str) -> u16 {
    envoy.send(&get("/v1/a").bearer(key)).status
}

#[test]
fn an_envoy_that_starts_while_the_server_is_away_starts_from_its_last_good_file() {
    let companion = Companion::init(&fresh_dir(), POLICY);
    companion.run(&["client", "create", "acme"]);
    let mut server = Server::start(&companion);
    let upstream = Upstream::start();
    let setup = |server: &Server| server.rendered(&companion, &upstream, "edge-1");
    let (good, _) = server.issue(&["acme"]);
    let (dead, dead_id) = server.issue(&["acme"]);
    let envoy = Envoy::start(setup(&server));
    assert_eq!(status(&envoy, &dead), 200);
    server.json(&["key", "revoke", &dead_id, "--wait"]);

    // As the timer on Envoy's machine does: from the server, without a store.
    let dir = fresh_dir();
    let file = dir.join("last-good.pb").display().to_string();
    let wasm = crate::support::shell::file();
    let wasm = wasm.display().to_string();
    server.json(&["push", "--ecds-file", &file, "--wasm", &wasm]);
    server.kill();
    drop(envoy);

    let mut waiting = Envoy::unready(setup(&server));
    eventually("it to have asked the server three times", || {
        let tried = waiting.stats("cluster.keystile-discovery.upstream_cx_connect_fail$");
        (tried.values().sum::<u64>() >= 3).then_some(())
    });
    // Closed, not open: it has no port before it has a keyset.
    assert!(!waiting.is_ready());
    drop(waiting);

    let arguments = ["--ecds-file", file.as_str()];
    let envoy = Envoy::start(companion.rendered_in(dir, &upstream, &arguments));
    assert_eq!(status(&envoy, &good), 200);
    assert_eq!(status(&envoy, &dead), 401);
    assert_eq!(status(&envoy, "ks_live_nonsense"), 401);
    let knows = envoy.send(&get("/v1/a").bearer(&dead)).code();
    assert_eq!(knows.as_deref(), Some("revoked_api_key"));

    // Back on discovery when the server is back.
    drop(envoy);
    server.restart();
    let envoy = Envoy::start(setup(&server));
    assert_eq!([status(&envoy, &good), status(&envoy, &dead)], [200, 401]);
}

#[test]
fn with_a_dead_mans_switch_an_envoy_refuses_until_the_server_is_back() {
    const TTL: Duration = Duration::from_secs(3);
    let companion = Companion::init(&fresh_dir(), POLICY);
    companion.run(&["client", "create", "acme"]);
    let mut server = Server::started(&companion, &["--ttl", "3s"]);
    let upstream = Upstream::start();
    let (key, _) = server.issue(&["acme"]);
    let (dead, dead_id) = server.issue(&["acme"]);
    let envoy = Envoy::start(server.rendered(&companion, &upstream, "edge-1"));
    server.json(&["key", "revoke", &dead_id, "--wait"]);

    // While the server is there, time alone ends nothing.
    let began = Instant::now();
    eventually("twice its time to pass", || {
        assert_eq!([status(&envoy, &key), status(&envoy, &dead)], [200, 401]);
        (began.elapsed() > 2 * TTL).then_some(())
    });
    server.kill();
    let killed = Instant::now();
    eventually("everything to be refused", || {
        assert_ne!(status(&envoy, &dead), 200);
        (status(&envoy, &key) == 500).then_some(())
    });
    println!("refused {:?} after the server died", killed.elapsed());
    assert!(killed.elapsed() < 2 * TTL);
    assert_eq!(status(&envoy, "ks_live_nonsense"), 500);

    server.restart();
    eventually("the server's keyset to be in force again", || {
        assert_ne!(status(&envoy, &dead), 200);
        (status(&envoy, &key) == 200).then_some(())
    });
    assert_eq!(status(&envoy, &dead), 401);
}
