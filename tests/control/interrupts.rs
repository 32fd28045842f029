//! Ctrl-C while keys are made: a real SIGINT, at moments that are known.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Home, text};

fn interrupt(child: &Child) {
    let mut kill = Command::new("kill");
    kill.args(["-s", "INT", &child.id().to_string()]);
    assert!(kill.status().unwrap().success());
}

fn issuing(home: &Home, count: &str) -> Child {
    home.command(&["key", "issue", "acme", "--count", count])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn interrupted_at_work_a_bulk_issue_makes_no_key_and_says_so() {
    let home = Home::new();
    let child = issuing(&home, "200000");
    // The store is open: it is at work.
    let began = Instant::now();
    while !home.path("home/store.db-shm").exists() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it does not begin"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert_eq!(
        words,
        "error: it was interrupted; nothing was changed; try again\n"
    );
    assert!(output.stdout.is_empty());
    assert!(home.ids().is_empty(), "no key is left behind");
}

#[test]
fn interrupted_when_the_keys_are_there_a_bulk_issue_shows_all_of_them() {
    let home = Home::new();
    let mut child = issuing(&home, "6000");
    // The first are shown, so all are stored; the rest waits for somebody to read.
    let mut stdout = child.stdout.take().unwrap();
    let mut shown = vec![0; 1];
    stdout.read_exact(&mut shown).unwrap();
    interrupt(&child);
    stdout.read_to_end(&mut shown).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = String::from_utf8(shown).unwrap();
    let mut ids: Vec<&str> = shown.lines().map(|l| l.get(..10).unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids.len(), 6000);
    assert!(home.ids() == ids, "what is stored is what was shown");
}

#[test]
fn interrupted_while_a_server_is_at_work_its_answer_is_shown_nevertheless() {
    let home = Home::new();
    let answer = home.json(&["key", "issue", "acme", "--count", "2"]);
    let id = answer[1]["id"].as_str().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = home
        .command(&["key", "issue", "acme", "--count", "2"])
        .env(
            "KEYSTILE_SERVER",
            format!("http://{}", server.local_addr().unwrap()),
        )
        .env("KEYSTILE_TOKEN", "kst_x")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut connection, _) = server.accept().unwrap();
    let mut request = [0; 4096];
    assert!(connection.read(&mut request).unwrap() > 0);
    interrupt(&child);
    let mut told = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut told).unwrap();
    assert!(told.contains("waiting for the server to answer"), "{told}");
    let body = json!(answer).to_string();
    let head = format!(
        "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    connection
        .write_all(format!("{head}{body}").as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(
        text(&output.stdout).contains(id),
        "{}",
        text(&output.stdout)
    );
}
