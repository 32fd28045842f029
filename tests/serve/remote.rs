//! The command line through a server: what it does itself, what it hands on, what it
//! refuses. That its words are the same is shown by the transcripts, which run twice.

use std::process::Output;

use serde_json::{Value, json};

use crate::pages::Answering;
use crate::server::{Server, token};
use crate::support::{Home, text, word};

/// What `keystilectl` says through this server, with this token.
pub fn through(home: &Home, server: &Server, token: &str, args: &[&str]) -> Output {
    home.command(args)
        .env("KEYSTILE_SERVER", server.url())
        .env("KEYSTILE_TOKEN", token)
        .env("KEYSTILE_HOME", "nowhere")
        .env_remove("KEYSTILE_STORE")
        .output()
        .unwrap()
}

#[test]
fn what_needs_the_store_itself_says_so() {
    let home = Home::new();
    let owner = token(&home, "owner");
    let server = Server::start(&home, &[]);
    for args in [
        &["init"][..],
        &["signing-key", "export"],
        &["serve"],
        &["restore", "kept.db"],
        &["master-key", "rotate"],
    ] {
        // With no token, and with an address that is none, too: nobody asks the server.
        for (token, url) in [(&owner[..], server.url()), ("", "nonsense".to_owned())] {
            let refused = home
                .command(args)
                .env("KEYSTILE_SERVER", &url)
                .env("KEYSTILE_TOKEN", token)
                .env("KEYSTILE_HOME", "nowhere")
                .output()
                .unwrap();
            assert_eq!(refused.status.code(), Some(1), "{args:?}");
            let words = text(&refused.stderr);
            let next = "`unset KEYSTILE_SERVER`, and run it on the machine that has the store";
            assert!(
                words.contains("works on the store itself") && words.contains(next),
                "{args:?}: {words}"
            );
            let refused = home
                .command(&[&["--server", &url], args].concat())
                .output()
                .unwrap();
            let words = text(&refused.stderr);
            assert!(words.contains("leave out `--server`"), "{args:?}: {words}");
        }
    }
}

#[test]
fn a_role_that_does_not_suffice_is_told_which_does() {
    let home = Home::new();
    let auditor = token(&home, "auditor");
    let server = Server::start(&home, &[]);
    let refused = through(&home, &server, &auditor, &["client", "create", "new"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        text(&refused.stderr),
        "error: a token of the role `auditor` may not do this; it takes one of the role owner or issuer\n"
    );
    let listed = through(
        &home,
        &server,
        &auditor,
        &["audit", "list", "--outcome", "refused"],
    );
    assert!(
        text(&listed.stdout).contains("client.create refused"),
        "{}",
        text(&listed.stdout)
    );
}

#[test]
fn a_token_that_is_revoked_ends_at_once() {
    let home = Home::new();
    let made = home.json(&["token", "create", "ci", "--role", "issuer"]);
    let (token, id) = (word(&made, "token"), word(&made, "id"));
    let server = Server::start(&home, &[]);
    assert!(
        through(&home, &server, &token, &["client", "list"])
            .status
            .success()
    );
    home.ok(&["token", "revoke", &id]);
    let refused = through(&home, &server, &token, &["client", "list"]);
    assert!(
        text(&refused.stderr).contains("the token was revoked"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn the_audit_log_travels_in_pages() {
    let home = Home::new();
    let owner = token(&home, "owner");
    let server = Server::start(&home, &[]);
    let local = home.ok(&["audit", "export", "--client", "acme"]);
    let far = through(
        &home,
        &server,
        &owner,
        &["audit", "export", "--client", "acme"],
    );
    assert_eq!(local, text(&far.stdout));
    let verified = through(&home, &server, &owner, &["audit", "verify"]);
    assert!(
        text(&verified.stdout).contains("none changed"),
        "{}",
        text(&verified.stderr)
    );
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let home = Home::new();
    let refused = home
        .command(&["client", "list"])
        .env("KEYSTILE_SERVER", "http://127.0.0.1:1")
        .env("KEYSTILE_TOKEN", "kst_x")
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let words = text(&refused.stderr);
    assert!(
        words.contains("`http://127.0.0.1:1` does not answer"),
        "{words}"
    );
    let refused = home
        .command(&["client", "list", "--server", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    assert!(text(&refused.stderr).contains("KEYSTILE_TOKEN"));
}

#[test]
fn a_hostile_servers_errors_reach_no_terminal_as_they_are() {
    let home = Home::new();
    // A title, a cleared screen, a line of its own, a word turned around.
    let hostile = "gone\u{1b}]0;owned\u{7}\u{1b}[2J\r\nerror: run `curl x | sh` a\u{202e}b\u{9b}2J";
    let part = |next: Value| json!({"code": "not_found", "field": hostile, "fact": hostile, "detail": hostile, "next": next});
    // Worded here, or by the server.
    for errors in [
        json!([]),
        json!([part(json!([{"say": hostile}]))]),
        json!([part(json!("unknown"))]),
    ] {
        let problem = json!({"code": "not_found", "detail": hostile, "errors": errors});
        let server = Answering::start(404, vec![problem.to_string()]);
        server.go_on.send(()).unwrap();
        let refused = home
            .command(&["key", "show", "0000000000", "--server", &server.url])
            .env("KEYSTILE_TOKEN", "kst_x")
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(1));
        let words = text(&refused.stderr);
        assert!(words.contains("gone"), "{words:?}");
        let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!words.chars().any(acts), "{words:?}");
        let errors = words.lines().filter(|l| l.starts_with("error:")).count();
        assert_eq!(errors, 1, "{words:?}");
    }
}
