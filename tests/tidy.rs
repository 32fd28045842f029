//! Rules of the house that no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

mod tidy {
    mod circles;
    mod danger;
    mod events;
    mod modules;
    mod names;
    mod pages;
    mod ports;
    mod refusals;
    mod sizes;
    mod skipped;
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What is in `envoy/` for Envoy itself.
fn envoy_configurations() -> impl Iterator<Item = (String, String)> {
    let others = ["envoy/compose.yaml", "envoy/prometheus-rules.yaml"];
    let all = files("envoy").into_iter();
    all.filter(move |(name, _)| name.ends_with(".yaml") && !others.contains(&name.as_str()))
}

/// Every tracked kind of text file below `folder`.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut todo: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if let Ok(text) = fs::read_to_string(&path) {
            let name = path.strip_prefix(root()).unwrap();
            out.push((name.to_str().unwrap().to_owned(), text));
        }
    }
    assert!(!out.is_empty(), "nothing in `{folder}`");
    out.sort();
    out
}

/// The code before the unit tests of a file.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/") || name.ends_with("/bench.rs")
}

/// Lines of `folder`, tests left out, that hold one of `words`.
fn hits(folder: &str, words: &[&str], except: impl Fn(&str) -> bool) -> Vec<String> {
    let mut out = Vec::new();
    for (name, text) in files(folder) {
        if is_test(&name) || except(&name) || !name.ends_with(".rs") {
            continue;
        }
        for (n, line) in code(&text).lines().enumerate() {
            let line = line.split("//").next().unwrap();
            if words.iter().any(|w| line.contains(w)) {
                out.push(format!("{name}:{}: {}", n + 1, line.trim()));
            }
        }
    }
    out
}

#[test]
fn the_top_level_is_fixed() {
    let known = [
        "Cargo.toml",
        "Cargo.lock",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "README.md",
        "SECURITY.md",
        "rust-toolchain.toml",
        "src",
        "envoy",
        "tests",
        "scripts",
        "target",
    ];
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.starts_with('.') || known.contains(&name.as_str()),
            "`{name}` has no place at the top level"
        );
    }
}

/// The order in which the workspace lists its crates is the rule of arrows.
#[test]
fn a_crate_names_only_crates_that_stand_above_it() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = workspace.split("members = [").nth(1).unwrap();
    let members: Vec<&str> = members
        .split(']')
        .next()
        .unwrap()
        .split('"')
        .filter_map(|word| word.strip_prefix("src/"))
        .collect();
    assert_eq!(members.len(), 15, "{members:?}");
    for (at, name) in members.iter().enumerate() {
        let file = root().join("src").join(name).join("Cargo.toml");
        let text = fs::read_to_string(file).unwrap();
        for named in text.lines().filter_map(|l| l.strip_prefix("keystile-")) {
            let named = named.split('.').next().unwrap();
            let above = members.iter().position(|m| *m == named).unwrap();
            assert!(above < at, "`{name}` names `{named}`");
            assert!(
                !["filter", "module"].contains(name) || named == "core",
                "the shells name the core alone"
            );
        }
    }
}

#[test]
fn the_core_does_no_io() {
    let words = [
        "std::fs",
        "std::env",
        "std::process",
        "std::net::Tcp",
        "extern \"C\"",
    ];
    assert_eq!(hits("src/core", &words, |_| false), [""; 0]);
}

/// What is decided is decided at the time that the caller names; only what waits, listens or
/// works on files by itself looks at the clock.
#[test]
fn what_decides_is_told_the_time() {
    let clock = ["system::now(", "system::instant("];
    for folder in ["api", "import", "model", "policy", "registry", "store"] {
        assert_eq!(hits(&format!("src/{folder}"), &clock, |_| false), [""; 0]);
    }
}

#[test]
fn hostcalls_and_unsafe_stand_in_one_file_entries_and_memory_in_two_others() {
    let words = ["extern \"C\"", "unsafe {", "(unsafe_code"];
    // The third names what the host offers, the last takes over what it has written.
    let known = ["host", "entry", "host/abi", "given"].map(|name| format!("src/filter/{name}.rs"));
    let is_known =
        |name: &str| name.starts_with("src/module/abi") || known.iter().any(|known| known == name);
    assert_eq!(hits("src", &words, is_known), [""; 0]);
    let entry = fs::read_to_string(root().join("src/filter/entry.rs")).unwrap();
    assert!(!entry.contains("unsafe {"), "hostcalls belong in `host`");
}

#[test]
fn everything_compiled_for_wasm_denies_panics_by_lint() {
    let lib = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for lint in [
        "unwrap_used",
        "expect_used",
        "panic",
        "indexing_slicing",
        "unreachable",
        "todo",
    ] {
        assert!(lib.contains(&format!("{lint} = \"deny\"")), "{lint}");
    }
    let mut excuses = Vec::new();
    for folder in ["src/core", "src/filter", "src/module"] {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{folder}");
        let all = hits(folder, &["clippy::"], |_| false);
        excuses.extend(all.into_iter().filter(|e| !e.contains("too_many_lines")));
    }
    let known = [
        "src/core/key/",
        "src/filter/root.rs",
        "src/module/abi/entries.rs",
        "src/module/abi/faults.rs",
        "src/module/clock.rs",
        "src/module/secrets.rs",
    ];
    assert!(
        excuses
            .iter()
            .all(|e| known.iter().any(|k| e.starts_with(k))),
        "{excuses:#?}"
    );
}

/// What `.clippy.toml` bans: clock, environment, output; and randomness. An SDK's wrappers of
/// hostcalls may panic: the filter has none.
#[test]
fn what_the_lints_ban_is_used_in_known_places_alone() {
    let known = [
        "src/system/lib.rs",
        // How Cargo speaks to a build script.
        "src/book/build.rs",
        "src/cli/output.rs",
        "src/server/log.rs",
        "src/filter/root.rs",
        "src/module/abi/faults.rs",
        "src/module/clock.rs",
        "src/module/secrets.rs",
    ];
    let words = ["clippy::disallowed"];
    assert_eq!(hits("src", &words, |name| known.contains(&name)), [""; 0]);
    let config = fs::read_to_string(root().join(".clippy.toml")).unwrap();
    for banned in ["SystemTime::now", "std::env::var"] {
        assert!(config.contains(banned), "{banned}");
    }
    for (name, text) in files("src") {
        assert!(!text.contains("proxy_wasm"), "{name}");
        let asks = name.ends_with("Cargo.toml") && text.contains("\ngetrandom");
        assert!(!asks || name == "src/system/Cargo.toml", "{name}");
    }
}

#[test]
fn nothing_fails_open() {
    for folder in ["src", "envoy", "scripts"] {
        for (name, text) in files(folder) {
            for bad in ["FAIL_OPEN", "fail_open: true", "failOpen"] {
                assert!(!text.contains(bad), "`{bad}` in {name}");
            }
        }
    }
    for (name, text) in envoy_configurations() {
        // With ECDS the filter's own settings travel in the pushed resource.
        assert!(
            text.contains("FAIL_RELOAD") || text.contains("config_discovery"),
            "{name}"
        );
        for needed in [
            "keystile-guard",
            "key: wasm.keystile.pass",
            "action: DENY",
            "- not_id:",
            "normalize_path: true",
            "use_remote_address: true",
        ] {
            assert!(text.contains(needed), "{name} lacks `{needed}`");
        }
    }
}

#[test]
fn pushed_resources_reload_after_a_crash() {
    let ecds = fs::read_to_string(root().join("src/render/ecds.rs")).unwrap();
    assert!(ecds.contains("FAIL_RELOAD") && ecds.contains("KEYSTILE_SIGNING_KEYS"));
}

#[test]
fn the_readme_opens_with_two_commands() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let opening = readme.split("\n## ").next().unwrap();
    let commands: Vec<&str> = opening
        .split("```")
        .skip(1)
        .step_by(2)
        .flat_map(|block| block.lines().skip(1))
        .filter(|l| !l.trim().is_empty())
        .map(|l| l.split('#').next().unwrap().trim())
        .collect();
    assert_eq!(commands, ["scripts/demo", "scripts/test"]);
    assert!(
        fs::read_to_string(root().join(".ci/run"))
            .unwrap()
            .contains("scripts/test")
    );
}

#[test]
fn nothing_depends_on_the_workplace() {
    let words = [
        "/work/",
        "../shared",
        "index.crates",
        "crates.io/api",
        "files.pythonhosted",
        "registry.npmjs",
    ];
    for folder in ["src", "envoy", "scripts", "tests", ".ci"] {
        for (name, text) in files(folder) {
            if name == "tests/tidy.rs" {
                continue;
            }
            for word in words {
                assert!(!text.contains(word), "`{word}` in {name}");
            }
        }
    }
}

#[test]
fn no_job_that_may_write_runs_the_tests() {
    for (name, text) in files(".github/workflows") {
        let (_, jobs) = text.split_once("\njobs:\n").unwrap();
        // A job's name stands two spaces in, and all else further in.
        let begins =
            |l: &str| l.starts_with("  ") && l[2..].starts_with(|c: char| c.is_ascii_lowercase());
        let mut job = String::new();
        for line in jobs.lines().chain(["  end:"]) {
            if begins(line) {
                let writes = job.contains(": write") || job.contains("secrets.");
                let tests = [
                    "scripts/test",
                    "scripts/readings",
                    "scripts/mutants",
                    "reproduce",
                ];
                let ran = tests.iter().find(|t| {
                    job.contains(&format!("run: {t}")) || job.contains(&format!("package {t}"))
                });
                assert!(!writes || ran.is_none(), "{name}: {ran:?} in\n{job}");
                job.clear();
            }
            job.push_str(line);
            job.push('\n');
        }
    }
}

#[test]
fn licences_that_stand_deep_in_a_package_travel_along() {
    let made = std::process::Command::new("python3")
        .arg("scripts/third-party")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(made.status.success());
    let text = String::from_utf8(made.stdout).unwrap();
    for (place, holder) in [
        ("ring, third_party/fiat", "fiat-crypto authors"),
        ("tracing-core, src/spin", "Mathijs van de Nes"),
        ("sqlcipher-src, sqlcipher", "ZETETIC"),
    ] {
        assert!(text.contains(holder), "{place}");
    }
    // Of each package there is a text, or it is said that it carries none.
    let rows = text.lines().take_while(|l| !l.starts_with("## "));
    for row in rows
        .filter(|l| l.starts_with("| ") && !l.contains("---"))
        .skip(1)
    {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let package = format!("{} {}", cells.next().unwrap(), cells.next().unwrap());
        let told = |l: &str| (l.starts_with("## ") || l.starts_with("- ")) && l.contains(&package);
        assert!(text.lines().any(told), "{package}");
    }
}

/// Cargo builds the companion, and all that stands on it, once for each set of features.
#[test]
fn the_tests_ask_no_more_of_a_crate_than_the_companion_does() {
    let tree = |edges: &str| -> BTreeSet<String> {
        let made = std::process::Command::new(env!("CARGO"))
            .args([
                "tree",
                "--quiet",
                "--locked",
                "--offline",
                "--prefix",
                "none",
            ])
            .args(["--edges", edges, "--format", "{p} [{f}]"])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let text = String::from_utf8(made.stdout).unwrap();
        let lines = text.lines().map(|l| l.trim_end_matches(" (*)").to_owned());
        lines.collect()
    };
    let (alone, tested) = (tree("normal"), tree("normal,dev"));
    let differing: Vec<_> = alone.difference(&tested).collect();
    assert!(differing.is_empty(), "ask for the same of {differing:#?}");
}
