//! Envoy ends, and another takes its place.

use std::net::TcpListener;
use std::time::Duration;

use crate::fixture::{Keys, in_force};
use crate::support::{Answer, Load, Setup, Upstream, burst, count, get, shell};

const POLICY: &str = r#"
version: 1
plans:
  day: { limits: [{ requests: 10, per: 1d }] }
routes:
  - { path: "/v1/{*rest}" }
"#;

#[test]
fn envoy_ends_under_load_as_it_would_without_us() {
    if !shell::is_module() {
        return;
    }
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    for _ in 0..3 {
        let mut envoy = keys.start(&upstream);
        let requests = vec![get("/v1/a").bearer(&key), get("/v1/a")];
        let load = Load::start(envoy.address(), 8, Duration::ZERO, requests);
        load.another_round();
        let status = envoy.terminate();
        let answers: Vec<Answer> = load.stop().into_iter().flatten().collect();
        assert!(status.success(), "{status}");
        for answer in answers {
            let expected = [200, 401][answer.request];
            assert!(answer.status().is_none_or(|status| status == expected));
        }
        let log = envoy.log();
        assert!(
            !log.contains("panicked") && !log.contains("Caught"),
            "{log}"
        );
    }
}

/// A port that nobody has: the next generation has to ask for the same.
fn free_port() -> u16 {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    taken.local_addr().unwrap().port()
}

#[test]
fn after_a_hot_restart_buckets_are_full_and_the_keyset_is_the_file_s() {
    if !shell::is_module() {
        return;
    }
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue_on("acme", "day");
    let base = std::process::id() % 30_000 + 1_000;
    let port = format!(
        "address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}",
        free_port()
    );
    let listening = |setup: Setup, epoch: u32| {
        let setup = setup.edit(
            "    address:\n      socket_address: {address: 127.0.0.1, port_value: 0}\n    filter_chains",
            &format!("    {port}\n    filter_chains"),
        );
        setup.generation(base, epoch)
    };
    let mut old = keys.start_on(listening(Setup::ecds(&upstream), 0));
    in_force(&old, keys.content.version);
    let request = get("/v1/a").bearer(&key);
    let answers = burst(old.address(), 12, 1, &request);
    assert_eq!((count(&answers, 200), count(&answers, 429)), (10, 2));

    let new = keys.start_on(listening(Setup::ecds(&upstream), 1));
    assert_eq!(new.address(), old.address());
    let status = old.ended();
    assert!(status.success(), "{status}");
    let answers = burst(new.address(), 12, 1, &request);
    assert_eq!((count(&answers, 200), count(&answers, 429)), (10, 2));
}
