//! A store is lost and restored while Envoys are attached: the runbook of `operating.md`,
//! word for word, and what is closed afterwards.

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
    _upstream: Upstream,
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
            _upstream: upstream,
        }
    }

    fn answers(&self, key: &str) -> HashSet<u16> {
        let ask = |envoy: &Envoy| envoy.send(&get("/v1/a").bearer(key)).status;
        let many = self.envoys.iter().flat_map(|e| std::iter::repeat_n(e, 16));
        many.map(ask).collect()
    }

    fn until(&self, key: &str, status: u16) {
        eventually("every worker to agree", || {
            (self.answers(key) == HashSet::from([status])).then_some(())
        });
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

    /// A command line as a person types it on the server's machine.
    fn typed(&self, line: &str) -> Output {
        let dir = self.companion.dir();
        let binary = Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../target/dist/keystilectl"
        ));
        let built = binary.parent().unwrap().display();
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new("sh")
            .args(["-euc", line])
            .current_dir(root())
            .env("PATH", format!("{built}:{path}"))
            .env("KEYSTILE_HOME", dir.join("home"))
            .env("KEYSTILE_TOKEN", self.server.token())
            .output()
            .unwrap()
    }
}

/// The commands of the runbook, one a line.
fn runbook() -> Vec<String> {
    let page = fs::read_to_string(root().join("src/server/operating.md")).unwrap();
    let (_, section) = page.split_once("\n### Runbook: the store is lost").unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    let block = block.split("```").next().unwrap();
    block.lines().map(ToOwned::to_owned).collect()
}

fn printed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    format!("{said}{errors}")
}

#[test]
fn the_runbook_followed_word_for_word_closes_all_that_was_issued_since_the_backup() {
    let mut case = Case::start();
    let (kept, _) = case.server.issue(&["acme"]);
    let (doomed, doomed_id) = case.server.issue(&["acme"]);
    case.until(&doomed, 200);
    let backup = case.backup();

    // So many that a new base is made, and one that is used.
    let many = ["key", "issue", "acme", "--count", "1500"];
    case.server.json(&many);
    let (late, late_id) = case.server.issue(&["acme"]);
    case.until(&late, 200);
    case.server.json(&["key", "revoke", &doomed_id, "--wait"]);
    case.until(&doomed, 401);
    eventually(
        "the new base to be kept, and the late key to be counted",
        || {
            let key = case.server.json(&["key", "show", &late_id]);
            let metrics = Client::connect(case.server.address().parse().unwrap())
                .send(&request("GET", "/metrics"))
                .text();
            let made = metrics
                .lines()
                .any(|l| l.starts_with("keystile_control_base_keys 15"));
            (made && !key["usage"]["last_used"].is_null()).then_some(())
        },
    );

    let said = follow_the_runbook(&mut case, &backup);
    let of = |command: &str| {
        let found = said.iter().find(|(line, _)| line.contains(command));
        found.map(|(_, said)| said.as_str()).unwrap()
    };
    let restored = of(" restore ");
    assert!(
        restored.contains("1 key of the last published keyset, revoked"),
        "{restored}"
    );
    assert!(
        restored.contains("1501 keys of the last published keyset, unknown"),
        "{restored}"
    );
    assert!(restored.contains("in use, unknown"), "{restored}");
    let lost = of(" key lost");
    assert!(
        lost.contains(&late_id) && lost.contains(&doomed_id),
        "{lost}"
    );
    // The worst first, and when each was last used.
    let at = |what: &str| lost.find(what).unwrap_or_else(|| panic!("{what}: {lost}"));
    assert!(at("UNKNOWN KEY IN USE") < at("LOST KEY"), "{lost}");
    assert!(at("good_again") < at(" unknown "), "{lost}");
    assert!(of(" audit verify").contains("none changed"));

    // All of it is closed that the store does not know, at once after the wait.
    assert_eq!(case.answers(&late), HashSet::from([401]));
    assert_eq!(case.answers(&kept), HashSet::from([200]));
    // As the page says: what was revoked since is good again, until it is revoked again.
    assert_eq!(case.answers(&doomed), HashSet::from([200]));
    case.server.json(&["key", "revoke", &doomed_id, "--wait"]);
    assert_eq!(case.answers(&doomed), HashSet::from([401]));
    let lost = case.server.json(&["key", "lost"]);
    let listed = |list: &str, id: &str| {
        let all = lost[list].as_array().unwrap();
        all.iter().any(|k| k["id"] == id)
    };
    assert!(listed("in_use", &late_id), "{lost}");
    assert!(!listed("published", &doomed_id), "put right: {lost}");
}

/// Each command, and what it printed.
fn follow_the_runbook(case: &mut Case, backup: &str) -> Vec<(String, String)> {
    let mut said = Vec::new();
    for line in runbook() {
        let line = line
            .replace("/backup/keystile-2027-01-31.db", backup)
            .replace("127.0.0.1:8080", case.server.address());
        // There is no systemd here: the test starts and stops the real server.
        if let Some(what) = line.strip_prefix("systemctl ") {
            match what.split_whitespace().next() {
                Some("stop") => case.server.kill(),
                _ => case.server.restart(),
            }
            continue;
        }
        said.push((line.clone(), printed(&case.typed(&line))));
    }
    said
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
