//! "From a status code to its cause" in the guide: each status is brought about on a real Envoy, and
//! the commands of the page, as they are printed there, lead from its line in the log to the cause.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::fixture::{Keys, in_force, now};
use crate::support::{
    Companion, Envoy, Response, Setup, Upstream, eventually, fresh_dir, get, root,
};

const POLICY: &str = r#"
version: 1
credentials: [{ header: x-api-key }]
host_ports: ignore
plans:
  once: { limits: [{ requests: 1, per: 1d }] }
routes:
  - { path: "/v1/{*rest}", scopes: [read] }
  - { path: "/admin/{*rest}", methods: [POST], scopes: [admin] }
"#;

struct Night {
    companion: Companion,
    upstream: Upstream,
    file: PathBuf,
}

impl Night {
    fn start(policy: &str) -> Self {
        let dir = fresh_dir();
        let companion = Companion::init(&dir, policy);
        companion.run(&["client", "create", "acme", "--plan", "once"]);
        Self {
            file: dir.join("ecds.pb"),
            upstream: Upstream::start(),
            companion,
        }
    }

    fn setup(&self) -> Setup {
        self.companion.push(&self.file);
        let watched = self.file.display().to_string();
        let arguments = ["--ecds-file", &watched];
        self.companion.rendered(&self.upstream, &arguments)
    }

    fn push(&self, envoy: &Envoy) {
        let pushed = self.companion.push(&self.file);
        in_force(envoy, pushed["version"].as_u64().unwrap());
    }

    fn issue(&self) -> (String, String) {
        self.companion.issue(&["acme", "--scope", "read"])
    }

    /// What a command of the page prints, whatever it ends with.
    fn typed(&self, envoy: &Envoy, command: &str) -> String {
        let ours = self.companion.build().display().to_string();
        let path = format!("{ours}:{}", std::env::var("PATH").unwrap());
        let output = Command::new("bash")
            .args(["-c", command])
            .current_dir(envoy.dir())
            .env("PATH", path)
            .env("KEYSTILE_HOME", self.companion.dir().join("home"))
            .env_remove("KEYSTILE_MASTER_KEY")
            .env_remove("KEYSTILE_SERVER")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("Usage"), "{errors} in {command}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// By the id that the caller was given.
    fn by_id(&self, envoy: &Envoy, answer: &Response) -> String {
        let id = answer.json()["request_id"].as_str().unwrap().to_owned();
        envoy.access_line(|line| line["request_id"] == id.as_str());
        self.typed(envoy, &block(0).replace("REQUEST_ID", &id))
    }

    /// By the newest line with a status.
    fn by_status(&self, envoy: &Envoy, status: u16) -> String {
        envoy.access_line(|line| line["status"] == status);
        self.typed(envoy, &block(1).replace(":500", &format!(":{status}")))
    }

    fn doctor(&self, envoy: &Envoy) -> String {
        let admin = envoy.admin_address().to_string();
        self.typed(envoy, &block(2).replace("127.0.0.1:9901", &admin))
    }
}

/// The commands of the section, in order.
fn block(at: usize) -> String {
    let page = fs::read_to_string(root().join("src/book/pages/trouble.md")).unwrap();
    let section = page.split("## From a status code to its cause").nth(1);
    let section = section.unwrap().split("\n## ").next().unwrap();
    let blocks: Vec<&str> = section.split("```sh\n").skip(1).collect();
    assert_eq!(
        blocks.len(),
        3,
        "one for an id, one for a status, the doctor"
    );
    blocks[at].split("```").next().unwrap().to_owned()
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no `{word}` in:\n{text}");
    }
}

fn keyed(path: &str, key: &str) -> crate::support::Request {
    get(path).header("x-api-key", key)
}

#[test]
fn a_401_leads_to_the_key_and_what_became_of_it() {
    let night = Night::start(POLICY);
    let (key, id) = night.issue();
    let envoy = Envoy::start(night.setup());
    night.companion.run(&["key", "revoke", &id]);
    night.push(&envoy);
    let answer = envoy.send(&keyed("/v1/a", &key));
    assert_eq!(answer.status, 401);
    let told = night.by_id(&envoy, &answer);
    let owner = format!("key      {id} of client `acme`");
    says(
        &told,
        &[&owner, "the key is revoked, for good", "key issue acme"],
    );

    // Cut off on its way; what was sent is in no log.
    let answer = envoy.send(&keyed("/v1/a", &key[..key.len() - 3]));
    let told = night.by_id(&envoy, &answer);
    says(&told, &["not copied whole", "explain --key - --path /v1/a"]);
    let cut = &key[..key.len() - 3];
    let ask = format!("printf %s {cut} | keystilectl explain --key - --path /v1/a");
    let told = night.typed(&envoy, &ask);
    says(&told, &["not copied whole: 3 of 59 characters are missing"]);

    // A key of another store.
    let (stranger, _) = Night::start(POLICY).issue();
    let answer = envoy.send(&keyed("/v1/a", &stranger));
    let told = night.by_id(&envoy, &answer);
    says(&told, &["no key with the id that it claims"]);
}

#[test]
fn a_403_leads_to_the_scope_or_the_methods_that_would_do() {
    let night = Night::start(POLICY);
    let (key, id) = night.issue();
    let envoy = Envoy::start(night.setup());
    let post = crate::support::request("POST", "/admin/x").header("x-api-key", &key);
    let answer = envoy.send(&post);
    assert_eq!(answer.status, 403);
    let told = night.by_id(&envoy, &answer);
    let update = format!("key update {id} --scope");
    says(
        &told,
        &["route    /admin/{*rest}", "lacks `admin`", &update],
    );

    let answer = envoy.send(&keyed("/admin/x", &key));
    assert_eq!(answer.status, 403);
    let told = night.by_status(&envoy, 403);
    says(
        &told,
        &[
            "no route of the policy matches",
            "a route for the methods POST",
        ],
    );
    assert_eq!(told, night.by_id(&envoy, &answer), "the newest line");
}

#[test]
fn a_429_leads_to_the_bucket_that_was_empty() {
    let night = Night::start(POLICY);
    let (key, id) = night.issue();
    let envoy = Envoy::start(night.setup());
    assert_eq!(envoy.send(&keyed("/v1/a", &key)).status, 200);
    let answer = envoy.send(&keyed("/v1/a", &key));
    assert_eq!(answer.status, 429);
    let told = night.by_id(&envoy, &answer);
    let owner = format!("key      {id} of client `acme`");
    says(
        &told,
        &[
            &owner,
            "limit    plan once: 1 per 86400 s",
            "usage --client acme",
        ],
    );
    assert!(!told.contains("the log has another answer"), "{told}");
}

#[test]
fn a_500_leads_to_the_signing_key_that_envoy_lacks() {
    let night = Night::start(POLICY);
    let other = "KEYSTILE_SIGNING_KEYS=other:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    let envoy = Envoy::start(night.setup().only_environment(other));
    let answer = envoy.send(&get("/v1/a"));
    assert_eq!(answer.status, 500);
    let told = night.by_status(&envoy, 500);
    says(
        &told,
        &[
            "Envoy has no configuration of the filter",
            "doctor --envoy-admin",
        ],
    );
    eventually("the doctor to name the key", || {
        let doctor = night.doctor(&envoy);
        doctor.contains("set KEYSTILE_SIGNING_KEYS").then_some(())
    });
}

#[test]
fn a_503_leads_to_the_keyset_that_is_too_old() {
    let night = Night::start(POLICY);
    // As if nothing had been pushed for a minute.
    let mut keys = Keys::new(&format!("{POLICY}not_after: 1m\n"));
    let key = keys.issue("acme");
    keys.content.issued_at = now() - 60;
    let envoy = keys.start(&night.upstream);
    let answer = envoy.send(&keyed("/v1/a", &key));
    assert_eq!(answer.status, 503);
    let told = night.by_id(&envoy, &answer);
    says(&told, &["`not_after`", "keystilectl push --ecds-file FILE"]);
}

/// Not the filter's answer: the log has no reason of ours, and `explain` does not make one up.
#[test]
fn what_the_upstream_answers_is_not_taken_for_ours() {
    let night = Night::start(POLICY);
    let (key, _) = night.issue();
    let envoy = Envoy::start(night.setup());
    let answer = envoy.send(&keyed("/v1/a", &key));
    assert_eq!(answer.status, 200);
    let line: Value = envoy.access_line(|line| line["status"] == 200);
    assert_eq!(line["route"], Value::Null);
    says(
        &night.by_status(&envoy, 200),
        &["Keystile let the request in"],
    );
}
