//! The command line through a server: what it does itself, what it hands on, what it
//! refuses. That its words are the same is shown by the transcripts, which run twice.

use std::process::Output;

use crate::server::{Server, token};
use crate::support::{Home, text, word};

/// What `keystilectl` says through this server, with this token.
pub fn through(home: &Home, server: &Server, token: &str, args: &[&str]) -> Output {
    home.command(args)
        .env("KEYSTILE_SERVER", server.url())
        .env("KEYSTILE_TOKEN", token)
        .env("KEYSTILE_HOME", "nowhere")
        .output()
        .unwrap()
}

#[test]
fn what_needs_the_store_itself_says_so() {
    let home = Home::new();
    let owner = token(&home, "owner");
    let server = Server::start(&home, &[]);
    for args in [&["init"][..], &["signing-key", "export"], &["serve"]] {
        let refused = through(&home, &server, &owner, args);
        assert_eq!(refused.status.code(), Some(1), "{args:?}");
        let words = text(&refused.stderr);
        assert!(
            words.contains("works on the store itself"),
            "{args:?}: {words}"
        );
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
