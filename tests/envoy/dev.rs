//! `keystilectl dev`, with the real Envoy.

use crate::support::{Upstream, eventually, fresh_dir, part};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn companion() -> PathBuf {
    part("target/dist/keystilectl", "scripts/build")
}

/// `dev` as it runs; killed with its test.
struct Dev {
    child: Child,
    /// What it printed.
    said: Value,
}

impl Dev {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(companion());
        command.args(["dev", "--output", "json", "--listen", "127.0.0.1:0"]);
        command.args(args).current_dir(dir).env("TMPDIR", dir);
        for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("KEYSTILE_")) {
            command.env_remove(name);
        }
        // Envoy is where `scripts/setup` put it, as seen from the program.
        command.env("PATH", "/usr/bin:/bin");
        let log = fs::File::create(dir.join("dev.log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut text = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while let Some(Ok(line)) = lines.next() {
            text.push_str(&line);
            if line == "}" {
                break;
            }
        }
        let said = serde_json::from_str(&text);
        let log = || fs::read_to_string(dir.join("dev.log")).unwrap();
        let said = said.unwrap_or_else(|_| panic!("{text}\n{}", log()));
        Self { child, said }
    }

    fn word(&self, field: &str) -> &str {
        self.said[field].as_str().unwrap()
    }

    /// The status of the curl line, and what came.
    fn asked(&self) -> (String, String) {
        let line = self
            .word("curl")
            .replacen("curl", "curl -s -w '\\n%{http_code}'", 1);
        let output = Command::new("bash").args(["-c", &line]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.to_owned(), body.to_owned())
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Command lines of all processes that name this folder, which is part of Envoy's.
fn running(folder: &Path) -> Vec<String> {
    let name = folder.to_str().unwrap();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|p| fs::read(p.path().join("cmdline")).ok());
    let lines = lines.map(|l| String::from_utf8_lossy(&l).replace('\0', " "));
    lines.filter(|l| l.contains(name)).collect()
}

#[test]
fn its_curl_line_is_let_in_until_the_key_is_revoked_and_a_signal_leaves_nothing() {
    let dir = fresh_dir();
    let mut dev = Dev::start(&dir, &[]);
    let (status, body) = dev.asked();
    assert_eq!((status.as_str(), body.as_str()), ("200", "hello, dev\n"));
    assert!(
        running(&dir)
            .iter()
            .any(|l| l.contains("--use-dynamic-base-id"))
    );

    let home = dev.word("home").to_owned();
    assert!(Path::new(&home).starts_with(&dir));
    let revoked = Command::new(companion())
        .args(["--home", &home, "key", "revoke", dev.word("key_id")])
        .output()
        .unwrap();
    assert!(revoked.status.success(), "{revoked:?}");
    eventually("the key to be refused", || {
        (dev.asked().0 == "401").then_some(())
    });

    // The link signs in.
    let (page, code) = dev.word("link").split_once('#').unwrap();
    let data = format!("code={code}");
    let origin = format!(
        "origin: {}",
        page.strip_suffix("/console/invitation").unwrap()
    );
    let accepted = Command::new("curl")
        .args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-d",
            &data,
            "-H",
            &origin,
            page,
        ])
        .output()
        .unwrap();
    assert_eq!(accepted.stdout, b"200");

    dev.signal("INT");
    assert!(dev.child.wait().unwrap().success());
    assert_eq!(running(&dir), [""; 0]);
    assert!(!Path::new(&home).exists());
}

#[test]
fn killed_hard_it_leaves_no_envoy_behind_and_keeps_what_it_was_told_to_keep() {
    let dir = fresh_dir();
    let policy = "version: 1\nreport: {cluster: keystile-control, every: 1s}\ncredentials: [{query: k}]\nroutes:\n- {path: \"/u/{id}.json\", scopes: [read], methods: [GET]}\n";
    fs::write(dir.join("policy.yaml"), policy).unwrap();
    let upstream = Upstream::start();
    let address = upstream.address().to_string();
    let args = [
        "--keep",
        "kept",
        "--upstream",
        &address,
        "--policy",
        "policy.yaml",
    ];
    for _ in 0..2 {
        let mut dev = Dev::start(&dir, &args);
        assert_eq!(dev.asked().0, "200");
        assert!(
            dev.word("curl").contains("/u/7.json?k=ks_live_"),
            "{}",
            dev.said
        );
        dev.child.kill().unwrap();
        dev.child.wait().unwrap();
        eventually("Envoy to be gone", || {
            running(&dir).is_empty().then_some(())
        });
    }
    assert!(dir.join("kept/store/store.db").exists());
}

#[test]
fn an_envoy_that_does_not_start_ends_it_with_the_reason() {
    let dir = fresh_dir();
    let mut command = Command::new(companion());
    command.args(["dev", "--envoy", "/bin/false", "--listen", "127.0.0.1:0"]);
    let output = command
        .current_dir(&dir)
        .env("TMPDIR", &dir)
        .output()
        .unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("Envoy ended"), "{words}");
    assert_eq!(output.stdout, b"");
    // Nor a folder.
    let names = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name());
    let left = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("keystile-dev-");
    assert_eq!(names.filter(left).count(), 0);
}
