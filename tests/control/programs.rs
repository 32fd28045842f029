//! What scripts rely on.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Home, text, word};

#[test]
fn no_command_but_the_issuing_one_ever_shows_a_key() {
    let home = Home::new();
    let issued = home.json(&["key", "issue", "acme", "--scope", "read"]);
    let (key, id) = (word(&issued, "key"), word(&issued, "id"));
    home.ok(&["key", "update", &id, "--name", "renamed"]);
    home.ok(&[
        "push",
        "--ecds-file",
        "ecds.json",
        "--wasm",
        "keystile.wasm",
    ]);
    let outputs = [
        home.ok(&["key", "show", &id, "--output", "json"]),
        home.ok(&["key", "list", "--output", "json"]),
        home.ok(&["client", "show", "acme", "--output", "json"]),
        home.ok(&["audit", "export"]),
        home.ok(&[
            "explain", "--key", &key, "--path", "/v1/x", "--output", "json",
        ]),
        home.ok(&["keyset", "inspect", "ecds.json", "--keys", "--digests"]),
        fs::read_to_string(home.path("ecds.json")).unwrap(),
    ];
    let secret = &key[key.len() - 49..key.len() - 6];
    for output in &outputs {
        assert!(!output.contains(secret));
    }
    assert!(outputs[0].contains(&id), "the id is public");
}

#[test]
fn the_audit_log_says_who_what_when_before_and_after() {
    let home = Home::new();
    let id = word(
        &home.json(&["key", "issue", "acme", "--scope", "read"]),
        "id",
    );
    home.ok(&["key", "update", &id, "--add-scope", "write"]);
    home.ok(&["key", "revoke", &id, "--reason", "leaked"]);
    let log = home.json(&["audit", "list", "--subject", &id]);
    let actions: Vec<String> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|r| word(r, "action"))
        .collect();
    assert_eq!(actions, ["key.revoke", "key.update", "key.issue"]);
    assert_eq!(log[1]["before"]["scopes"], serde_json::json!(["read"]));
    assert_eq!(
        log[1]["after"]["scopes"],
        serde_json::json!(["read", "write"])
    );
    assert_eq!(log[0]["after"]["reason"], "leaked");
    assert!(!word(&log[0], "user").is_empty() && !word(&log[0], "host").is_empty());
    let exported = home.ok(&["audit", "export"]);
    assert_eq!(exported.lines().count(), 7);
    assert!(!exported.contains("digest"));
}

#[test]
fn a_noted_head_shows_that_a_log_was_written_anew() {
    let home = Home::new();
    let head = word(&home.json(&["audit", "verify"]), "head");
    home.ok(&["client", "create", "other"]);
    home.ok(&["audit", "verify", "--expect", &head]);
    let forged = head.replace(|c: char| c.is_ascii_lowercase(), "0");
    let words = home.refused(&["audit", "verify", "--expect", &forged]);
    assert!(
        words.contains("is not the one that was expected"),
        "{words}"
    );
}

#[test]
fn there_is_no_colour_where_nobody_sees_it() {
    let home = Home::new();
    home.ok(&["key", "issue", "acme"]);
    for args in [
        &["key", "list"][..],
        &["--help"],
        &["key", "show", "0000000000"],
    ] {
        let output = home.run(args);
        assert!(
            !text(&output.stdout).contains('\u{1b}') && !text(&output.stderr).contains('\u{1b}')
        );
    }
    let list = |name, value| {
        text(
            &home
                .command(&["key", "list"])
                .env(name, value)
                .output()
                .unwrap()
                .stdout,
        )
    };
    assert!(list("CLICOLOR_FORCE", "1").contains('\u{1b}'));
    assert!(!list("NO_COLOR", "1").contains('\u{1b}'));
}

#[test]
fn completions_are_printed_for_every_shell() {
    let home = Home::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            home.ok(&["completions", shell]).contains("signing-key"),
            "{shell}"
        );
    }
}

#[test]
fn no_core_dump_holds_the_master_key() {
    let home = Home::new();
    let output = home
        .command(&[
            "--master-key-command",
            "ulimit -c >&2; cat home/master.key",
            "key",
            "list",
        ])
        .output()
        .unwrap();
    assert_eq!(text(&output.stderr), "0\n");
}

#[test]
fn ten_thousand_keys_are_issued_in_less_than_ten_seconds() {
    let home = Home::new();
    let start = Instant::now();
    let keys = home.json(&[
        "key", "issue", "acme", "--scope", "read", "--count", "10000",
    ]);
    let took = start.elapsed();
    assert_eq!(keys.as_array().unwrap().len(), 10_000);
    assert!(took < Duration::from_secs(10), "{took:?}");
}
