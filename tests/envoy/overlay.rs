//! Base and overlay in two resources of one VM: small changes travel alone, and an overlay
//! without its base opens nothing.

use crate::fixture::{Keys, in_force};
use crate::support::{
    Answer, EcdsFile, Envoy, Load, Setup, Upstream, burst, count, eventually, fault, get, quiet,
    shell,
};
use crate::traps::{trapping, traps_by_thread, write_broken};
use keystile_core::report::message;
use keystile_core::report::{self, Report};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const POLICY: &str = r#"
version: 1
routes:
  - { path: "/v1/{*rest}" }
"#;

const REPORTING: &str = r#"
version: 1
report: { cluster: control, every: 1s, usage: false }
routes:
  - { path: "/v1/{*rest}" }
"#;

/// An Envoy's two files, and the store that they come from.
struct Case {
    keys: Keys,
    base: EcdsFile,
    overlay: EcdsFile,
    wasm: String,
}

impl Case {
    fn new(setup: &Setup, keys: Keys) -> Self {
        let file = |name| EcdsFile::new(setup.dir().join(name));
        let mut case = Self {
            keys,
            base: file("base.pb"),
            overlay: file("overlay.pb"),
            wasm: "target/dist/keystile.wasm".to_owned(),
        };
        case.keys.compact();
        case
    }

    fn push_base(&mut self) {
        let sealed = self.keys.sealed_base();
        let file = EcdsFile::protobuf("keystile-base", &self.wasm, sealed);
        self.base.write(file);
    }

    fn push_overlay(&mut self) {
        let sealed = self.keys.sealed_overlay();
        self.overlay
            .write(EcdsFile::protobuf("keystile", &self.wasm, sealed));
    }

    fn start(&mut self, setup: Setup) -> Envoy {
        self.push_base();
        self.push_overlay();
        let envoy = Envoy::start(setup.signing_keys(&self.keys.signing_keys()));
        in_force(&envoy, self.keys.content.version);
        envoy
    }

    fn in_force(&self, envoy: &Envoy) {
        in_force(envoy, self.keys.content.version);
    }
}

#[test]
fn over_a_hundred_thousand_keys_an_overlay_issues_and_revokes_at_once() {
    let upstream = Upstream::start();
    let setup = Setup::overlay(&upstream);
    let mut keys = Keys::new(POLICY);
    keys.fill(100_000);
    let stays = keys.issue("acme");
    let mut doomed: Vec<String> = (0..5).map(|_| keys.issue("acme")).collect();
    let mut case = Case::new(&setup, keys);
    let envoy = case.start(setup);
    let all = |key: &str, status| {
        let answers = burst(envoy.address(), 8, 1, &get("/v1/a").bearer(key));
        assert_eq!(count(&answers, status), 8);
    };
    all(&stays, 200);

    let new = case.keys.issue("beta");
    all(&new, 401);
    case.push_overlay();
    case.in_force(&envoy);
    all(&new, 200);

    // A thousand others that changed before: what an overlay may grow to.
    for _ in 0..1_000 {
        let _ = case.keys.issue("beta");
    }
    case.push_overlay();
    case.in_force(&envoy);
    // The quickest of a few tells what it costs; the rest is what else the machine does.
    let within = std::iter::from_fn(|| doomed.pop()).any(|key| {
        let took = quiet::alone(|| revoke(&mut case, &envoy, &key, &stays));
        took < Duration::from_millis(200)
    });
    assert!(within, "five revocations, and none within 200 ms");
    let loads = loaded(&envoy, "overlay version");
    println!(
        "overlays of 1,000 keys were loaded within {:?} us",
        &loads[loads.len() - 3..]
    );
    all(&stays, 200);
}

/// Revokes a key under load and gives the time from the push to the last answer it opened.
fn revoke(case: &mut Case, envoy: &Envoy, key: &str, stays: &str) -> Duration {
    let requests = [key, stays].map(|key| get("/v1/a").bearer(key));
    let pace = Duration::from_millis(2);
    let load = Load::start(envoy.address(), 8, pace, requests.to_vec());
    load.another_round();
    case.keys.revoke(key);
    let from = Instant::now();
    case.push_overlay();
    case.in_force(envoy);
    let shown = from.elapsed();
    load.another_round();
    let answers: Vec<Answer> = load.stop().into_iter().flatten().collect();

    let (of_key, of_other): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.request == 0);
    assert!(of_other.iter().all(|a| a.status() == Some(200)));
    let opened = of_key.iter().filter(|a| a.status() == Some(200));
    let last = opened.map(|a| a.done.saturating_duration_since(from)).max();
    let worst = answers.iter().map(|a| a.done - a.sent).max().unwrap();
    let last = last.unwrap();
    println!(
        "overlay push to last 200: {:.1} ms, to every gauge {:.1} ms; worst request meanwhile {:.1} ms",
        last.as_secs_f64() * 1e3,
        shown.as_secs_f64() * 1e3,
        worst.as_secs_f64() * 1e3,
    );
    last
}

/// How long the loads took that the log tells of, in microseconds.
fn loaded(envoy: &Envoy, what: &str) -> Vec<u64> {
    let log = envoy.log();
    let lines = log.lines().filter(|line| line.contains(what));
    lines
        .filter_map(|line| {
            line.split("loaded in ")
                .nth(1)?
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

#[test]
fn a_new_base_under_load_loses_no_request() {
    let upstream = Upstream::start();
    let setup = Setup::overlay(&upstream);
    let mut keys = Keys::new(POLICY);
    keys.fill(20_000);
    let (stays, doomed) = (keys.issue("acme"), keys.issue("acme"));
    let mut case = Case::new(&setup, keys);
    let envoy = case.start(setup);
    case.keys.revoke(&doomed);
    case.push_overlay();
    case.in_force(&envoy);

    let requests = [&stays, &doomed].map(|key| get("/v1/a").bearer(key));
    let load = Load::start(envoy.address(), 8, Duration::ZERO, requests.to_vec());
    load.another_round();
    for round in 0..6 {
        case.keys.compact();
        let overlay_first = round % 2 == 0;
        let _ = case.keys.issue("beta");
        if overlay_first {
            case.push_overlay();
            case.push_base();
        } else {
            case.push_base();
            case.push_overlay();
        }
        case.in_force(&envoy);
        // The same base again, as after a repair.
        case.push_base();
        load.another_round();
    }
    let answers: Vec<Answer> = load.stop().into_iter().flatten().collect();
    for answer in &answers {
        let expected = [200, 401][answer.request];
        assert_eq!(answer.status(), Some(expected), "{:?}", answer.outcome);
    }
    println!("{} answers over 6 new bases", answers.len());
    assert_eq!(envoy.stats("overlay_without_base").values().sum::<u64>(), 0);
}

#[test]
fn a_worker_that_lost_its_base_denies_until_it_is_pushed_again() {
    if shell::leaves_out(shell::Vms::Fail) {
        return;
    }
    let upstream = Upstream::start();
    let setup = Setup::overlay(&upstream);
    let dir: PathBuf = setup.dir().to_owned();
    let mut keys = Keys::new(POLICY);
    let (stays, doomed) = (keys.issue("acme"), keys.issue("acme"));
    let mut case = Case::new(&setup, keys);
    case.wasm = write_broken(&dir, fault::trapping);
    let envoy = case.start(setup);
    case.keys.revoke(&doomed);
    case.push_overlay();
    case.in_force(&envoy);

    let request = get("/v1/a").bearer(&stays);
    eventually("both workers to have trapped", || {
        assert_eq!(envoy.send(&trapping(&stays)).status, 503);
        (traps_by_thread(&envoy) == 2).then_some(())
    });
    // Made anew, they have the overlay alone.
    eventually("both workers to say that they lack the base", || {
        envoy.send(&request);
        (envoy.stats("overlay_without_base").values().sum::<u64>() == 2).then_some(())
    });
    let answers = burst(envoy.address(), 20, 2, &request);
    assert_eq!(count(&answers, 503), 40);
    let code = answers[0].code();
    assert_eq!(code.as_deref(), Some("keyset_unavailable"));
    envoy.access_line(|line| line["reason"] == "keystile:keyset_unavailable:overlay_without_base");

    case.push_base();
    case.in_force_again(&envoy);
    assert_eq!(count(&burst(envoy.address(), 20, 2, &request), 200), 40);
    let answers = burst(envoy.address(), 20, 1, &get("/v1/a").bearer(&doomed));
    assert_eq!(count(&answers, 401), 20);
}

impl Case {
    /// Numbers of the dead show zero: two of five.
    fn in_force_again(&self, envoy: &Envoy) {
        eventually("three VMs to have it in force again", || {
            let version = self.keys.content.version;
            let shown = envoy.versions();
            let lacking: u64 = envoy.stats("overlay_without_base").values().sum();
            (lacking == 0 && shown.iter().filter(|v| **v == version).count() >= 3).then_some(())
        });
    }
}

#[test]
fn every_vm_reports_a_push_to_the_control_plane_at_once() {
    let upstream = Upstream::start();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let control = Upstream::answering({
        let heard = Arc::clone(&heard);
        move |seen| {
            heard.lock().unwrap().push((Instant::now(), seen.clone()));
            crate::support::Reply {
                status: 204,
                headers: Vec::new(),
                body: Vec::new(),
            }
        }
    });
    let setup = Setup::overlay(&upstream).control(control.address());
    let mut keys = Keys::new(REPORTING);
    let key = keys.issue("acme");
    let mut case = Case::new(&setup, keys);
    let envoy = case.start(setup);
    let accepted = case.keys.accepted();
    let reports = |version: u64| -> Vec<(Instant, Report)> {
        let heard = heard.lock().unwrap();
        let read = heard.iter().map(|(at, seen)| {
            assert_eq!((&*seen.method, &*seen.path), ("POST", report::PATH));
            let header = |name: &str| seen.header(name)[0].to_owned();
            let (kid, tag) = (
                header(message::KID_HEADER),
                header(message::SIGNATURE_HEADER),
            );
            let report = report::open(&seen.body, &kid, &tag, &accepted).unwrap();
            (*at, report)
        });
        read.filter(|(_, r)| r.stores[0].version == version)
            .collect()
    };
    let vms = |version: u64| {
        let mut vms: Vec<u32> = reports(version).iter().map(|(_, r)| r.vm).collect();
        vms.sort_unstable();
        vms.dedup();
        vms
    };
    let vm_count = shell::gauges() as u32;
    eventually("three VMs to have reported", || {
        let all = vms(case.keys.content.version);
        all.iter().copied().eq(0..vm_count).then_some(())
    });

    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        case.keys.change(&key).disabled ^= true;
        let version = case.keys.content.version;
        let from = Instant::now();
        case.push_overlay();
        eventually("three VMs to have reported the push", || {
            vms(version).iter().copied().eq(0..vm_count).then_some(())
        });
        let last = (0..vm_count).map(|vm| {
            let of_vm = |(_, r): &&(Instant, Report)| r.vm == vm;
            reports(version).iter().find(of_vm).unwrap().0 - from
        });
        quickest = quickest.min(last.max().unwrap());
    }
    println!("from an overlay push to every VM's report: {quickest:?}");
    assert!(quickest < Duration::from_millis(500));
    let (_, report) = reports(case.keys.content.version).pop().unwrap();
    assert_eq!((report.node.as_str(), report.vms), ("keystile", vm_count));
    // And again, unasked.
    let version = case.keys.content.version;
    let before = reports(version).len();
    eventually("every VM to have reported again", || {
        (reports(version).len() >= before + shell::gauges()).then_some(())
    });
    assert_eq!(envoy.stats("reports_unsent").values().sum::<u64>(), 0);
}
