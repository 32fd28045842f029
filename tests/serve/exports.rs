//! The audit log as others keep it, and how long it is kept here.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::pki::Authority;
use crate::receiver::{PATIENCE, Receiver, Seen};
use crate::server::{Server, log_of, token};
use crate::support::{Home, word};
use crate::webhooks::{ALLOW, HERE};

fn eventually(home: &Home, what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}\n{}", log_of(home));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Records as they arrived.
fn records(text: &str) -> Vec<Value> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

/// The log, each record once, as the store has it.
fn log(home: &Home) -> Vec<Value> {
    records(&home.ok(&["audit", "export"]))
}

#[test]
fn every_audit_record_reaches_the_file_whatever_ends_the_server_in_between() {
    let home = Home::new();
    let args = ["--audit-export", "audit.jsonl"];
    let arrived = || records(&fs::read_to_string(home.path("audit.jsonl")).unwrap_or_default());
    let all_there = || {
        let (mut arrived, log) = (arrived(), log(&home));
        arrived.sort_by_key(|r| r["seq"].as_u64());
        arrived.dedup();
        arrived == log
    };
    for round in 0..3 {
        let server = Server::start(&home, &args);
        for _ in 0..20 {
            home.ok(&["key", "issue", "acme"]);
        }
        if round == 2 {
            eventually(&home, "all records", all_there);
        }
        // Killed, not stopped.
        drop(server);
        home.ok(&["key", "issue", "acme"]);
    }
    let _server = Server::start(&home, &args);
    eventually(&home, "what happened while no server ran", all_there);
    let mode = fs::metadata(home.path("audit.jsonl")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );
}

#[test]
fn a_receiver_that_fails_gets_every_record_later_and_nothing_is_removed_before() {
    let home = Home::new();
    let receiver = Receiver::start(|n, _| Some(if n < 2 { 503 } else { 204 }));
    let url = format!("http://{}/hook", receiver.address());
    let first = log(&home);
    let mut server = home.command(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--discovery",
        "127.0.0.1:0",
        "--audit-export",
        &url,
        "--audit-keep",
        "1s",
    ]);
    let stderr = fs::File::create(home.path("serve.log")).unwrap();
    let mut server = server
        .env("KEYSTILE_AUDIT_EXPORT_TOKEN", "of-the-receiver")
        .stderr(stderr)
        .spawn()
        .unwrap();
    // After a failure fewer are sent at once.
    let mut seen = receiver.wait(3);
    let arrived = |seen: &[Seen]| {
        let taken = seen.iter().skip(2).map(|request| request.body.clone());
        records(&String::from_utf8(taken.collect::<Vec<_>>().concat()).unwrap())
    };
    while arrived(&seen).len() < first.len() {
        seen = receiver.wait(seen.len() + 1);
    }
    let _ = server.kill();
    let _ = server.wait();
    for request in &seen {
        assert_eq!(request.header("authorization"), "Bearer of-the-receiver");
        assert_eq!(request.header("content-type"), "application/x-ndjson");
    }
    assert_eq!(
        arrived(&seen)[..first.len()],
        first,
        "the same, from the first on"
    );
    let logged = log_of(&home);
    assert!(
        logged.contains("the receiver of the audit log answered 503"),
        "{logged}"
    );
    assert!(!logged.contains("of-the-receiver"), "{logged}");
}

#[test]
fn over_tls_a_receiver_gets_the_log_only_if_its_authority_is_trusted() {
    let home = Home::new();
    let (ours, theirs) = (
        Authority::new(home.path("ours")),
        Authority::new(home.path("theirs")),
    );
    ours.issue("siem", "localhost");
    let receiver = Receiver::secure(&ours.path("siem.pem"), &ours.path("siem.key"));
    let url = format!("https://localhost:{}/hook", receiver.address().port());
    let started = |ca: &str| {
        let args = ["--audit-export", &url, "--audit-export-ca", ca];
        Server::start(&home, &args)
    };
    // An authority that is not its own, although the system's might be.
    let server = started(&theirs.path("ca.pem"));
    eventually(&home, "its certificate to be refused", || {
        log_of(&home).contains("the audit log cannot be sent")
    });
    assert!(receiver.seen().is_empty());
    drop(server);

    let written = log(&home);
    let _server = started(&ours.path("ca.pem"));
    eventually(&home, "all records", || {
        let bodies = receiver.seen().into_iter().flat_map(|r| r.body);
        let arrived = records(&String::from_utf8(bodies.collect()).unwrap());
        written.iter().all(|r| arrived.contains(r))
    });
}

#[test]
fn records_that_were_sent_are_removed_when_they_are_old_and_others_are_not() {
    let home = Home::new();
    let pruned = |home: &Home| log(home).first().is_none_or(|r| r["seq"] != 1);
    // Nobody listens there: nothing is sent.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}/hook", gone.local_addr().unwrap());
    drop(gone);
    let oldest = Instant::now();
    eventually(&home, "the records to be old", || {
        oldest.elapsed() > Duration::from_secs(3)
    });
    let server = Server::start(&home, &["--audit-export", &nowhere, "--audit-keep", "1s"]);
    eventually(&home, "a failure, and what it leads to", || {
        let log = log_of(&home);
        log.contains("the audit log cannot be sent")
            && log.contains("old audit records are kept: they have not been sent yet")
    });
    assert!(!pruned(&home));
    drop(server);

    let server = Server::start(&home, &["--audit-export", "audit.jsonl"]);
    let sent = || fs::read_to_string(home.path("home/audit.sent")).unwrap_or_default();
    let head = log(&home).last().unwrap()["seq"].to_string();
    eventually(&home, "all of it sent", || {
        sent().starts_with(&format!("{head}:"))
    });
    drop(server);
    let server = Server::start(
        &home,
        &["--audit-export", "audit.jsonl", "--audit-keep", "1s"],
    );
    eventually(&home, "old records to go", || pruned(&home));
    home.ok(&["audit", "verify"]);
    let prune = home.json(&["audit", "list", "--action", "audit.prune"]);
    assert_eq!(word(&prune[0], "user"), "keystilectl serve");
    drop(server);
}

#[test]
fn what_has_not_arrived_is_in_the_metrics() {
    let home = Home::new();
    let policy = home.ok(&["policy", "show"]);
    fs::write(
        home.path("policy.yaml"),
        format!("{policy}\nnot_after: 2h\n"),
    )
    .unwrap();
    home.ok(&["policy", "apply", "policy.yaml"]);
    let receiver = Receiver::start(|_, _| Some(500));
    let url = format!("http://{}/hook", receiver.address());
    home.ok(&[
        "webhook",
        "create",
        "siem",
        &url,
        "--event",
        "key.issue",
        ALLOW,
        HERE,
    ]);
    let server = Server::start(&home, &[ALLOW, HERE, "--audit-export", "audit.jsonl"]);
    home.ok(&["key", "issue", "acme", "--count", "3"]);
    let metric = |name: &str| {
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        let mut answer = agent
            .get(format!("{}/metrics", server.url()))
            .call()
            .unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let line = |l: &str| l.strip_prefix(name)?.trim().parse::<i64>().ok();
        text.lines().find_map(line)
    };
    let backlog = "keystile_control_webhook_backlog{webhook=\"siem\"}";
    eventually(&home, "three messages to wait", || {
        metric(backlog) == Some(3)
    });
    eventually(&home, "a keyset", || {
        let left = metric("keystile_control_keyset_not_after_seconds ");
        left.is_some_and(|left| (7000..=7200).contains(&left))
    });
    eventually(&home, "the audit log to be sent", || {
        metric("keystile_control_audit_export_backlog ") == Some(0)
    });
    assert_eq!(metric("keystile_control_nodes_diverging "), Some(0));
}

#[test]
fn an_export_that_follows_prints_what_happens_from_then_on() {
    use std::io::{BufRead as _, BufReader};
    let home = Home::new();
    let mut export = home
        .command(&["audit", "export", "--follow"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(export.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let before = log(&home);
    for record in &before {
        assert_eq!(next(), *record);
    }
    for name in ["one", "two"] {
        home.ok(&["client", "create", name]);
        let record = next();
        assert_eq!(
            (word(&record, "action"), word(&record, "subject")),
            ("client.create".to_owned(), name.to_owned())
        );
    }
    assert!(export.try_wait().unwrap().is_none(), "it goes on");
    export.kill().unwrap();
    export.wait().unwrap();
}

#[test]
fn what_callers_wrote_is_escaped_in_every_export() {
    let home = Home::new();
    let owner = token(&home, "owner");
    let server = Server::start(&home, &["--audit-export", "audit.jsonl"]);
    // Kept in the record of the refusal as it was sent: turned around, cut by a C1 control, and
    // with a line of its own.
    let name = "a\u{202e}b\u{9b}2J\u{200b}\n9999  2026-01-01 00:00  owner  key.revoke";
    let refused = home
        .command(&["client", "create", name])
        .env("KEYSTILE_SERVER", server.url())
        .env("KEYSTILE_TOKEN", owner)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let sent = || fs::read_to_string(home.path("audit.jsonl")).unwrap_or_default();
    eventually(&home, "the record to be sent", || {
        sent().contains("\"refused\"")
    });
    let listed = home.ok(&["--output", "json", "audit", "list", "--outcome", "refused"]);
    let acts = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{200b}".contains(c));
    for text in [home.ok(&["audit", "export"]), sent(), listed.clone()] {
        assert!(!text.chars().any(acts), "{text}");
        assert!(text.contains("a\\u202eb\\u009b2J\\u200b"), "{text}");
    }
    // The table for people: one row, and nothing that a terminal acts on.
    let table = home.ok(&["audit", "list", "--outcome", "refused"]);
    assert!(!table.chars().any(acts), "{table}");
    assert_eq!(table.lines().count(), 2, "the header and one row: {table}");
    assert!(
        table.contains("a\\u{202e}b\\u{9b}2J\\u{200b}\\n9999"),
        "{table}"
    );

    let listed: Value = serde_json::from_str(&listed).unwrap();
    let exported = log(&home);
    for record in [&listed[0], exported.last().unwrap()] {
        assert!(word(record, "reason").contains(name), "{record}");
    }
}
