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
    assert_eq!(text(&output.stderr).lines().next(), Some("0"));
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

#[test]
fn programs_that_we_start_inherit_no_secret_of_ours() {
    let home = Home::new();
    let id = word(&home.json(&["key", "issue", "acme"]), "id");
    let master = fs::read_to_string(home.path("home/master.key")).unwrap();
    let secret = "not-for-children";
    let run = |args: &[&str]| {
        let mut command = home.command(args);
        for name in [
            "TOKEN",
            "OIDC_SECRET",
            "SIGNING_KEYS",
            "WEBHOOK_SECRET",
            "OF_TOMORROW",
        ] {
            command.env(format!("KEYSTILE_{name}"), secret);
        }
        command.env("PGPASSWORD", secret);
        command.env("OF_OTHERS", "for everybody");
        command.env("KEYSTILE_MASTER_KEY", master.trim());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    let from = "env > of-command; cat home/master.key";
    run(&["--master-key-command", from, "key", "list"]);
    run(&["key", "rotate", &id, "--exec", "env > of-exec; cat > given"]);
    for file in ["of-command", "of-exec"] {
        let seen = fs::read_to_string(home.path(file)).unwrap();
        assert!(seen.contains("OF_OTHERS=for everybody"), "{seen}");
        assert!(seen.contains("KEYSTILE_HOME=home"), "{seen}");
        assert!(
            !seen.contains(secret) && !seen.contains(master.trim()),
            "{seen}"
        );
    }
}

#[test]
fn an_old_key_ends_at_once_only_when_somebody_has_read_the_new_one() {
    let home = Home::new();
    let status = |id: &str| word(&home.json(&["key", "show", id]), "status");
    let issue = || word(&home.json(&["key", "issue", "acme"]), "id");
    for command in ["true", "exit 3", "no-such-command", "head -c 5 > some"] {
        let id = issue();
        let words = home.refused(&["key", "rotate", &id, "--grace", "0", "--exec", command]);
        assert!(words.contains("handed over"), "{words}");
        assert_eq!(status(&id), "rotating", "{command}");
    }
    let id = issue();
    home.ok(&[
        "key",
        "rotate",
        &id,
        "--grace",
        "0",
        "--exec",
        "cat > given",
    ]);
    assert_eq!(status(&id), "revoked");
    let given = fs::read_to_string(home.path("given")).unwrap();
    assert!(
        given.starts_with("ks_live_") && !given.contains('\n'),
        "{given}"
    );
    // With a grace, too, what nobody read is not handed over.
    let words = home.refused(&["key", "rotate", &issue(), "--exec", "true"]);
    assert!(words.contains("did not read it"), "{words}");
}

#[test]
fn a_store_is_made_where_nobody_else_can_have_a_hand_in_it() {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    let home = Home::empty();
    let folder = home.path("home");
    let mode = |m| fs::set_permissions(&folder, fs::Permissions::from_mode(m)).unwrap();
    fs::create_dir(&folder).unwrap();
    for open in [0o777, 0o770, 0o1777] {
        mode(open);
        let words = home.refused(&["init"]);
        assert!(
            words.contains("other users may write to `home`") && words.contains("chmod 700"),
            "{words}"
        );
    }
    mode(0o700);
    // What stands behind a link of another's making stays as it was.
    fs::write(home.path("precious"), "mine").unwrap();
    symlink(home.path("precious"), folder.join("master.id")).unwrap();
    // A file, or a folder, can be given to another by root alone.
    let key = folder.join("master.key");
    if nix::unistd::geteuid().is_root() {
        fs::write(&key, format!("{}\n", "A".repeat(43))).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&key, Some(12345), None).unwrap();
        let words = home.refused(&["init"]);
        assert!(
            words.contains("belongs to another user (uid 12345)"),
            "{words}"
        );
        fs::remove_file(&key).unwrap();
        chown(&folder, Some(12345), None).unwrap();
        let words = home.refused(&["init"]);
        assert!(
            words.contains("`home` belongs to another user (uid 12345)"),
            "{words}"
        );
        chown(&folder, Some(0), None).unwrap();
    }
    assert!(!folder.join("store.db").exists());
    home.ok(&["init"]);
    assert_eq!(fs::read_to_string(home.path("precious")).unwrap(), "mine");
    assert!(
        !fs::symlink_metadata(folder.join("master.id"))
            .unwrap()
            .is_symlink()
    );
    home.ok(&["client", "create", "acme"]);
}

#[test]
fn what_is_left_of_quotas_is_shown_by_client_and_by_key() {
    let home = Home::new();
    let policy = "version: 1\nplans:\n  gold: {}\n  small: {quota: {requests: 100, per: day}}\nroutes:\n- {path: /a}\n";
    fs::write(home.path("policy.yaml"), policy).unwrap();
    home.ok(&["policy", "apply", "policy.yaml"]);
    home.ok(&["client", "create", "small", "--plan", "small"]);
    let id = word(&home.json(&["key", "issue", "small"]), "id");
    home.ok(&["key", "issue", "acme"]);
    for of in ["small", &id] {
        let shown = home.json(&["quota", "show", of]);
        assert_eq!(shown.as_array().unwrap().len(), 1);
        assert_eq!(
            (word(&shown[0], "key"), word(&shown[0], "plan")),
            (id.clone(), "small".to_owned())
        );
        assert_eq!(shown[0]["remaining"], shown[0]["requests"]);
        assert!(home.ok(&["quota", "show", of]).contains(&id));
        assert_eq!(
            home.ok(&["quota", "reset", of]),
            "nothing to give back: no quota was used\n"
        );
    }
    assert_eq!(
        home.ok(&["quota", "show", "acme"]),
        "no quota applies: none of the plans has one\n"
    );
    assert!(
        home.refused(&["quota", "show", "nobody"])
            .contains("nobody")
    );
}
