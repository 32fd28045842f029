//! The guide's quick start, typed as it stands there, up to the port numbers.

use crate::support::{Envoy, Setup, Upstream, eventually, fresh_dir, part, root};
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A checkout: its scripts have run, and its parts are there.
fn checkout() -> PathBuf {
    let dir = fresh_dir();
    for folder in ["scripts", "target/dist"] {
        fs::create_dir_all(dir.join(folder)).unwrap();
    }
    for script in ["scripts/setup", "scripts/build"] {
        fs::write(dir.join(script), "#!/bin/sh\n").unwrap();
        fs::set_permissions(dir.join(script), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let companion = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/dist/keystilectl"
    ));
    // No link: it looks for the filter beside itself.
    fs::copy(companion, dir.join("target/dist/keystilectl")).unwrap();
    let wasm = part("target/dist/keystile.wasm", "scripts/build");
    symlink(wasm, dir.join("target/dist/keystile.wasm")).unwrap();
    // `scripts/setup` puts its own version there; the one that is tried takes its place.
    let scripts = fs::read_to_string(root().join("scripts/lib.sh")).unwrap();
    let own = scripts.split("{KEYSTILE_ENVOY_VERSION:-").nth(1).unwrap();
    let own = own.split('}').next().unwrap();
    let tried = std::env::var("KEYSTILE_ENVOY_VERSION").unwrap_or(own.to_owned());
    let folder = |version: &str| format!(".tools/envoy-{version}");
    fs::create_dir(dir.join(".tools")).unwrap();
    symlink(root().join(folder(&tried)), dir.join(folder(own))).unwrap();
    dir
}

/// What it printed, and the environment that it left.
fn typed(dir: &Path, environment: &[String], lines: &str) -> (String, Vec<String>) {
    let script = format!("set -euo pipefail\n{lines}\nenv >environment\n");
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir(dir);
    for name in ["KEYSTILE_HOME", "KEYSTILE_MASTER_KEY", "KEYSTILE_SERVER"] {
        command.env_remove(name);
    }
    let pairs = environment.iter().filter_map(|l| l.split_once('='));
    let output = command.envs(pairs).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors} in:\n{lines}");
    let left = fs::read_to_string(dir.join("environment")).unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        left.lines().map(str::to_owned).collect(),
    )
}

/// The first block of a section.
fn block(page: &str, section: &str) -> String {
    let section = page.split(&format!("## {section}\n")).nth(1).unwrap();
    let block = section.split("```sh\n").nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

fn key_in(printed: &str, start: &str) -> String {
    let inside = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let key = printed.split(inside).find(|w| w.starts_with(start));
    key.unwrap_or_else(|| panic!("no {start}… in {printed}"))
        .to_owned()
}

#[test]
fn the_quick_start_of_the_guide_lets_a_key_in_and_drops_it() {
    let page = fs::read_to_string(root().join("src/book/pages/start.md")).unwrap();
    let block = block(&page, "Quick start");
    let (before, rest) = block.split_once("envoy -c target/envoy.yaml").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    let upstream = Upstream::start();
    let dir = checkout();
    let address = upstream.address().to_string();
    assert!(before.contains("--upstream 127.0.0.1:8000"));
    let before = before.replace("127.0.0.1:8000", &address);
    let before = format!("{before}\ncommand -v envoy >envoy");
    let (printed, environment) = typed(&dir, &[], &before);

    let envoy = fs::read_to_string(dir.join("envoy")).unwrap();
    assert!(envoy.contains("/.tools/envoy-"), "{envoy}");
    let key = &key_in(&printed, "ks_live_");
    let id = crate::fixture::id(key).to_string();

    let config = fs::read_to_string(dir.join("target/envoy.yaml")).unwrap();
    let variable = |l: &String| l.strip_prefix("KEYSTILE_SIGNING_KEYS=").map(str::to_owned);
    let signing_keys = environment.iter().find_map(variable).unwrap();
    let setup = Setup::rendered(fresh_dir(), config)
        .edit("address: 0.0.0.0", "address: 127.0.0.1")
        .edit("port_value: 10000", "port_value: 0")
        .edit("port_value: 9901", "port_value: 0")
        .signing_keys(&signing_keys);
    let envoy = Envoy::start(setup);

    let lines: Vec<&str> = after.lines().filter(|l| !l.is_empty()).collect();
    let [asking, revoking] = lines[..] else {
        panic!("{after}");
    };
    let asking = asking
        .replace(
            "curl ",
            "curl --silent --output answer --write-out '%{http_code}' ",
        )
        .replace("ks_live_…", key)
        .replace("127.0.0.1:10000", &envoy.address().to_string());
    assert_eq!(typed(&dir, &environment, &asking).0, "200");
    typed(&dir, &environment, &revoking.replace("KEY_ID", &id));
    eventually("the key to be gone", || {
        (typed(&dir, &environment, &asking).0 == "401").then_some(())
    });
}

/// What was left running, ended with the test.
struct Left(PathBuf);

impl Drop for Left {
    fn drop(&mut self) {
        let pids = fs::read_to_string(self.0.join("pids")).unwrap_or_default();
        for pid in pids.lines() {
            let _ = Command::new("kill").arg(pid).status();
        }
    }
}

/// As it stands, but for the port numbers: `serve` is told its own, which are the usual ones.
struct Ports(Vec<(&'static str, String)>);

impl Ports {
    fn new(upstream: &str) -> Self {
        let usual = ["8080", "18000", "10001", "9902"];
        let free = usual.map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let free = free.iter().map(|l| l.local_addr().unwrap().port());
        let mut all: Vec<_> = usual
            .iter()
            .zip(free)
            .map(|(u, p)| (*u, p.to_string()))
            .collect();
        all.push(("8000", upstream.to_owned()));
        Self(all)
    }

    fn instead_of(&self, usual: &str) -> &str {
        &self.0.iter().find(|(u, _)| *u == usual).unwrap().1
    }

    fn put(&self, lines: &str) -> String {
        let (api, discovery) = (self.instead_of("8080"), self.instead_of("18000"));
        let serve = format!(
            "keystilectl serve --listen 127.0.0.1:{api} --discovery 127.0.0.1:{discovery} >serve.log 2>&1 &"
        );
        let mut out = lines.replace("0.0.0.0:10001", "127.0.0.1:10001");
        for (usual, port) in &self.0 {
            out = out.replace(&format!(":{usual}"), &format!(":{port}"));
        }
        let serving = out.lines().any(|l| l.starts_with("keystilectl serve &"));
        out = out.replace("keystilectl serve &", &serve);
        assert!(!lines.contains("serve") || serving, "{lines}");
        // A background process does not hold the test's own pipe.
        let lines = out.lines().map(|line| match line.split_once(" &") {
            Some((command, comment))
                if comment.trim_start().starts_with('#') || comment.is_empty() =>
            {
                format!("{command} </dev/null &\necho $! >>pids\n")
            }
            _ => format!("{line}\n"),
        });
        lines.collect()
    }
}

#[test]
fn the_control_plane_of_the_guide_proves_a_revocation_and_counts_usage() {
    let page = fs::read_to_string(root().join("src/book/pages/start.md")).unwrap();
    let start = block(&page, "Quick start");
    let (start, _) = start.split_once("keystilectl key issue").unwrap();
    let plane = block(&page, "Control plane");
    let (here, anywhere) = plane.split_once("\n\n").unwrap();
    let upstream = Upstream::start();
    let ports = Ports::new(&upstream.address().port().to_string());
    let dir = checkout();
    let (_, environment) = typed(&dir, &[], start);
    let _left = Left(dir.clone());
    let (printed, environment) = typed(&dir, &environment, &ports.put(here));
    let token = key_in(&printed, "kst_owner_");
    for usual in ["8080", "10001"] {
        let port = ports.instead_of(usual).parse().unwrap();
        // Both start at once, which takes a busy machine longer than one of them.
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(90),
                "{usual} is not listened on"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    let anywhere = ports.put(anywhere).replace("kst_…", &token);
    let (issuing, rest) = anywhere.split_once("curl ").unwrap();
    let (printed, environment) = typed(&dir, &environment, issuing);
    let key = key_in(&printed, "ks_live_");
    assert!(!printed.contains("keystilectl push"), "{printed}");
    let (asking, rest) = rest.split_once('\n').unwrap();
    let asking = format!("curl --silent --output answer --write-out '%{{http_code}}' {asking}")
        .replace("ks_live_…", &key);
    eventually("the key to be let in", || {
        (typed(&dir, &environment, &asking).0 == "200").then_some(())
    });
    let rest = rest.replace("KEY_ID", &crate::fixture::id(&key).to_string());
    let (revoking, rest) = rest.split_once('\n').unwrap();
    assert!(revoking.contains("--wait"), "{revoking}");
    typed(&dir, &environment, revoking);
    // Proved, so at once.
    assert_eq!(typed(&dir, &environment, &asking).0, "401");

    let (printed, _) = typed(&dir, &environment, rest);
    assert!(printed.contains("edge-1"), "{printed}");
    let link = printed
        .split_whitespace()
        .find(|w| w.contains("/console/invitation#"));
    let (page, code) = link
        .unwrap_or_else(|| panic!("{printed}"))
        .split_once('#')
        .unwrap();
    let accept = format!(
        "curl --silent --output page --write-out '%{{http_code}}' --data code={code} --header 'origin: {}' {page}",
        page.split("/console").next().unwrap()
    );
    assert_eq!(typed(&dir, &environment, &accept).0, "200");
    // It worked once.
    assert_ne!(typed(&dir, &environment, &accept).0, "200");
    eventually("usage to be counted", || {
        let (usage, _) = typed(
            &dir,
            &environment,
            "keystilectl usage --by client --output json",
        );
        usage.contains("acme").then_some(())
    });
}
