//! New keys on their way to where they are used: the examples of the guide, run with
//! stand-ins for `vault`, `kubectl` and `gh`, which are not here; and nothing that leaks.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Home, prepare, text, word};

/// Writes down how it was called and what it was handed, and refuses what the real one
/// would not understand.
const VAULT: &str = r#"#!/bin/sh
[ "$1 $2 $4" = "kv put api_key=-" ] || exit 64
cat > "vault-${3##*/}"
"#;
const KUBECTL: &str = r#"#!/bin/sh
case "$1 $2" in
  "create secret")
    [ "$3 $6 $7 $8" = "generic --dry-run=client -o yaml" ] || exit 64
    printf 'kind: Secret\ndata: {%s: %s}\n' "${5#--from-file=}" \
      "$(cat "${5#*=*=}" | base64 -w 0)" ;;
  "apply -f") cat > applied ;;
  *) exit 64 ;;
esac
"#;
const GH: &str = r#"#!/bin/sh
[ "$1 $2 $3" = "secret set KEYSTILE_API_KEY" ] || exit 64
cat > gh-secret
"#;

fn stand_in(home: &Home, name: &str, script: &str) {
    fs::create_dir_all(home.path("bin")).unwrap();
    let file = home.path("bin").join(name);
    fs::write(&file, script).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A command line as a person types it, with the stand-ins before everything else.
fn typed(home: &Home, line: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-euc", line]);
    prepare(&mut command, &home.path(""));
    let path = command
        .get_envs()
        .find_map(|(name, value)| (name == "PATH").then(|| value.unwrap().to_owned()));
    let path = path.unwrap().into_string().unwrap();
    let bin = home.path("bin").display().to_string();
    command.env("PATH", format!("{bin}:{path}"));
    command.output().unwrap()
}

/// The commands of the page that hand a key over, one for each of its examples.
fn examples() -> Vec<String> {
    let page = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("src/book/pages/keys.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## Handing a new key over\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    let blocks = blocks.map(|b| b.split("```").next().unwrap().to_owned());
    blocks.collect()
}

fn opens(home: &Home, key: &str, id: &str) {
    let explained = home.json(&["explain", "--key", key, "--path", "/v1/x"]);
    assert_ne!(explained["key"], id, "the old one was handed over");
    assert_eq!(explained["client"], "acme", "{explained}");
}

#[test]
fn the_examples_put_the_new_key_where_it_is_used() {
    let home = Home::new();
    stand_in(&home, "vault", VAULT);
    stand_in(&home, "kubectl", KUBECTL);
    stand_in(&home, "gh", GH);
    let examples = examples();
    assert_eq!(examples.len(), 3);
    let handed: [fn(&Home) -> String; 3] = [
        |home| fs::read_to_string(home.path("vault-acme")).unwrap(),
        |home| {
            let applied = fs::read_to_string(home.path("applied")).unwrap();
            let data = applied.split("{api-key=/dev/stdin: ").nth(1).unwrap();
            let data = data.split('}').next().unwrap();
            use base64::Engine as _;
            let decoded = base64::engine::general_purpose::STANDARD.decode(data);
            text(&decoded.unwrap())
        },
        |home| fs::read_to_string(home.path("gh-secret")).unwrap(),
    ];
    for (example, handed) in examples.iter().zip(handed) {
        let issued = home.json(&["key", "issue", "acme", "--label", "used-by=shop-ci"]);
        let id = word(&issued, "id");
        let output = typed(&home, &example.replace("KEY_ID", &id));
        assert!(
            output.status.success(),
            "{example}\n{}",
            text(&output.stderr)
        );
        let key = handed(&home);
        opens(&home, &key, &id);
        for printed in [&output.stdout, &output.stderr] {
            assert!(!text(printed).contains(&key), "{example} printed the key");
        }
        home.ok(&["key", "revoke", &id]);
        home.ok(&["key", "revoke", &key_id(&key)]);
    }
}

/// Of a key's text: the first ten of what follows brand and environment.
fn key_id(key: &str) -> String {
    key.rsplit('_').next().unwrap()[..10].to_owned()
}

#[test]
fn a_new_key_stands_in_no_argument_no_environment_and_no_log() {
    let home = Home::new();
    let issued = home.json(&["key", "issue", "acme"]);
    let id = word(&issued, "id");
    // What anybody on the machine, or with the right to look at it, could read meanwhile.
    let command = "tr '\\0' '\\n' < /proc/$PPID/cmdline > seen; \
        tr '\\0' '\\n' < /proc/$PPID/environ >> seen; \
        tr '\\0' '\\n' < /proc/$$/cmdline >> seen; env >> seen; cat > handed-over";
    let output = home.run(&["key", "rotate", &id, "--exec", command]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let key = fs::read_to_string(home.path("handed-over")).unwrap();
    opens(&home, &key, &id);
    let seen = fs::read_to_string(home.path("seen")).unwrap();
    assert!(
        seen.contains("rotate") && seen.contains("KEYSTILE_HOME=home"),
        "{seen}"
    );
    let exported = home.ok(&["audit", "export"]);
    for place in [seen, exported, text(&output.stdout), text(&output.stderr)] {
        assert!(!place.contains(&key[18..]), "{place}");
    }
}

#[test]
fn rotating_all_writes_each_successor_once_and_each_of_them_opens() {
    let home = Home::new();
    let issued = home.json(&["key", "issue", "acme", "--count", "25"]);
    home.ok(&["key", "rotate", "--all", "--out", "new.csv"]);
    let mut old: Vec<String> = Vec::new();
    let lines = fs::read_to_string(home.path("new.csv")).unwrap();
    for line in lines.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let [before, id, client, key] = fields[..] else {
            panic!("{} fields", fields.len());
        };
        assert_eq!(client, "acme");
        let explained = home.json(&["explain", "--key", key, "--path", "/v1/x"]);
        assert_eq!(explained["key"], id, "{explained}");
        old.push(before.to_owned());
    }
    old.sort();
    let mut wanted: Vec<String> = issued
        .as_array()
        .unwrap()
        .iter()
        .map(|k| word(k, "id"))
        .collect();
    wanted.sort();
    assert_eq!(old, wanted);
    home.ok(&["audit", "verify"]);
}
