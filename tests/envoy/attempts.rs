//! Addresses that try unknown keys, across both workers.

use std::process::Command;

use crate::fixture::Keys;
use crate::support::{Envoy, Upstream, burst, count, get};

const POLICY: &str = r#"
version: 1
brute_force: { attempts: 20, per: 1d }
routes:
  - { path: "/v1/{*rest}" }
"#;

/// The status of a request from another address of this machine.
fn from(address: &str, envoy: &Envoy, key: &str) -> String {
    let curl = Command::new("curl")
        .args(["--silent", "--max-time", "10", "--interface", address])
        .args(["--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--header", &format!("x-api-key: {key}")])
        .arg(format!("http://{}/v1/a", envoy.address()))
        .output()
        .expect("curl: run scripts/setup first");
    String::from_utf8(curl.stdout).unwrap()
}

#[test]
fn an_address_tries_so_many_unknown_keys_and_known_ones_from_it_pass() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let stranger = Keys::new(POLICY).issue("nobody");
    let envoy = keys.start(&upstream);
    let answers = burst(envoy.address(), 12, 5, &get("/v1/a").bearer(&stranger));
    assert_eq!((count(&answers, 401), count(&answers, 429)), (20, 40));
    let slowed = answers.iter().find(|a| a.status == 429).unwrap();
    assert_eq!(slowed.code().as_deref(), Some("too_many_attempts"));
    let wait: u64 = slowed.header("retry-after").unwrap().parse().unwrap();
    // One in twenty parts of a day.
    assert!((4_200..=4_320).contains(&wait), "{wait}");
    let good = burst(envoy.address(), 6, 5, &get("/v1/a").bearer(&key));
    assert_eq!(count(&good, 200), 30);
    let malformed = envoy.send(&get("/v1/a").bearer("hunter2"));
    assert_eq!(malformed.code().as_deref(), Some("malformed_api_key"));

    assert_eq!(from("127.0.0.1", &envoy, &stranger), "429");
    assert_eq!(from("127.0.0.2", &envoy, &stranger), "401");
    assert_eq!(from("127.0.0.1", &envoy, &key), "200");
    assert_eq!(upstream.requests(), 31);
}
