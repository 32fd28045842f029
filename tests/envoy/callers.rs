//! The page for callers: its programs are taken off it as they stand there, and call an API
//! behind the real Envoy.

mod programs;

use crate::fixture::{Keys, now, secret_of};
use crate::grpc::Service;
use crate::pki::Authority;
use crate::support::{Envoy, Reply, Upstream, eventually, get, root};
use programs::{PROGRAMS, Program, Running, block, command_lines, each, key_of, program_file};
use serde_json::Value;
use std::process::Command;
use std::sync::{Arc, Mutex};

const PAGE: &str = include_str!("../../src/book/pages/clients.md");

/// The limit is longer than what the programs wait unasked, and they are slow to start here.
const POLICY: &str = r#"
version: 1
plans:
  slow: { limits: [{ requests: 1, per: 12s }] }
  daily: { limits: [{ requests: 1, per: 1d }] }
routes:
  - { path: "/v1/{language}" }
  - { path: /grpc.health.v1.Health/Check, methods: [POST] }
"#;

#[test]
fn a_program_that_is_limited_waits_as_long_as_it_is_told_and_gets_through() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let issued = each(|_| keys.issue_on("acme", "slow"));
    let envoy = keys.start(&upstream);

    let running = each(|p| {
        let key = key_of(&issued, p);
        assert_eq!(envoy.send(&get(p.path()).bearer(key)).status, 200);
        // As a file or a secret store hands it over.
        p.start(&envoy.address().to_string(), &format!("{key}\n"))
    });
    for program in PROGRAMS.iter() {
        envoy.access_line(|line| line["path"] == program.path() && line["status"] == 429);
    }
    let commands = command_lines();
    for (program, run) in running {
        let ended = run.end();
        let key = key_of(&issued, program);
        assert!(ended.succeeded, "{}: {}", program.language, ended.errors);
        assert!(
            ended.printed.contains(r#"["x-keystile-client","acme"]"#),
            "{}: {}",
            program.language,
            ended.printed
        );
        ended.holds_nothing_of(key);
        assert!(!commands.contains(secret_of(key)), "{}", program.language);
        // One refusal: whoever had gone by a backoff of its own had met several.
        assert_eq!(
            statuses(&envoy, program),
            [200, 429, 200],
            "{}",
            program.language
        );
    }
}

#[test]
fn a_program_whose_key_is_refused_gives_up_at_once_and_says_why() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let issued = each(|_| keys.issue_with("acme", |row| row.revoked = true));
    let envoy = keys.start(&upstream);

    let running = each(|p| p.start(&envoy.address().to_string(), key_of(&issued, p)));
    for (program, run) in running {
        let ended = run.end();
        assert!(!ended.succeeded, "{}", program.language);
        // curl tells the status alone.
        let code = if program.language == "sh" {
            "401"
        } else {
            "revoked_api_key"
        };
        assert!(ended.errors.contains(code), "{}", ended.errors);
        ended.holds_nothing_of(key_of(&issued, program));
        assert_eq!(statuses(&envoy, program), [401], "{}", program.language);
    }
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_program_that_had_to_wait_for_a_day_gives_up_at_once() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let issued = each(|_| keys.issue_on("acme", "daily"));
    let envoy = keys.start(&upstream);

    let running = each(|p| {
        let key = key_of(&issued, p);
        assert_eq!(envoy.send(&get(p.path()).bearer(key)).status, 200);
        p.start(&envoy.address().to_string(), key)
    });
    for (program, run) in running {
        let ended = run.end();
        assert!(!ended.succeeded, "{}", program.language);
        assert!(ended.errors.contains("429"), "{}", ended.errors);
        ended.holds_nothing_of(key_of(&issued, program));
        assert_eq!(
            statuses(&envoy, program),
            [200, 429],
            "{}",
            program.language
        );
    }
}

#[test]
fn a_program_outlasts_an_envoy_whose_keyset_is_late() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(&format!("{POLICY}not_after: 1h\n"));
    let issued = each(|_| keys.issue("acme"));
    keys.content.issued_at = now() - 3600;
    let envoy = keys.start(&upstream);

    let running = each(|p| p.start(&envoy.address().to_string(), key_of(&issued, p)));
    for program in PROGRAMS.iter() {
        envoy.access_line(|line| line["path"] == program.path() && line["status"] == 503);
    }
    keys.content.issued_at = now();
    keys.content.version += 1;
    keys.push(&envoy);
    for (program, run) in running {
        let ended = run.end();
        assert!(ended.succeeded, "{}: {}", program.language, ended.errors);
        assert_eq!(statuses(&envoy, program).last(), Some(&200));
        ended.holds_nothing_of(key_of(&issued, program));
    }
}

#[test]
fn no_program_takes_its_key_along_to_another_host() {
    let met = Arc::new(Mutex::new(Vec::new()));
    let elsewhere = Upstream::answering({
        let met = Arc::clone(&met);
        move |seen| {
            met.lock().unwrap().push(seen.headers.clone());
            Reply::echo(seen)
        }
    });
    let there = format!("http://localhost:{}/stolen", elsewhere.address().port());
    let upstream = Upstream::answering(move |_| Reply::redirect(&there));
    let mut keys = Keys::new(POLICY);
    let issued = each(|_| keys.issue("acme"));
    let envoy = keys.start(&upstream);

    let running = each(|p| p.start(&envoy.address().to_string(), key_of(&issued, p)));
    for (program, run) in running {
        run.end().holds_nothing_of(key_of(&issued, program));
        assert_eq!(statuses(&envoy, program), [302], "{}", program.language);
    }
    let met = format!("{:?}", met.lock().unwrap());
    assert!(met.contains("localhost"), "some follow redirects: {met}");
    for (program, key) in &issued {
        assert!(!met.contains(secret_of(key)), "{}: {met}", program.language);
    }
}

#[test]
fn the_grpc_program_waits_too_and_tells_refusals_by_their_status() {
    let service = Service::start();
    let mut keys = Keys::new(POLICY);
    let slow = keys.issue_on("acme", "slow");
    let daily = keys.issue_on("acme", "daily");
    let revoked = keys.issue_with("acme", |row| row.revoked = true);
    let setup = service.behind();
    let authority = Authority::new(setup.dir().join("authority"));
    authority.issue("envoy", "localhost");
    let [certificate, key] = ["envoy.pem", "envoy.key"].map(|file| authority.path(file));
    let envoy = keys.start_on(setup.over_tls(&certificate, &key));
    let address = format!("localhost:{}", envoy.address().port());

    let run = |key: &str| {
        let mut command = Command::new("python3");
        command
            .arg(program_file("call_grpc.py", block("python", 1)))
            .env("PYTHONPATH", root().join(".tools/grpcio"))
            .env("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", authority.path("ca.pem"));
        Running::start(command, &address, key)
    };
    let seen = |key: &str| -> Vec<Value> {
        let id = crate::fixture::id(key).to_string();
        let log = envoy.access_log();
        let lines = log.iter().filter(|line| line["key"] == id);
        lines.map(|line| line["grpc_status"].clone()).collect()
    };
    // The answer is the message of a healthy service, `status: SERVING`.
    let healthy = r"b'\x08\x01'";

    let first = run(&slow).end();
    assert_eq!(first.printed.trim(), healthy, "{}", first.errors);
    let again = run(&slow).end();
    assert_eq!(again.printed.trim(), healthy, "{}", again.errors);
    again.holds_nothing_of(&slow);
    eventually("the lines in the access log", || {
        (seen(&slow) == ["OK", "ResourceExhausted", "OK"]).then_some(())
    });

    assert!(run(&daily).end().succeeded);
    let limited = run(&daily).end();
    assert!(!limited.succeeded);
    let words = "RESOURCE_EXHAUSTED: The rate limit is used up.";
    assert!(limited.errors.contains(words), "{}", limited.errors);
    limited.holds_nothing_of(&daily);
    eventually("the lines in the access log", || {
        (seen(&daily) == ["OK", "ResourceExhausted"]).then_some(())
    });

    let refused = run(&revoked).end();
    assert!(!refused.succeeded);
    let words = "UNAUTHENTICATED: This API key was revoked.";
    assert!(refused.errors.contains(words), "{}", refused.errors);
    refused.holds_nothing_of(&revoked);
    eventually("the line in the access log", || {
        (seen(&revoked) == ["Unauthenticated"]).then_some(())
    });
}

#[test]
fn every_fenced_program_of_the_page_is_run() {
    let fences = PAGE.lines().filter(|l| l.starts_with("```") && l.len() > 3);
    let found: Vec<&str> = fences.map(|l| &l[3..]).collect();
    assert_eq!(found, ["sh", "python", "js", "go", "rust", "python"]);
}

/// What Envoy answered it, once all of it is in the log.
fn statuses(envoy: &Envoy, program: &Program) -> Vec<u64> {
    // Lines come in the order of the answers, so this one comes last.
    let mark = format!("/v1/{}/end-{}", program.language, envoy.access_log().len());
    envoy.send(&get(&mark));
    envoy.access_line(|line| line["path"] == mark);
    let log = envoy.access_log();
    let own = log.iter().filter(|line| line["path"] == program.path());
    own.map(|line| line["status"].as_u64().unwrap()).collect()
}
