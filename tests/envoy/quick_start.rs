//! The README's quick start, typed as it stands there, up to the port numbers.

use crate::support::{Envoy, Setup, Upstream, eventually, fresh_dir, part, root};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

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

#[test]
fn the_quick_start_of_the_readme_lets_a_key_in_and_drops_it() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("## Quick start").nth(1).unwrap();
    let block = section.split("```sh\n").nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    let (before, rest) = block.split_once("envoy -c target/envoy.yaml").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    let upstream = Upstream::start();
    let dir = checkout();
    let address = upstream.address().to_string();
    assert!(before.contains("--upstream 127.0.0.1:8080"));
    let before = before.replace("127.0.0.1:8080", &address);
    let before = format!("{before}\ncommand -v envoy >envoy");
    let (printed, environment) = typed(&dir, &[], &before);

    let envoy = fs::read_to_string(dir.join("envoy")).unwrap();
    assert!(envoy.contains("/.tools/envoy-"), "{envoy}");
    let inside = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let key = printed.split(inside).find(|w| w.starts_with("ks_live_"));
    let key = key.unwrap_or_else(|| panic!("no key in {printed}"));
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
