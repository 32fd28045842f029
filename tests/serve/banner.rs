//! What `serve` says when it begins: addresses to a person, JSON to a program.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::Server;
use crate::support::{Home, text, word};

/// What is written to a file once it contains these words.
fn written(home: &Home, file: &str, words: &str) -> String {
    let began = Instant::now();
    loop {
        let all = fs::read(home.path(file)).unwrap_or_default();
        let all = text(&all);
        if all.contains(words) {
            return all;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "no {words} in {all}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_program_gets_json_and_a_person_addresses() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let log = written(&home, "serve.log", "\"serving\"");
    assert!(log.lines().all(|l| l.starts_with('{')), "{log}");
    assert!(server.stop());

    fs::remove_file(home.path("serve.log")).unwrap();
    let server = Server::start(&home, &["--log", "text"]);
    let log = written(&home, "serve.log", "Ctrl-C");
    for line in [
        format!("  console    {}/console", server.url()),
        format!("  discovery  {} (for Envoys)", server.discovery),
    ] {
        assert!(log.lines().any(|l| l == line), "{line} in {log}");
    }
    assert!(!log.contains('{'), "{log}");
    assert!(server.stop());
}

#[test]
fn on_a_terminal_it_is_a_person() {
    let home = Home::new();
    // Typed on a terminal that `script` makes.
    let mut command = Command::new("script");
    let serve = "keystilectl serve --listen 127.0.0.1:0 --discovery 127.0.0.1:0";
    command.args([
        "--quiet",
        "--flush",
        "--return",
        "--command",
        serve,
        "typescript",
    ]);
    home.prepare(&mut command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let shown = written(&home, "typescript", "Ctrl-C");
    let kept = fs::read_to_string(home.path("home/serving")).unwrap();
    assert!(shown.contains(&format!("{kept}/console")), "{shown}");
    assert!(!shown.contains("\"level\""), "{shown}");
    // Ctrl-C, as a terminal passes it on.
    use std::io::Write as _;
    child.stdin.take().unwrap().write_all(b"\x03").unwrap();
    child.wait().unwrap();
    assert!(!home.path("home/serving").exists());
}

#[test]
fn an_invitation_is_a_link_to_the_server_of_the_store_and_signs_in_once() {
    let home = Home::new();
    let invite = ["token", "create", "me", "--role", "owner", "--invite"];
    let server = Server::start(&home, &[]);
    let made = home.json(&invite);
    let link = word(&made, "link");
    let (page, code) = link.split_once('#').unwrap();
    assert_eq!(page, format!("{}/console/invitation", server.url()));
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .build()
        .into();
    let accept = || {
        let asked = agent
            .post(page)
            .header("origin", server.url())
            .content_type("application/x-www-form-urlencoded");
        asked.send(format!("code={code}")).unwrap()
    };
    let answer = accept();
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let tokens = agent.get(format!("{}/console/tokens", server.url()));
    assert_eq!(
        tokens.header("cookie", cookie).call().unwrap().status(),
        200
    );
    let again = accept();
    assert!(again.status() != 200 && !again.headers().contains_key("set-cookie"));
    // An hour, because it is worth as much as the token of an owner.
    let (created, expires) = (word(&made, "created"), word(&made, "expires"));
    let hour = |t: &str| t.get(11..13).unwrap().parse::<u32>().unwrap();
    assert_eq!((hour(&created) + 1) % 24, hour(&expires));

    assert!(server.stop());
    // Without a server, where it usually is; or where one says that it is.
    let other = |more: &[&str]| {
        let name = format!("me{}", more.len());
        let args = ["token", "create", &name, "--role", "owner", "--invite"];
        word(&home.json(&[&args[..], more].concat()), "link")
    };
    assert!(other(&[]).starts_with("http://127.0.0.1:8080/console/invitation#kst_invite_"));
    let at = other(&["--at", "https://keys.example.com/"]);
    assert!(
        at.starts_with("https://keys.example.com/console/invitation#kst_invite_"),
        "{at}"
    );
}
