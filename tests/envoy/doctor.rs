//! `keystilectl doctor` beside a real Envoy with one thing broken at a time.

use std::process::Output;

use serde_json::Value;

use crate::support::{Companion, Envoy, Server, Setup, Upstream, eventually, fresh_dir, shell};

const POLICY: &str = r#"
version: 1
host_ports: ignore
report: { cluster: keystile-control, every: 1s }
routes:
  - { path: "/v1/{*rest}" }
"#;

struct Case {
    companion: Companion,
    server: Server,
    upstream: Upstream,
}

impl Case {
    fn start() -> Self {
        let companion = Companion::init(&fresh_dir(), POLICY);
        companion.run(&["client", "create", "acme"]);
        companion.run(&["key", "issue", "acme"]);
        Self {
            server: Server::start(&companion),
            upstream: Upstream::start(),
            companion,
        }
    }

    fn setup(&self) -> Setup {
        self.server
            .rendered(&self.companion, &self.upstream, "edge-1")
    }

    fn doctor(&self, envoy: &str) -> Output {
        self.server
            .output(&["doctor", "--envoy-admin", envoy, "--output", "json"])
    }

    /// What is wrong, and nothing secret in it.
    fn wrong(&self, envoy: &Envoy) -> Vec<String> {
        let output = self.doctor(&format!("http://{}", envoy.admin_address()));
        let text = String::from_utf8(output.stdout).unwrap();
        let secret = self.companion.signing_keys();
        assert!(!text.contains(secret.split(':').nth(1).unwrap()));
        let report: Value = serde_json::from_str(&text).unwrap();
        let all = report["findings"].as_array().unwrap().iter();
        let wrong = all.filter(|f| f["wrong"] == true);
        let wrong: Vec<String> = wrong
            .map(|f| f["says"].as_str().unwrap().to_owned())
            .collect();
        let code = i32::from(!wrong.is_empty());
        assert_eq!(output.status.code(), Some(code));
        wrong
    }

    /// Waits until this is wrong and nothing else; if empty, until nothing is. The server hears of
    /// an Envoy a moment after its start.
    fn only(&self, envoy: &Envoy, word: &str) {
        let mut last = Vec::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the doctor to be of that opinion", || {
                last = self.wrong(envoy);
                let is_it = match last.as_slice() {
                    [] => word.is_empty(),
                    [says] => !word.is_empty() && says.contains(word),
                    _ => false,
                };
                is_it.then_some(())
            });
        }));
        assert!(found.is_ok(), "not only `{word}`: {last:#?}");
    }

    /// The same of an Envoy with a configuration of its own.
    fn only_with(&self, setup: Setup, word: &str) {
        self.only(&Envoy::start(setup), word);
    }
}

#[test]
fn what_is_broken_is_named_with_the_next_step_and_nothing_else_is() {
    let case = Case::start();
    let edited = |from: &str, to: &str| case.setup().edit(from, to);
    case.only_with(case.setup(), "");
    let path = edited("normalize_path: true", "normalize_path: false");
    case.only_with(path, "`normalize_path: true`");
    let ports = "ignore_port_in_host_matching: true";
    let ports = edited(ports, &ports.replace("true", "false"));
    case.only_with(ports, "`host_ports: ignore`");
    let cluster = edited("name: keystile-control", "name: elsewhere");
    case.only_with(cluster, "which this Envoy does not have");
    if !shell::is_module() {
        let guard = edited("key: wasm.keystile.pass", "key: other.pass");
        case.only_with(guard, "has no guard");
    }
}

#[test]
fn a_key_that_the_environment_lacks_is_named_by_fleet_and_doctor() {
    let case = Case::start();
    let other = "KEYSTILE_SIGNING_KEYS=other:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    let envoy = Envoy::unready(case.setup().only_environment(other));
    // Until then its main thread, which answers the doctor as well, is busy.
    for refusals in 1..=2 {
        eventually("it to refuse both resources", || {
            let log = envoy.log();
            (log.matches("TypedExtensionConfig rejected").count() >= refusals).then_some(())
        });
    }
    eventually("both to name the key", || {
        let wrong = case.wrong(&envoy).join("\n");
        let names = wrong.contains("no keyset is in force")
            && wrong.contains("`edge-1` refuses version")
            && wrong.contains("set KEYSTILE_SIGNING_KEYS to what `keystilectl signing-key export`");
        let fleet = String::from_utf8(case.server.output(&["fleet"]).stdout).unwrap();
        let causes = fleet.contains("refused by `edge-1`: most likely")
            && fleet.contains("set KEYSTILE_SIGNING_KEYS to what");
        (names && causes).then_some(())
    });
}

#[test]
fn enrolment_that_is_required_and_an_envoy_that_is_gone_are_named() {
    let case = Case::start();
    let envoy = Envoy::start(case.setup());
    case.only(&envoy, "");
    let policy = case.companion.dir().join("stricter.yaml");
    std::fs::write(&policy, format!("{POLICY}require_enrolment: true\n")).unwrap();
    let policy = policy.display().to_string();
    let output = case.server.output(&["policy", "apply", &policy]);
    assert!(output.status.success(), "{output:?}");
    eventually("both to be named", || {
        let wrong = case.wrong(&envoy).join("\n");
        let both = wrong.contains("no Envoy is enrolled")
            && wrong.contains("run `keystilectl node enroll edge-1`");
        both.then_some(())
    });
    let admin = format!("http://{}", envoy.admin_address());
    drop(envoy);
    let output = case.doctor(&admin);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("does not answer"), "{text}");
}
