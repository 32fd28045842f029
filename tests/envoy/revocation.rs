//! How long a revoked key lives on: from the command to the last answer it opened.

use crate::fixture::in_force;
use crate::support::{Answer, Companion, Envoy, Load, Setup, Upstream, get, quiet};
use std::path::Path;
use std::time::{Duration, Instant};

const POLICY: &str = r#"
version: 1
routes:
  - { path: "/v1/{*rest}" }
"#;

/// Whatever else this machine does can only make a revocation slower: the quickest of a
/// few is the one that tells what it costs.
const ATTEMPTS: usize = 5;

#[test]
fn with_a_hundred_thousand_keys_a_revocation_is_in_force_within_a_second() {
    let upstream = Upstream::start();
    let setup = Setup::ecds(&upstream);
    let companion = Companion::init(setup.dir(), POLICY);
    companion.run(&["client", "create", "acme"]);
    let (survivor, _) = companion.issue(&["acme"]);
    let doomed: Vec<_> = (0..=ATTEMPTS).map(|_| companion.issue(&["acme"])).collect();
    let others = 100_000 - 1 - doomed.len();
    companion.json(&["key", "issue", "acme", "--count", &others.to_string()]);

    let protobuf = setup.dir().join("ecds.pb");
    assert_eq!(companion.push(&protobuf)["keys"], 100_000);
    let setup = setup
        .edit("ecds.json", "ecds.pb")
        .signing_keys(&companion.signing_keys());
    let envoy = Envoy::start(setup);
    let case = Case {
        companion: &companion,
        envoy: &envoy,
        survivor: &survivor,
    };
    let (last, first) = doomed.split_last().unwrap();
    let mut attempts = first.iter();
    let within = attempts.any(|key| {
        let took = quiet::alone(|| case.revoke(key, &protobuf));
        took < Duration::from_secs(1)
    });
    assert!(within, "{ATTEMPTS} revocations, and none within a second");
    drop(envoy);

    // The way of small keysets, for comparison: Envoy reads JSON slowly.
    let setup = Setup::ecds(&upstream).signing_keys(&companion.signing_keys());
    let watched = setup.ecds_file();
    companion.push(watched.path());
    let envoy = Envoy::start(setup);
    let case = Case {
        companion: &companion,
        envoy: &envoy,
        survivor: &survivor,
    };
    quiet::alone(|| case.revoke(last, watched.path()));
}

struct Case<'a> {
    companion: &'a Companion,
    envoy: &'a Envoy,
    survivor: &'a str,
}

impl Case<'_> {
    /// Revokes this key under load and says how long it still opened anything.
    fn revoke(&self, (key, id): &(String, String), file: &Path) -> Duration {
        let requests = [key.as_str(), self.survivor].map(|key| get("/v1/a").bearer(key));
        let pace = Duration::from_millis(20);
        let load = Load::start(self.envoy.address(), 16, pace, requests.to_vec());
        load.another_round();

        let from = Instant::now();
        self.companion.run(&["key", "revoke", id]);
        let revoked = from.elapsed();
        let pushed = self.companion.push(file);
        let written = from.elapsed();
        in_force(self.envoy, pushed["version"].as_u64().unwrap());
        let shown = from.elapsed();
        load.another_round();
        let connections = load.stop();

        let opened = |answer: &&Answer| answer.request == 0 && answer.status() == Some(200);
        let last = connections.iter().flatten().filter(opened);
        let last = last.map(|answer| answer.done - from).max().unwrap();
        for connection in &connections {
            let end = connection.iter().rev().find(|answer| answer.request == 0);
            assert_eq!(end.unwrap().status(), Some(401));
            let mut others = connection.iter().filter(|answer| answer.request == 1);
            assert!(others.all(|answer| answer.status() == Some(200)));
        }
        let workers = self.envoy.connections();
        assert!(workers.iter().all(|count| *count > 0), "{workers:?}");
        println!(
            "{}: revoked after {} ms, pushed after {} ms ({} MB), last 200 after {} ms, every \
             VM's gauge after {} ms; connections by worker {workers:?}",
            file.extension().unwrap().display(),
            revoked.as_millis(),
            written.as_millis(),
            pushed["bytes"].as_u64().unwrap() / 1_000_000,
            last.as_millis(),
            shown.as_millis(),
        );
        last
    }
}
