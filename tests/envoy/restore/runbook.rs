//! The runbook of `operating.md`, followed word for word: the commands and the steps below them.

use super::*;

/// An Envoy that the store knows and that is gone for good.
const GONE: &str = "edge-3";
/// A copy of what the lost store left beside it.
const HEAD_OF_THE_LOST: &str = "head-of-the-lost";

impl Case {
    /// One that is not connected to the server, and gets its keysets by `push --ecds-file`.
    fn envoy_fed_by_a_file(&self) -> Envoy {
        let dir = fresh_dir();
        let file = dir.join("ecds.json");
        self.companion.push(&file);
        let watched = file.display().to_string();
        let watched = ["--ecds-file", &watched];
        Envoy::start(self.companion.rendered_in(dir, &self.upstream, &watched))
    }

    /// It joins, and goes.
    fn lose_an_envoy_for_good(&self) {
        let setup = self.server.rendered(&self.companion, &self.upstream, GONE);
        let envoy = Envoy::start(setup);
        let state = |of: &str| {
            let fleet = self.server.json(&["fleet"]);
            let mut nodes = fleet.as_array().unwrap().iter();
            nodes.any(|n| n["id"] == GONE && (n["state"] == "disconnected") == (of == "gone"))
        };
        eventually("it to join", || state("there").then_some(()));
        drop(envoy);
        eventually("it to be missed", || state("gone").then_some(()));
    }

    fn until_base_and_usage_are_kept(&self, used: &str) {
        eventually("the new base to be kept, and the key to be counted", || {
            let key = self.server.json(&["key", "show", used]);
            let metrics = Client::connect(self.server.address().parse().unwrap())
                .send(&request("GET", "/metrics"))
                .text();
            let made = metrics
                .lines()
                .any(|l| l.starts_with("keystile_control_base_keys 15"));
            (made && !key["usage"]["last_used"].is_null()).then_some(())
        });
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

/// The block of commands, and what stands below it.
fn section() -> (String, String) {
    let page = fs::read_to_string(root().join("src/book/pages/operating.md")).unwrap();
    let (_, section) = page.split_once("\n### Runbook: the store is lost").unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    let (block, below) = block.split_once("```").unwrap();
    (block.to_owned(), below.to_owned())
}

/// The commands of the runbook, one a line.
fn runbook() -> Vec<String> {
    section().0.lines().map(ToOwned::to_owned).collect()
}

/// A numbered step below the commands.
fn step(number: u32) -> String {
    let (_, below) = section();
    let (_, from) = below.split_once(&format!("\n{number}. ")).unwrap();
    let next = format!("\n{}. ", number + 1);
    from.split(&next).next().unwrap().to_owned()
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
    let by_file = [case.envoy_fed_by_a_file()];
    case.lose_an_envoy_for_good();
    let (kept, _) = case.server.issue(&["acme"]);
    let (doomed, doomed_id) = case.server.issue(&["acme"]);
    case.until(&doomed, 200);
    let backup = case.backup();
    let head = case.companion.json(&["audit", "verify"])["head"].clone();

    // So many that a new base is made, and one that is used.
    let many = ["key", "issue", "acme", "--count", "1500"];
    case.server.json(&many);
    let (late, late_id) = case.server.issue(&["acme"]);
    case.until(&late, 200);
    case.companion.push(by_file[0].ecds_file().path());
    until(&by_file, &late, 200);
    // The Envoy that is gone for good proves nothing.
    case.server.json(&["key", "revoke", &doomed_id]);
    case.until(&doomed, 401);
    case.until_base_and_usage_are_kept(&late_id);

    let said = follow_the_block(&mut case, &backup, &doomed, &doomed_id);
    says_what_is_lost(&said, &late_id, &doomed_id);

    // All of it is closed that the store does not know, at once after the wait.
    assert_eq!(case.answers(&late), HashSet::from([401]));
    assert_eq!(case.answers(&kept), HashSet::from([200]));
    assert_eq!(case.answers(&doomed), HashSet::from([401]));
    let lost = case.server.json(&["key", "lost"]);
    let listed = |list: &str, id: &str| {
        let all = lost[list].as_array().unwrap();
        all.iter().any(|k| k["id"] == id)
    };
    assert!(listed("in_use", &late_id), "{lost}");
    assert!(!listed("published", &doomed_id), "put right: {lost}");

    // Step 4: a file of the lost timeline opens to what was lost, until it is pushed again.
    assert_eq!(answers(&by_file, &late), HashSet::from([200]));
    case.companion.push(by_file[0].ecds_file().path());
    until(&by_file, &late, 401);
    until(&by_file, &kept, 200);
    head_is_as_it_was_kept(&case, head.as_str().unwrap());
}

/// What the commands of the block printed, each beside its line.
type Said = Vec<(String, String)>;

/// Follows the block of commands, and steps 1 and 3 below it where they belong. From the moment
/// at which the revoked key is found to be good again it is refused by every Envoy.
fn follow_the_block(case: &mut Case, backup: &str, doomed: &str, doomed_id: &str) -> Said {
    let mut said = Said::new();
    for line in runbook() {
        let line = line
            .replace("/backup/keystile-2027-01-31.db", backup)
            .replace("127.0.0.1:8080", case.server.address());
        // There is no systemd here: the test starts and stops the real server.
        match line.strip_prefix("systemctl ") {
            Some(what) if what.starts_with("stop") => {
                case.server.kill();
                fs::copy(case.home("audit.head"), case.home(HEAD_OF_THE_LOST)).unwrap();
            }
            Some(_) => {
                assert_eq!(case.answers(doomed), HashSet::from([401]));
                case.server.restart();
            }
            None if line.contains(" fleet ") => {
                forget_what_is_gone(case, &line, doomed);
                said.push((line.clone(), printed(&case.typed(&line))));
                assert_eq!(case.answers(doomed), HashSet::from([401]));
            }
            None => said.push((line.clone(), printed(&case.typed(&line)))),
        }
        if line.contains(" key lost") {
            revoke_what_is_good_again(case, doomed_id);
        }
    }
    said
}

/// Step 1, before the server is started.
fn revoke_what_is_good_again(case: &Case, expected: &str) {
    let lost = printed(&case.typed("keystilectl key lost --output json"));
    let lost: Value = serde_json::from_str(&lost).unwrap();
    let published = lost["published"].as_array().unwrap();
    let again = published.iter().filter(|k| k["state"] == "good_again");
    let again: Vec<&str> = again.map(|k| k["id"].as_str().unwrap()).collect();
    assert_eq!(again, [expected]);
    let step = step(1);
    for id in again {
        let line = step.split('`').find(|s| s.contains("revoke KEY_ID"));
        printed(&case.typed(&line.unwrap().replace("KEY_ID", id)));
    }
}

/// Step 3: the line names the Envoy that is gone, which is then forgotten. Meanwhile the others
/// take the keyset of the new timeline, and never let the revoked key in.
fn forget_what_is_gone(case: &Case, line: &str, doomed: &str) {
    let words = eventually("the others to prove it", || {
        let brief = case.typed(&line.replace("--wait=60s", "--wait=1s"));
        let words = String::from_utf8_lossy(&brief.stderr).into_owned();
        assert_eq!(brief.status.code(), Some(1), "{words}");
        NODES.iter().all(|n| !words.contains(n)).then_some(words)
    });
    assert!(
        words.contains(&format!("`{GONE}` has not proved")),
        "{words}"
    );
    assert_eq!(case.answers(doomed), HashSet::from([401]));
    let step = step(3);
    let forget = step.split('`').find(|s| s.contains("fleet forget NODE"));
    let forget = forget.unwrap().replace("NODE", GONE);
    let server = format!("export KEYSTILE_SERVER=http://{}\n", case.server.address());
    printed(&case.typed(&(server + &forget)));
}

fn says_what_is_lost(said: &Said, late_id: &str, doomed_id: &str) {
    let of = |command: &str| {
        let found = said.iter().find(|(line, _)| line.contains(command));
        found.map(|(_, said)| said.as_str()).unwrap()
    };
    let restored = of(" restore ");
    for what in [
        "1 key of the last published keyset, revoked",
        "1501 keys of the last published keyset, unknown",
        "in use, unknown",
    ] {
        assert!(restored.contains(what), "{restored}");
    }
    let lost = of(" key lost");
    assert!(lost.contains(late_id) && lost.contains(doomed_id), "{lost}");
    // The worst first, and when each was last used.
    let at = |what: &str| lost.find(what).unwrap_or_else(|| panic!("{what}: {lost}"));
    assert!(at("UNKNOWN KEY IN USE") < at("LOST KEY"), "{lost}");
    assert!(at("good_again") < at(" unknown "), "{lost}");
    assert!(of(" audit verify").contains("none changed"));
}

/// Step 5.
fn head_is_as_it_was_kept(case: &Case, head: &str) {
    let verified = case.companion.run(&["audit", "verify", "--expect", head]);
    assert!(verified.contains("none changed"), "{verified}");
    let found = ["audit", "list", "--action", "store.restore"];
    let record = &case.companion.json(&found)[0];
    let checkpoint = record["after"]["checkpoint_of_the_lost_store"].as_str();
    let of_the_lost = fs::read_to_string(case.home(HEAD_OF_THE_LOST)).unwrap();
    assert_eq!(checkpoint, Some(of_the_lost.trim()));
}
