//! A store is lost and restored while Envoys are attached: the runbook of `operating.md`,
//! word for word, and what is closed afterwards.

mod runbook;

use crate::support::{
    Client, Companion, Envoy, Server, Upstream, eventually, fresh_dir, get, request, root,
};
use keystile_core::keyset::SigningKeys;
use keystile_core::report::{self, Report, StoreState};
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

const POLICY: &str = r#"
version: 1
report: { cluster: keystile-control, every: 1s }
routes:
  - { path: "/v1/{*rest}" }
"#;
const NODES: [&str; 2] = ["edge-1", "edge-2"];

struct Case {
    companion: Companion,
    server: Server,
    envoys: Vec<Envoy>,
    upstream: Upstream,
}

impl Case {
    fn start() -> Self {
        let companion = Companion::init(&fresh_dir(), POLICY);
        companion.run(&["client", "create", "acme"]);
        let server = Server::start(&companion);
        let upstream = Upstream::start();
        let envoy = |node| Envoy::start(server.rendered(&companion, &upstream, node));
        Self {
            envoys: NODES.into_iter().map(envoy).collect(),
            companion,
            server,
            upstream,
        }
    }

    fn answers(&self, key: &str) -> HashSet<u16> {
        answers(&self.envoys, key)
    }

    fn until(&self, key: &str, status: u16) {
        until(&self.envoys, key, status);
    }

    /// What the server says of the store's keyset.
    fn keyset(&self) -> Value {
        let show = request("GET", "/v1/keyset").bearer(self.server.token());
        Client::connect(self.server.address().parse().unwrap())
            .send(&show)
            .json()
    }

    fn home(&self, name: &str) -> std::path::PathBuf {
        self.companion.dir().join("home").join(name)
    }

    fn backup(&self) -> String {
        let file = self.companion.dir().join("kept.db").display().to_string();
        self.companion.run(&["backup", &file]);
        file
    }
}

/// What every worker says to a key.
fn answers<'a>(envoys: impl IntoIterator<Item = &'a Envoy>, key: &str) -> HashSet<u16> {
    let ask = |envoy: &Envoy| envoy.send(&get("/v1/a").bearer(key)).status;
    let many = envoys.into_iter().flat_map(|e| std::iter::repeat_n(e, 16));
    many.map(ask).collect()
}

fn until(envoys: &[Envoy], key: &str, status: u16) {
    eventually("every worker to agree", || {
        (answers(envoys, key) == HashSet::from([status])).then_some(())
    });
}

#[test]
fn a_version_that_envoys_have_from_a_lost_timeline_is_overtaken() {
    let mut case = Case::start();
    let (key, id) = case.server.issue(&["acme"]);
    case.until(&key, 200);
    let backup = case.backup();
    // A clock that was an hour ahead: the lost store's versions lie above what is to come.
    let ahead = now().as_millis() as u64 + 3_600_000;
    prove(&case, ahead);
    let (late, _) = case.server.issue(&["acme"]);
    case.until(&late, 200);

    // The machine is lost: nothing but the backup and the master key is left.
    case.server.kill();
    let master = fs::read(case.home("master.key")).unwrap();
    fs::remove_dir_all(case.home("")).unwrap();
    fs::create_dir(case.home("")).unwrap();
    fs::write(case.home("master.key"), master).unwrap();
    fs::set_permissions(case.home("master.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let restored = case.companion.json(&["restore", &backup]);
    assert!(restored["version"].as_u64().unwrap() < ahead, "{restored}");
    case.server.restart();

    // Proof, not a number that is large enough.
    let revoked = case.server.json(&["key", "revoke", &id, "--wait=60s"]);
    assert_eq!(revoked["status"], "revoked");
    assert_eq!(case.answers(&key), HashSet::from([401]));
    assert_eq!(case.answers(&late), HashSet::from([401]));
    let version = case.keyset()["version"].as_u64();
    assert!(version > Some(ahead), "{version:?}");
    let risen = case
        .companion
        .run(&["audit", "list", "--action", "keyset.rise"]);
    assert!(risen.contains("edge-"), "{risen}");
}

#[test]
fn an_envoy_that_is_cut_off_is_waited_for_until_it_is_forgotten() {
    let mut case = Case::start();
    let (key, id) = case.server.issue(&["acme"]);
    case.until(&key, 200);
    // The only ones there are: nobody is left to prove anything.
    let envoys = std::mem::take(&mut case.envoys);
    drop(envoys);
    let gone = |case: &Case| {
        let fleet = case.server.json(&["fleet"]);
        let nodes = fleet.as_array().unwrap();
        nodes.iter().all(|n| n["state"] == "disconnected")
    };
    eventually("both to be missed", || gone(&case).then_some(()));
    let output = case.server.output(&["key", "revoke", &id, "--wait=1s"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    for node in NODES {
        assert!(
            words.contains(&format!("`{node}` has not proved")),
            "{words}"
        );
    }
    assert!(words.contains("(since 20"), "{words}");

    // A restart makes nobody forget them; their names do.
    case.server.kill();
    case.server.restart();
    let output = case.server.output(&["fleet", "--wait=1s"]);
    assert_eq!(output.status.code(), Some(1));
    for node in NODES {
        case.server.json(&["fleet", "forget", node]);
    }
    let output = case.server.output(&["fleet", "--wait=1s"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "nobody has it: {words}");
    assert!(words.contains("knows no Envoy"), "{words}");
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// A report, as good as an Envoy's, of this version.
fn prove(case: &Case, version: u64) {
    let keys = SigningKeys::parse(&case.companion.signing_keys()).unwrap();
    let stores = case.keyset();
    let report = Report {
        node: NODES[0].to_owned(),
        process: None,
        vm: 200,
        vms: 3,
        sent: now().as_secs(),
        claimed: 1,
        stores: vec![StoreState {
            store: stores["store"].as_str().unwrap().to_owned(),
            version,
            base: version,
            missing_base: false,
        }],
    };
    let sealed = report::seal(&report, &keys).unwrap();
    let posted = request("POST", report::PATH)
        .header(keystile_core::report::message::KID_HEADER, &sealed.kid)
        .header(
            keystile_core::report::message::SIGNATURE_HEADER,
            &sealed.tag,
        )
        .body(sealed.body.clone());
    let answer = Client::connect(case.server.address().parse().unwrap()).send(&posted);
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    eventually("the version to rise", || {
        let shown = case.keyset();
        (shown["version"].as_u64()? > version).then_some(())
    });
}
