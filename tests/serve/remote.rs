//! The command line through a server: what it does itself, what it hands on, what it
//! refuses. That its words are the same is shown by the transcripts, which run twice.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Output;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

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

/// A server that answers with these pages, one a connection, each when it is told to.
fn paged(pages: Vec<Value>) -> (String, mpsc::Sender<()>) {
    answering(200, pages.iter().map(Value::to_string).collect())
}

/// The same with any status and bodies.
fn answering(status: u16, bodies: Vec<String>) -> (String, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (go_on, may_go_on) = mpsc::channel();
    std::thread::spawn(move || {
        for body in bodies {
            let (mut connection, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            if may_go_on.recv().is_err() {
                return;
            }
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, go_on)
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
        let (url, go_on) = answering(404, vec![problem.to_string()]);
        go_on.send(()).unwrap();
        let refused = home
            .command(&["key", "show", "0000000000", "--server", &url])
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

/// Lists page by page: the first is printed before the second is there.
fn streams(home: &Home, args: &[&str], pages: Vec<Value>) {
    let first = pages[0].as_object().unwrap().values();
    let first = first.filter_map(Value::as_array).flatten().count();
    let all = pages.iter().flat_map(|p| p.as_object().unwrap().values());
    let all = all.filter_map(Value::as_array).flatten().count();
    let (url, go_on) = paged(pages);
    let mut child = home
        .command(&[&["--output", "json", "--server", &url], args].concat())
        .env("KEYSTILE_TOKEN", "kst_x")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let (send, printed) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = out.read(&mut bytes) {
            let _ = send.send(bytes[..n].to_vec());
        }
    });
    let mut text = Vec::new();
    let opened = |text: &[u8]| text.windows(4).filter(|w| w == b"\n  {").count();
    go_on.send(()).unwrap();
    while opened(&text) < first {
        let more = printed.recv_timeout(Duration::from_secs(20));
        text.extend(more.expect("the first page, before the second is there"));
    }
    go_on.send(()).unwrap();
    text.extend(printed.iter().flatten());
    assert!(child.wait().unwrap().success());
    let list: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(list.as_array().unwrap().len(), all);
}

#[test]
fn a_long_list_is_printed_page_by_page() {
    let home = Home::new();
    let clients: Vec<Value> =
        serde_json::from_str(&home.ok(&["--output", "json", "client", "list"])).unwrap();
    let page = |next: Value| json!({"clients": clients, "next": next});
    streams(
        &home,
        &["client", "list"],
        vec![page(json!("acme")), page(Value::Null)],
    );

    home.ok(&["key", "issue", "acme", "--count", "2"]);
    let keys: Vec<Value> =
        serde_json::from_str(&home.ok(&["--output", "json", "key", "list"])).unwrap();
    let page = |next: &Value| json!({"keys": keys, "next": next});
    let pages = vec![page(&keys[1]["id"]), page(&Value::Null)];
    streams(&home, &["key", "list"], pages);
}
