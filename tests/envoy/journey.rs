//! From the first command to the last answer: companion, rendered configuration, Envoy.

use crate::fixture::in_force;
use crate::support::{Companion, Envoy, Upstream, burst, count, fresh_dir, get, request};
use std::fs;
use std::path::PathBuf;

const POLICY: &str = r#"
version: 1
realm: api.example.com
plans:
  free: { limits: [{ requests: 5, per: 1h }] }
  gold: { limits: [{ requests: 1000, per: 1s }] }
routes:
  - { path: /healthz, auth: none }
  - { path: "/v1/users/{id}", methods: [GET], scopes: ["read:users"] }
  - { path: "/v1/users/{id}", methods: [DELETE], scopes: ["write:users"] }
"#;

/// A companion, and an Envoy on the configuration that it rendered.
struct Journey {
    companion: Companion,
    file: PathBuf,
    envoy: Envoy,
    upstream: Upstream,
}

impl Journey {
    fn start(file: &str) -> Self {
        let upstream = Upstream::start();
        let dir = fresh_dir();
        let companion = Companion::init(&dir, POLICY);
        let file = dir.join(file);
        companion.push(&file);
        let watched = file.display().to_string();
        let envoy = Envoy::start(companion.rendered(&upstream, &["--ecds-file", &watched]));
        Self {
            companion,
            file,
            envoy,
            upstream,
        }
    }

    fn push(&self) {
        let pushed = self.companion.push(&self.file);
        in_force(&self.envoy, pushed["version"].as_u64().unwrap());
    }

    /// The status, and the code of a refusal.
    fn ask(&self, key: &str) -> (u16, String) {
        let answer = self.envoy.send(&get("/v1/users/7").bearer(key));
        (answer.status, answer.code().unwrap_or_default())
    }

    fn opens(&self, key: &str) {
        assert_eq!(self.ask(key), (200, String::new()));
    }

    fn refused(&self, key: &str, code: &str) {
        assert_eq!(self.ask(key), (401, code.to_owned()));
        self.explained(key, code);
    }

    /// `explain` says what the filter says.
    fn explained(&self, key: &str, code: &str) {
        let explain = [
            "explain",
            "--key",
            key,
            "--path",
            "/v1/users/7",
            "--output",
            "json",
        ];
        let output = self.companion.command().args(explain).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(
            printed.contains(&format!("\"{code}\"")),
            "{code} in {printed}"
        );
    }
}

#[test]
fn a_key_lives_from_its_issue_to_its_revocation() {
    for file in ["ecds.json", "ecds.pb"] {
        let journey = Journey::start(file);
        let companion = &journey.companion;
        companion.run(&["client", "create", "acme", "--plan", "gold"]);
        let (key, id) = companion.issue(&["acme", "--scope", "read:users"]);

        // Issued, and not pushed yet.
        assert_eq!(journey.ask(&key), (401, "unknown_api_key".to_owned()));
        journey.push();
        journey.opens(&key);
        journey.explained(&key, "ok");
        let answer = journey
            .envoy
            .send(&request("DELETE", "/v1/users/7").bearer(&key));
        assert_eq!(answer.code().as_deref(), Some("insufficient_scope"));

        companion.run(&["key", "disable", &id]);
        journey.push();
        journey.refused(&key, "disabled_api_key");
        companion.run(&["key", "enable", &id]);
        journey.push();
        journey.opens(&key);

        let (next, next_id) = Companion::issued(&companion.json(&["key", "rotate", &id]));
        journey.push();
        journey.opens(&key);
        journey.opens(&next);

        companion.run(&["key", "revoke", &id]);
        journey.push();
        journey.refused(&key, "revoked_api_key");
        journey.opens(&next);

        companion.run(&["key", "revoke", &next_id]);
        journey.push();
        journey.refused(&next, "revoked_api_key");
        let through = journey.upstream.requests();
        journey.refused(&next, "revoked_api_key");
        assert_eq!(journey.upstream.requests(), through);
    }
}

#[test]
fn a_rotated_key_and_its_successor_share_one_bucket() {
    let journey = Journey::start("ecds.json");
    let companion = &journey.companion;
    companion.run(&["client", "create", "hobby", "--plan", "free"]);
    let (key, id) = companion.issue(&["hobby", "--scope", "read:users"]);
    journey.push();
    for _ in 0..3 {
        journey.opens(&key);
    }

    let (next, _) = Companion::issued(&companion.json(&["key", "rotate", &id]));
    journey.push();

    let request = get("/v1/users/7").bearer(&next);
    let answers = burst(journey.envoy.address(), 5, 2, &request);
    assert_eq!(count(&answers, 200), 2);
    assert_eq!(journey.ask(&key), (429, "rate_limited".to_owned()));
}

#[test]
fn a_rendered_static_configuration_serves_without_any_other_file() {
    let upstream = Upstream::start();
    let dir = fresh_dir();
    let companion = Companion::init(&dir, POLICY);
    companion.run(&["client", "create", "acme", "--plan", "gold"]);
    let (key, id) = companion.issue(&["acme", "--scope", "read:users"]);
    let wasm = crate::support::shell::file();
    let wasm = wasm.display().to_string();

    let envoy = Envoy::start(companion.rendered(&upstream, &["--static", "--wasm", &wasm]));

    assert_eq!(envoy.send(&get("/v1/users/7").bearer(&key)).status, 200);
    assert_eq!(envoy.send(&get("/v1/users/7")).status, 401);
    let line = envoy.access_line(|line| line["status"] == 200);
    assert_eq!(
        (&line["client"], &line["key"]),
        (&"acme".into(), &id.into())
    );
}

#[test]
fn signing_keys_are_rotated_without_a_refused_push() {
    let journey = Journey::start("ecds.json");
    let companion = &journey.companion;
    companion.run(&["client", "create", "acme", "--plan", "gold"]);
    let (key, id) = companion.issue(&["acme", "--scope", "read:users"]);
    journey.push();
    let old = companion.signing_keys();

    companion.run(&["signing-key", "rotate"]);
    let both = companion.signing_keys();
    assert!(both.contains(&old), "the former key is still exported");
    // This Envoy knows the former key alone, and takes what it is pushed all the same.
    let (next, next_id) = companion.issue(&["acme", "--scope", "read:users"]);
    journey.push();
    journey.opens(&next);

    let watched = journey.file.display().to_string();
    let restarted = companion.rendered(&journey.upstream, &["--ecds-file", &watched]);
    drop(journey.envoy);
    let envoy = Envoy::start(restarted);
    assert_eq!(envoy.send(&get("/v1/users/7").bearer(&key)).status, 200);
    companion.run(&["key", "revoke", &id]);
    let pushed = companion.push(&journey.file);
    in_force(&envoy, pushed["version"].as_u64().unwrap());
    assert_eq!(envoy.send(&get("/v1/users/7").bearer(&key)).status, 401);
    assert_eq!(envoy.send(&get("/v1/users/7").bearer(&next)).status, 200);

    // The former one gone, the new one alone is enough.
    let (former, _) = old.split_once(':').unwrap();
    companion.run(&["signing-key", "retire", former]);
    companion.run(&["key", "revoke", &next_id]);
    let pushed = companion.push(&journey.file);
    in_force(&envoy, pushed["version"].as_u64().unwrap());
    assert_eq!(envoy.send(&get("/v1/users/7").bearer(&next)).status, 401);
}

#[test]
fn a_push_onto_a_full_disk_leaves_the_old_file_and_envoy_as_they_were() {
    let journey = Journey::start("ecds.json");
    let companion = &journey.companion;
    companion.run(&["client", "create", "acme", "--plan", "gold"]);
    let (key, id) = companion.issue(&["acme", "--scope", "read:users"]);
    // More than the limit below takes: some 45 bytes a key.
    companion.json(&["key", "issue", "acme", "--count", "2000"]);
    journey.push();
    companion.run(&["key", "revoke", &id]);
    let before = fs::read(&journey.file).unwrap();

    // No file may grow beyond 64 KiB: `write` fails as it does where no block is free.
    let bare = companion.command();
    let mut shell = std::process::Command::new("bash");
    shell
        .current_dir(crate::support::root())
        .envs(
            bare.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .args(["-c", r#"trap "" XFSZ; ulimit -f 64; exec "$@""#, "bash"])
        .arg(bare.get_program())
        .args(["push", "--wasm"])
        .arg(crate::support::shell::file())
        .arg("--ecds-file")
        .arg(&journey.file);
    let output = shell.output().unwrap();

    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cannot be written"), "{errors}");
    assert!(errors.contains("the file is as it was"), "{errors}");
    assert!(fs::read(&journey.file).unwrap() == before);
    let beside = fs::read_dir(journey.envoy.dir()).unwrap();
    let names = beside.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = names.filter(|name| name.starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
    journey.opens(&key);

    journey.push();
    journey.refused(&key, "revoked_api_key");
}
