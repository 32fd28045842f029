//! The page for callers: its programs are taken off it as they stand there, and call an API
//! behind the real Envoy.

use crate::fixture::{Keys, now, secret_of};
use crate::grpc::Service;
use crate::pki::Authority;
use crate::support::{Envoy, PATIENCE, Reply, Upstream, eventually, get, root};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

const PAGE: &str = include_str!("../../src/console/clients.md");

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

/// A program of the page, ready to run.
struct Program {
    language: &'static str,
    /// Words of the command.
    command: Vec<PathBuf>,
}

/// All of them.
static PROGRAMS: LazyLock<Vec<Program>> = LazyLock::new(|| {
    let script = |language, interpreter: &str, file: &str| Program {
        language,
        command: vec![interpreter.into(), program_file(file, block(language, 0))],
    };
    let built = |language, program| Program {
        language,
        command: vec![program],
    };
    vec![
        script("sh", "sh", "call.sh"),
        script("python", "python3", "call.py"),
        script("js", "node", "call.js"),
        built(
            "rust",
            built_with_rustc(&program_file("call.rs", block("rust", 0))),
        ),
        built(
            "go",
            built_with_go(&program_file("call.go", block("go", 0))),
        ),
    ]
});

/// Something for each program.
fn each<T>(mut make: impl FnMut(&'static Program) -> T) -> Vec<(&'static Program, T)> {
    PROGRAMS.iter().map(|p| (p, make(p))).collect()
}

fn key_of<'k>(issued: &'k [(&'static Program, String)], program: &Program) -> &'k str {
    let mut issued = issued.iter();
    let found = issued.find(|(p, _)| p.language == program.language);
    &found.unwrap().1
}

impl Program {
    /// Where it calls, so that the access log tells who it was.
    fn path(&self) -> String {
        format!("/v1/{}", self.language)
    }

    fn start(&self, authority: &str, key: &str) -> Running {
        let (program, arguments) = self.command.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(arguments);
        let url = format!("http://{authority}{}", self.path());
        Running::start(command, &url, key)
    }
}

/// One that runs. Dropped, it is killed.
struct Running(Option<Child>);

/// What it left.
struct Ended {
    succeeded: bool,
    printed: String,
    errors: String,
}

impl Running {
    fn start(mut command: Command, url: &str, key: &str) -> Self {
        for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(proxy);
        }
        command
            .env("API_KEY", key)
            .env("API_URL", url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn();
        let missing = format!("{command:?}: run scripts/setup tests first");
        Self(Some(child.expect(&missing)))
    }

    /// Waits for it. What it prints is less than a pipe holds.
    fn end(mut self) -> Ended {
        // Five starts on a busy machine, and the waits between its tries.
        let from = Instant::now();
        let child = self.0.as_mut().unwrap();
        while child.try_wait().unwrap().is_none() {
            assert!(from.elapsed() < 3 * PATIENCE, "a program does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended {
            succeeded: output.status.success(),
            printed: text(output.stdout),
            errors: text(output.stderr),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ended {
    fn holds_nothing_of(&self, key: &str) {
        for output in [&self.printed, &self.errors] {
            assert!(!output.contains(secret_of(key)), "{output}");
        }
    }
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

/// What anybody on the machine can read of the processes that run.
fn command_lines() -> String {
    let processes = fs::read_dir("/proc").unwrap();
    let mut out = String::new();
    for process in processes {
        let Ok(process) = process else { continue };
        if let Ok(line) = fs::read(process.path().join("cmdline")) {
            out.push_str(&String::from_utf8_lossy(&line));
        }
    }
    out
}

/// The `n`th fenced block of a language.
fn block(language: &str, n: usize) -> &'static str {
    let fence = format!("\n```{language}\n");
    let rest = PAGE.split(&fence).nth(n + 1).unwrap();
    rest.split_once("\n```\n").unwrap().0
}

fn program_file(name: &str, text: &str) -> PathBuf {
    let folder = root().join("target/envoy-tests/callers");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name);
    fs::write(&file, format!("{text}\n")).unwrap();
    file
}

fn built_with_go(source: &Path) -> PathBuf {
    let program = source.with_file_name("call-go");
    let mut go = Command::new("go");
    go.arg("build").arg("-o").arg(&program).arg(source);
    // Nothing but what the standard library has, and nothing from elsewhere.
    go.env("GO111MODULE", "off").env("GOPROXY", "off");
    go.env("GOCACHE", source.with_file_name("go-cache"));
    let output = go.output();
    built(output.expect("Go: run scripts/setup tests first"));
    program
}

/// Against the `ureq` that the companion is built with, which lies beside this test.
fn built_with_rustc(source: &Path) -> PathBuf {
    let program = source.with_file_name("call-rust");
    let crates = std::env::current_exe().unwrap();
    let crates = crates.parent().unwrap();
    let mut found: Vec<PathBuf> = fs::read_dir(crates)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("libureq-") && name.ends_with(".rlib")
        })
        .collect();
    // Other builds may have left theirs; the last is this one's.
    found.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    let ureq = found.last().expect("ureq is built");
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--edition", "2024", "--deny", "warnings"])
        .arg("--extern")
        .arg(format!("ureq={}", ureq.display()))
        .arg("-L")
        .arg(format!("dependency={}", crates.display()))
        .arg("-o")
        .arg(&program)
        .arg(source);
    built(rustc.output().unwrap());
    program
}

fn built(output: Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}
