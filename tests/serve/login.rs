//! `login`, `status`, `logout`: a server that is remembered.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::server::{Server, token};
use crate::support::{Home, text};

/// As a user with a home folder of their own, who names no store; `stdin` is what is piped in.
fn typed(home: &Home, args: &[&str], stdin: &str) -> Output {
    let mut command = home.command(args);
    command
        .env_remove("KEYSTILE_HOME")
        .env("HOME", home.path("user"));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may not read it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn status(home: &Home) -> Value {
    let output = typed(home, &["status", "--output", "json"], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_server_is_remembered_until_logging_out_and_a_named_store_comes_first() {
    let home = Home::new();
    let auditor = token(&home, "auditor");
    let server = Server::start(&home, &[]);
    let file = home.path("user/.config/keystile/login.json");
    let login = ["login", &server.url()];

    // What is not a token of this server is not kept, nor is nothing.
    for wrong in [auditor.replace("kst_", "kst_x"), String::new()] {
        let refused = typed(&home, &login, &wrong);
        assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stdout));
        assert!(!file.exists());
    }
    let done = typed(&home, &login, &format!("{auditor}\n"));
    assert!(done.status.success(), "{}", text(&done.stderr));
    let shown = format!("{}{}", text(&done.stdout), text(&done.stderr));
    assert!(!shown.contains(&auditor), "{shown}");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));

    // From now on commands go there.
    let list = ["client", "list"];
    let listed = typed(&home, &list, "");
    assert!(
        text(&listed.stdout).contains("acme"),
        "{}",
        text(&listed.stderr)
    );
    let found = status(&home);
    assert_eq!(found["works_on"], "server");
    assert_eq!(found["at"], server.url());
    assert!(
        found["who"]
            .as_str()
            .unwrap()
            .ends_with(" of the role auditor"),
        "{found}"
    );
    assert_eq!(found["fleet"]["known"], 0);
    assert!(found["keyset"]["version"].is_u64(), "{found}");
    assert_eq!(found["unknown"], serde_json::json!([]));

    // A store that is named is worked on, and so is one by commands that need it.
    let here = home.json(&["status"]);
    assert_eq!(
        (&here["works_on"], &here["served_at"]),
        (&"store".into(), &server.url().into())
    );
    let init = typed(&home, &["init"], "");
    assert!(init.status.success(), "{}", text(&init.stderr));
    assert!(home.path("user/.keystile/store.db").exists());
    let listed = typed(&home, &list, "");
    assert!(text(&listed.stdout).contains("acme"), "still the server");

    // What belongs to one store is not taken from another, though there is one in this folder.
    let export = ["signing-key", "export"];
    let all = ["key", "rotate", "--all", "--out", "new-keys"];
    for args in [&export[..], &all[..]] {
        let refused = typed(&home, args, "");
        let words = text(&refused.stderr);
        assert!(!refused.status.success(), "{args:?}");
        assert!(words.contains("you are logged in to"), "{args:?}: {words}");
        assert!(refused.stdout.is_empty(), "{args:?}");
    }

    let out = typed(&home, &["logout"], "");
    assert!(out.status.success() && !file.exists());
    let listed = typed(&home, &list, "");
    assert!(
        !text(&listed.stdout).contains("acme"),
        "the store of this user"
    );
}

#[test]
fn an_address_is_remembered_without_what_was_copied_around_it_and_the_authority_by_its_whole_path()
{
    let home = Home::new();
    let auditor = token(&home, "auditor");
    let server = Server::start(&home, &[]);
    let authority = crate::pki::Authority::new(home.path("pki"));
    std::os::unix::fs::symlink(authority.path("ca.pem"), home.path("current.pem")).unwrap();
    let address = format!(" {}/\n", server.url());
    let login = ["login", &address, "--server-ca", "current.pem"];
    let done = typed(&home, &login, &auditor);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let kept = fs::read(home.path("user/.config/keystile/login.json")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["server"], server.url());
    // Not where the link leads today.
    let whole = home.path("current.pem").display().to_string();
    assert_eq!(kept["ca"], whole);
}

#[test]
fn a_status_of_nothing_that_can_be_reached_says_so_and_fails() {
    let home = Home::new();
    let auditor = token(&home, "auditor");
    let server = Server::start(&home, &[]);
    let done = typed(&home, &["login", &server.url()], &auditor);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(server.stop());
    let gone = typed(&home, &["status"], "");
    let words = text(&gone.stdout);
    assert_eq!(gone.status.code(), Some(1), "{words}");
    // Once, though two questions were asked.
    assert_eq!(words.matches("not reached").count(), 1, "{words}");
    assert!(gone.stderr.is_empty(), "{}", text(&gone.stderr));

    let nowhere = Home::empty().run(&["status"]);
    assert_eq!(nowhere.status.code(), Some(1), "{}", text(&nowhere.stdout));
}
