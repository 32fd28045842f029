//! What an Envoy's environment is good for: the change-over from secrets that every Envoy has to public
//! keys, followed word for word in both shells, and what a stolen environment forges.

mod stolen;

use crate::support::{
    Companion, Envoy, Load, Server, Setup, Upstream, eventually, fresh_dir, get, part, root, shell,
};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const POLICY: &str = r#"
version: 1
realm: api.example.com
routes:
  - { path: "/v1/{*rest}" }
"#;

/// An Envoy with a shell of its own, fed by a file.
struct Edge {
    dir: PathBuf,
    shell: &'static str,
    code: PathBuf,
    envoy: Option<Envoy>,
}

impl Edge {
    fn new(shell: &'static str) -> Self {
        let code = match shell {
            "module" => "target/dist/libkeystile.so",
            _ => "target/dist/keystile.wasm",
        };
        Self {
            dir: fresh_dir(),
            shell,
            code: part(code, "scripts/build"),
            envoy: None,
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.join("ecds.pb")
    }

    /// Starts it, or starts it anew, with this environment.
    fn start(&mut self, companion: &Companion, upstream: &Upstream, environment: &str) {
        self.envoy = None;
        let file = self.file().display().to_string();
        let watched = ["--ecds-file", &file, "--shell", self.shell];
        let setup = companion.rendered_bare(self.dir.clone(), upstream, &watched);
        self.envoy = Some(Envoy::start(setup.only_environment(environment)));
    }

    /// Waits until all of its VMs have this version, of which a module has one for all workers.
    fn has(&self, version: u64) {
        let vms = if self.shell == "module" { 1 } else { 3 };
        eventually("the push to be in force", || {
            (self.envoy().versions() == vec![version; vms]).then_some(())
        });
    }

    fn envoy(&self) -> &Envoy {
        self.envoy.as_ref().unwrap()
    }
}

struct Case {
    companion: Companion,
    upstream: Upstream,
    edges: [Edge; 2],
    key: String,
}

impl Case {
    fn start() -> Self {
        let companion = Companion::init(&fresh_dir(), POLICY);
        companion.run(&["client", "create", "acme"]);
        let (key, _) = companion.issue(&["acme"]);
        let mut case = Self {
            companion,
            upstream: Upstream::start(),
            edges: ["wasm", "module"].map(Edge::new),
            key,
        };
        case.typed("keystilectl push --ecds-file target/ecds.pb");
        let environment = case.companion.run(&["signing-key", "export"]);
        for edge in &mut case.edges {
            edge.start(&case.companion, &case.upstream, &environment);
        }
        case
    }

    /// A line of the page, with the names of this test's files in it; what it printed. What is
    /// pushed is in force when this returns.
    fn typed(&self, line: &str) -> String {
        let env_file = self.companion.dir().join("envoy.env");
        let line = line.replace("target/envoy.env", &env_file.display().to_string());
        let line = match line.contains("OLD_KID") {
            true => line.replace("OLD_KID", &self.accepted_kid()),
            false => line,
        };
        if !line.contains("target/ecds.pb") {
            return self.shell(&line);
        }
        for edge in &self.edges {
            let files = format!(
                "{} --output json --shell {} --wasm {}",
                edge.file().display(),
                edge.shell,
                edge.code.display()
            );
            let pushed = self.shell(&line.replace("target/ecds.pb", &files));
            let pushed: Value = serde_json::from_str(&pushed).unwrap();
            if edge.envoy.is_some() {
                edge.has(pushed["version"].as_u64().unwrap());
            }
        }
        String::new()
    }

    fn shell(&self, line: &str) -> String {
        let built = root().join("target/dist").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("sh")
            .args(["-euc", line])
            .current_dir(root())
            .env("PATH", format!("{built}:{path}"))
            .env("KEYSTILE_HOME", self.companion.dir().join("home"))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn accepted_kid(&self) -> String {
        let all = self.companion.json(&["signing-key", "list"]);
        let mut all = all.as_array().unwrap().iter();
        let old = all.find(|k| k["state"] == "accepted").unwrap();
        old["kid"].as_str().unwrap().to_owned()
    }

    fn environment(&self) -> String {
        fs::read_to_string(self.companion.dir().join("envoy.env")).unwrap()
    }

    /// Restarts one after the other, while the other one carries all requests.
    fn restart_each_under_load(&mut self) {
        let environment = self.environment();
        for at in [0, 1] {
            let load = self.load(1 - at);
            self.edges[at].start(&self.companion, &self.upstream, &environment);
            load.another_round();
            all_let_in(load);
        }
    }

    fn load(&self, at: usize) -> Load {
        let request = get("/v1/users/7").bearer(&self.key);
        let address = self.edges[at].envoy().address();
        Load::start(address, 4, Duration::from_millis(2), vec![request])
    }

    /// Follows a block: the load never stops, and a key that is revoked at the end is gone.
    fn follow(&mut self, block: &str) {
        let (before, after) = block
            .split_once(
                "# Restart every Envoy, one after the other, with this file as its environment.\n",
            )
            .unwrap();
        let both: Vec<Load> = [0, 1].map(|at| self.load(at)).into();
        for line in before.lines() {
            self.typed(line);
        }
        both.iter().for_each(Load::another_round);
        both.into_iter().for_each(all_let_in);
        self.restart_each_under_load();
        let both: Vec<Load> = [0, 1].map(|at| self.load(at)).into();
        for line in after.lines() {
            self.typed(line);
        }
        both.iter().for_each(Load::another_round);
        both.into_iter().for_each(all_let_in);
        self.a_revocation_arrives();
    }

    fn a_revocation_arrives(&self) {
        let (doomed, id) = self.companion.issue(&["acme"]);
        let status = |edge: &Edge| edge.envoy().send(&get("/v1/x").bearer(&doomed)).status;
        self.typed("keystilectl push --ecds-file target/ecds.pb");
        assert_eq!(self.edges.each_ref().map(status), [200, 200]);
        self.companion.run(&["key", "revoke", &id]);
        self.typed("keystilectl push --ecds-file target/ecds.pb");
        assert_eq!(self.edges.each_ref().map(status), [401, 401]);
    }
}

fn all_let_in(load: Load) {
    for answers in load.stop() {
        assert!(!answers.is_empty());
        for answer in answers {
            assert_eq!(answer.status(), Some(200), "{:?}", answer.outcome.err());
        }
    }
}

/// The two blocks of the section.
fn blocks() -> [String; 2] {
    let page = fs::read_to_string(root().join("src/book/pages/signing.md")).unwrap();
    let (_, section) = page
        .split_once("\n## From HMAC to Ed25519, and back\n")
        .unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks: Vec<String> = section
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect();
    blocks.try_into().unwrap()
}

#[test]
fn the_change_over_to_ed25519_and_back_refuses_no_request_in_either_shell() {
    // It runs both shells itself, whichever the suite is run for.
    if shell::is_module() {
        return;
    }
    let mut case = Case::start();
    let [there, back] = blocks();

    case.follow(&there);
    let environment = case.environment();
    assert!(
        environment.starts_with("KEYSTILE_VERIFY_KEYS="),
        "{environment}"
    );
    assert!(
        !environment.contains("KEYSTILE_SIGNING_KEYS"),
        "{environment}"
    );
    for edge in &case.edges {
        let pushed = fs::read(edge.file()).unwrap();
        let alg = b"\"alg\":\"ed25519\"";
        assert!(pushed.windows(alg.len()).any(|w| w == alg));
    }

    case.follow(&back);
    let environment = case.environment();
    assert!(
        environment.starts_with("KEYSTILE_SIGNING_KEYS="),
        "{environment}"
    );
}

#[test]
fn without_the_right_key_in_its_environment_an_envoy_refuses_everything_and_says_why() {
    // It runs both shells itself, whichever the suite is run for.
    if shell::is_module() {
        return;
    }
    let mut case = Case::start();
    case.companion
        .run(&["signing-key", "create", "--algorithm", "ed25519"]);
    let public = case.companion.run(&["signing-key", "export", "--public"]);
    let secret = case.companion.run(&["signing-key", "export"]);
    let bytes = public.trim().rsplit_once(':').unwrap().1;
    let old = case.accepted_kid();
    case.companion.run(&["signing-key", "retire", &old]);
    for edge in &mut case.edges {
        edge.envoy = None;
    }
    case.typed("keystilectl push --ecds-file target/ecds.pb");
    for (environment, why) in [
        ("", "there is no key to check keysets with"),
        // Retired.
        (
            secret.as_str(),
            "neither `KEYSTILE_SIGNING_KEYS` nor `KEYSTILE_VERIFY_KEYS` lists",
        ),
        // The public key in the wrong variable, as it is, and in a secret's clothes.
        (
            &public.replace("VERIFY", "SIGNING"),
            "has a public key among its secrets",
        ),
        (
            &format!("{}\nKEYSTILE_SIGNING_KEYS=k2:{bytes}", public.trim()),
            "so anybody could sign keysets",
        ),
        (
            "KEYSTILE_VERIFY_KEYS=k1:AAAA",
            "is not `<kid>:ed25519:<base64url>[,…]`",
        ),
    ] {
        for edge in &mut case.edges {
            edge.start(&case.companion, &case.upstream, environment);
            let envoy = edge.envoy();
            eventually("the log to say why", || {
                envoy.log().contains(why).then_some(())
            });
            let answer = envoy.send(&get("/v1/x").bearer(&case.key));
            assert!(
                answer.status >= 500,
                "{} {environment}: {}",
                edge.shell,
                answer.status
            );
        }
    }
    for edge in &mut case.edges {
        edge.start(&case.companion, &case.upstream, &public);
        let answer = edge.envoy().send(&get("/v1/x").bearer(&case.key));
        assert_eq!(answer.status, 200, "{}", edge.shell);
    }
}

#[test]
fn an_envoy_with_public_keys_alone_says_that_it_cannot_report_until_it_is_enrolled() {
    let upstream = Upstream::start();
    let policy = format!("{POLICY}report: {{ cluster: keystile-control, every: 1s }}\n");
    let companion = Companion::init(&fresh_dir(), &policy);
    companion.run(&["signing-key", "create", "--algorithm", "ed25519"]);
    let server = Server::start(&companion);
    let public = companion.run(&["signing-key", "export", "--public"]);
    let setup = || server.rendered(&companion, &upstream, "edge-1");
    let standing = || {
        let fleet = server.json(&["fleet"]);
        let node = fleet.as_array().and_then(|all| all.first().cloned());
        let node = node.unwrap_or_default();
        (node["enrolled"] == true, !node["in_force"].is_null())
    };
    let node = |setup: Setup, lines: &str| {
        Envoy::start(setup.only_environment(&format!("{lines}\nKEYSTILE_NODE=edge-1")))
    };
    let envoy = node(setup(), public.trim());
    eventually("the log to say so", || {
        envoy
            .log()
            .contains("has no secret to sign them with")
            .then_some(())
    });
    assert_eq!(standing(), (false, false));
    drop(envoy);

    let own = companion.run(&["node", "enroll", "edge-1"]);
    let envoy = node(setup(), &format!("{}\n{}", public.trim(), own.trim()));
    eventually("it to prove what it has", || {
        (standing() == (true, true)).then_some(())
    });
    assert!(!envoy.log().contains("has no secret to sign them with"));
}
