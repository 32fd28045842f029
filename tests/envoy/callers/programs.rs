//! The programs of the page, and how they are run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::PAGE;
use crate::fixture::secret_of;
use crate::support::{PATIENCE, root};

/// A program of the page, ready to run.
pub(super) struct Program {
    pub(super) language: &'static str,
    /// Words of the command.
    pub(super) command: Vec<PathBuf>,
}

/// All requests.
pub(super) static PROGRAMS: LazyLock<Vec<Program>> = LazyLock::new(|| {
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
pub(super) fn each<T>(mut make: impl FnMut(&'static Program) -> T) -> Vec<(&'static Program, T)> {
    PROGRAMS.iter().map(|p| (p, make(p))).collect()
}

pub(super) fn key_of<'k>(issued: &'k [(&'static Program, String)], program: &Program) -> &'k str {
    let mut issued = issued.iter();
    let found = issued.find(|(p, _)| p.language == program.language);
    &found.unwrap().1
}

impl Program {
    /// Where it calls, so that the access log tells who it was.
    pub(super) fn path(&self) -> String {
        format!("/v1/{}", self.language)
    }

    pub(super) fn start(&self, authority: &str, key: &str) -> Running {
        let (program, arguments) = self.command.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(arguments);
        let url = format!("http://{authority}{}", self.path());
        Running::start(command, &url, key)
    }
}

/// One that runs. Dropped, it is killed.
pub(super) struct Running(Option<Child>);

/// What it left.
pub(super) struct Ended {
    pub(super) succeeded: bool,
    pub(super) printed: String,
    pub(super) errors: String,
}

impl Running {
    pub(super) fn start(mut command: Command, url: &str, key: &str) -> Self {
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
    pub(super) fn end(mut self) -> Ended {
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
    pub(super) fn holds_nothing_of(&self, key: &str) {
        for output in [&self.printed, &self.errors] {
            assert!(!output.contains(secret_of(key)), "{output}");
        }
    }
}

/// What anybody on the machine can read of the processes that run.
pub(super) fn command_lines() -> String {
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
pub(super) fn block(language: &str, n: usize) -> &'static str {
    let fence = format!("\n```{language}\n");
    let rest = PAGE.split(&fence).nth(n + 1).unwrap();
    rest.split_once("\n```\n").unwrap().0
}

pub(super) fn program_file(name: &str, text: &str) -> PathBuf {
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
