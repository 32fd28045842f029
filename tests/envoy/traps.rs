//! What Envoy does where our filter breaks. It offers no way to break it from outside,
//! so these tests run it with a fault in front of its entry points: see
//! `support/fault.rs`. Everything behind the fault is the filter that is delivered.

use crate::fixture::{Keys, in_force};
use crate::support::{
    EcdsFile, Envoy, Load, Request, Setup, Upstream, burst, count, eventually, fault, get, part,
    shell,
};
use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

const POLICY: &str = r#"
version: 1
plans:
  day: { limits: [{ requests: 100, per: 1d }] }
routes:
  - { path: "/v1/{*rest}" }
"#;

#[test]
fn a_worker_that_fails_after_the_canary_passed_lets_nothing_through() {
    if shell::leaves_out(shell::Vms::Fail) {
        return;
    }
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let setup = broken_static(&upstream, &mut keys, fault::failing_after_the_canary);
    let envoy = Envoy::start(setup);

    for request in [get("/v1/a").bearer(&key), get("/v1/a"), get("/")] {
        assert_eq!(burst(envoy.address(), 8, 1, &request).len(), 8);
        let answer = envoy.send(&request);
        assert_eq!(answer.status, 403);
        assert_eq!(answer.text(), "RBAC: access denied");
    }
    assert_eq!(upstream.requests(), 0);
    let line = envoy.access_line(|line| line["status"] == 403);
    assert_eq!(
        line["reason"],
        "rbac_access_denied_matched_policy[keystile]"
    );
}

#[test]
fn without_the_guard_such_a_worker_would_let_everything_through() {
    if shell::leaves_out(shell::Vms::Fail) {
        return;
    }
    // The danger is real, or the test above would show nothing.
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let setup = broken_static(&upstream, &mut keys, fault::failing_after_the_canary).edit(
        "- name: keystile-guard",
        "- name: keystile-guard\n            disabled: true",
    );
    let envoy = Envoy::start(setup);

    assert_eq!(envoy.send(&get("/v1/a")).status, 200);
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn a_push_that_fails_in_the_workers_alone_lets_nothing_through() {
    if shell::leaves_out(shell::Vms::Fail) {
        return;
    }
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = start_broken(&upstream, &mut keys, fault::failing_after_the_canary);

    let answers = burst(envoy.address(), 20, 2, &get("/v1/a").bearer(&key));

    assert_eq!(count(&answers, 403), 40);
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_trap_costs_what_its_worker_had_under_way_and_nothing_after_it() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = start_broken(&upstream, &mut keys, fault::trapping);
    in_force(&envoy, keys.content.version);

    let request = get("/v1/a").bearer(&key);
    let load = Load::start(envoy.address(), 8, Duration::from_millis(1), vec![request]);
    let mut traps = Vec::new();
    for _ in 0..10 {
        let sent = Instant::now();
        assert_eq!(envoy.send(&trapping(&key)).status, 503);
        traps.push(sent..Instant::now());
        // Envoy waits before it makes a VM anew where traps come thick and fast.
        let from = upstream.requests();
        eventually("the load to go on", || {
            (upstream.requests() > from + 200).then_some(())
        });
    }
    let answers: Vec<_> = load.stop().into_iter().flatten().collect();

    let mut lost = 0;
    for answer in answers.iter().filter(|answer| answer.status() != Some(200)) {
        assert_eq!(answer.status(), Some(503), "{:?}", answer.outcome);
        let during = |trap: &Range<Instant>| answer.sent <= trap.end && trap.start <= answer.done;
        assert!(traps.iter().any(during), "a request that met no trap");
        lost += 1;
    }
    let all = answers.len();
    println!("{all} requests beside 10 traps, {lost} under way at one and lost with it");
    assert!(lost <= 8 * traps.len());
}

#[test]
fn buckets_and_the_keyset_survive_a_trap() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue_on("acme", "day");
    let revoked = keys.issue("acme");
    keys.revoke(&revoked);
    let envoy = start_broken(&upstream, &mut keys, fault::trapping);
    in_force(&envoy, keys.content.version);
    let request = get("/v1/a").bearer(&key);

    assert_eq!(count(&burst(envoy.address(), 10, 7, &request), 200), 70);
    // Connections are dealt out by the kernel: until each worker has lost its VM.
    eventually("both workers to have trapped", || {
        assert_eq!(envoy.send(&trapping(&key)).status, 503);
        (traps_by_thread(&envoy) == 2).then_some(())
    });

    // Asked with a key that takes from no bucket.
    let dead = get("/v1/a").bearer(&revoked);
    eventually("the filter to be back on both workers", || {
        let answers = burst(envoy.address(), 30, 1, &dead);
        let codes = answers.iter().map(|answer| answer.code());
        let revoked = codes.filter(|code| code.as_deref() == Some("revoked_api_key"));
        (revoked.count() == 30).then_some(())
    });

    let answers = burst(envoy.address(), 10, 10, &request);
    assert_eq!(count(&answers, 200), 30);
    assert_eq!(count(&answers, 429), 70);
}

/// How many threads have written of a trap to the log; its second field is the thread.
pub fn traps_by_thread(envoy: &Envoy) -> usize {
    let log = envoy.log();
    let words = match shell::is_module() {
        true => "a mistake in `request_headers`",
        false => "proxy_on_request_headers failed",
    };
    let traps = log.lines().filter(|line| line.contains(words));
    let threads = traps.filter_map(|line| line.split(['[', ']']).nth(3));
    threads.collect::<BTreeSet<_>>().len()
}

/// A request that traps the broken filter.
pub fn trapping(key: &str) -> Request {
    (0..fault::TRAPS_ABOVE).fold(get("/v1/a").bearer(key), |request, n| {
        request.header(format!("x-filler-{n}"), "1")
    })
}

/// `static.yaml` with the broken filter in place of ours.
fn broken_static(upstream: &Upstream, keys: &mut Keys, fault: fn(&[u8]) -> Vec<u8>) -> Setup {
    let setup = Setup::fixed(upstream, &keys.sealed()).signing_keys(&keys.signing_keys());
    let wasm = write_broken(setup.dir(), fault);
    setup.edit("target/dist/keystile.wasm", &wasm)
}

/// An Envoy with what `keystilectl push` writes, but the broken filter in place of ours.
fn start_broken(upstream: &Upstream, keys: &mut Keys, fault: fn(&[u8]) -> Vec<u8>) -> Envoy {
    let setup = Setup::ecds(upstream).signing_keys(&keys.signing_keys());
    let wasm = write_broken(setup.dir(), fault);
    let response = EcdsFile::response(&keys.sealed()).to_string();
    let response = response.replace("target/dist/keystile.wasm", &wasm);
    setup.ecds_file().write(response);
    Envoy::start(setup)
}

pub fn write_broken(dir: &Path, fault: fn(&[u8]) -> Vec<u8>) -> String {
    let wasm = fs::read(part("target/dist/keystile.wasm", "scripts/build")).unwrap();
    let path = dir.join("broken.wasm");
    fs::write(&path, fault(&wasm)).unwrap();
    path.display().to_string()
}
