//! What a person sees who sits at a terminal: a pager for what is long, progress for what takes long,
//! tables within the window; and that nothing of it is there otherwise.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::support::{Home, KEYSTILECTL, text, word};

/// A store with more clients than a screen has lines.
fn full() -> Home {
    let home = Home::new();
    for n in 0..30 {
        let name = format!("client-{n:02}");
        let label = "why=so that the table is wider than a narrow window has columns";
        home.ok(&["client", "create", &name, "--label", label]);
    }
    home
}

/// At a terminal of so many columns, with this pager.
fn at_terminal(home: &Home, columns: u32, pager: &str, line: &str) -> Output {
    at_terminal_with(home, columns, pager, line, "")
}

/// The same with a token for a server.
fn at_terminal_with(home: &Home, columns: u32, pager: &str, line: &str, token: &str) -> Output {
    let line = format!("stty cols {columns} rows 24; {KEYSTILECTL} {line}");
    let mut command = Command::new("script");
    // A terminal of its own, whose output it prints; the exit code is that of the command.
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    home.prepare(&mut command);
    command.env("PAGER", pager).env("TERM", "xterm");
    command.env("KEYSTILE_TOKEN", token);
    command.stdin(Stdio::null()).output().unwrap()
}

fn shown(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stdout));
    text(&output.stdout)
}

#[test]
fn a_long_list_goes_through_the_pager_on_a_terminal_and_nowhere_else() {
    let home = full();
    let pager = "sed 's/^/paged: /'";
    let paged = shown(&at_terminal(&home, 200, pager, "client list"));
    assert_eq!(paged.matches("paged: client-").count(), 30, "{paged}");
    for whole in ["client list --no-pager", "client list --limit 3"] {
        let shown = shown(&at_terminal(&home, 200, pager, whole));
        assert!(shown.contains("client-0"), "{shown}");
        assert!(!shown.contains("paged: "), "{whole}: {shown}");
    }
    // A pager that there is not is none.
    let shown = shown(&at_terminal(&home, 200, "no-such-pager", "client list"));
    assert!(shown.contains("client-29"), "{shown}");

    let mut piped = home.command(&["client", "list"]);
    let piped = piped.env("PAGER", pager).output().unwrap();
    assert!(!text(&piped.stdout).contains("paged: "));
}

#[test]
fn a_table_stays_within_the_window() {
    let home = full();
    for columns in [60, 100] {
        let shown = shown(&at_terminal(&home, columns, "cat", "client list"));
        assert!(shown.contains("client-29"), "{shown}");
        let widest = shown.lines().map(|l| visible(l).chars().count()).max();
        assert!(widest.unwrap() <= columns as usize, "{columns}: {shown}");
    }
}

/// A line without what colours it.
fn visible(line: &str) -> String {
    let parts = line.trim_end().split('\u{1b}');
    let text = |(n, part): (usize, &str)| match part.split_once('m') {
        Some((_, text)) if n > 0 => text.to_owned(),
        _ => part.to_owned(),
    };
    parts.enumerate().map(text).collect()
}

/// A server that accepts a request and answers when its listener is dropped: never, for as long as
/// somebody at a terminal would wonder.
fn slow_server() -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Its request, and then nothing: the time is what is tested.
        let mut some = [0; 1024];
        let _ = stream.read(&mut some);
        thread::sleep(std::time::Duration::from_millis(2500));
    });
    (url, answers)
}

#[test]
fn what_takes_longer_than_a_second_says_what_it_is_on_a_terminal_only() {
    let home = Home::new();
    let made = home.json(&["token", "create", "me", "--role", "owner"]);
    let token = word(&made, "token");
    let told = "Check that no record was changed";
    let (url, answers) = slow_server();
    let line = format!("audit verify --server {url}");
    let output = at_terminal_with(&home, 100, "cat", &line, &token);
    assert!(!output.status.success());
    let shown = text(&output.stdout);
    assert!(shown.contains(told), "{shown}");
    answers.join().unwrap();

    let quick = at_terminal(&home, 100, "cat", "audit verify");
    assert!(!text(&quick.stdout).contains(told));
    let (url, answers) = slow_server();
    let mut piped = home.command(&["audit", "verify", "--server", &url]);
    let silent = piped.env("KEYSTILE_TOKEN", &token).output().unwrap();
    assert!(!text(&silent.stderr).contains(told));
    answers.join().unwrap();
}
