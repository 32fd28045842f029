//! The keys of a run, made by the companion as released.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keystile_render::ecds::module_name;
use serde_json::Value;

use super::builds::Shell;
use super::machine::Cores;
use super::support::Companion;

const POLICY: &str = "version: 1
plans: { p: { limits: [] } }
routes: [{ path: \"/v1/{*rest}\", scopes: [read] }]
";

/// A store, and the text of all its keys.
pub struct Store {
    /// For those who serve it.
    pub companion: Companion,
    pub keys: Vec<String>,
    /// How long they took to be issued.
    pub issued_in: Duration,
}

impl Store {
    /// A store with this many keys: one client, one plan, one scope.
    pub fn with(count: usize, dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("a folder");
        let mut store = Self {
            companion: Companion::init(dir, POLICY),
            keys: Vec::new(),
            issued_in: Duration::ZERO,
        };
        store.run(&["client", "create", "acme", "--plan", "p"]);
        let from = Instant::now();
        let printed = store.run(&[
            "key",
            "issue",
            "acme",
            "--scope",
            "read",
            "--count",
            &count.to_string(),
            "--output",
            "json",
        ]);
        store.issued_in = from.elapsed();
        let printed: Value = serde_json::from_str(&printed).expect("JSON");
        let all = match printed {
            Value::Array(all) => all,
            one => vec![one],
        };
        store.keys = all
            .iter()
            .filter_map(|key| Some(key["key"].as_str()?.to_owned()))
            .collect();
        assert_eq!(store.keys.len(), count, "keys issued");
        store
    }

    /// Puts a policy in force and writes the keyset under it to `file`.
    pub fn push(&self, policy: &str, file: &Path, wasm: &Path) {
        self.apply(policy);
        self.push_with(file, wasm);
    }

    /// Writes the keyset to `file`, for the build of the filter that is ours.
    pub fn push_again(&self, file: &Path) {
        self.push_with(file, Path::new(Shell::Wasm.file()));
    }

    fn push_with(&self, file: &Path, wasm: &Path) {
        let shell = match module_name(wasm) {
            Some(_) => "module",
            None => "wasm",
        };
        let (file, wasm) = (file.display().to_string(), wasm.display().to_string());
        self.run(&[
            "push",
            "--ecds-file",
            &file,
            "--shell",
            shell,
            "--wasm",
            &wasm,
        ]);
    }

    /// Puts a policy in force.
    pub fn apply(&self, policy: &str) {
        let file = self.companion.dir().join("next.yaml");
        fs::write(&file, policy).expect("a policy");
        self.run(&["policy", "apply", &file.display().to_string()]);
    }

    pub fn signing_keys(&self) -> String {
        self.run(&["signing-key", "export", "--value"])
            .trim()
            .to_owned()
    }

    /// One key a line.
    pub fn key_file(&self, dir: &Path) -> PathBuf {
        let file = dir.join("keys.txt");
        fs::write(&file, self.keys.join("\n")).expect("the keys");
        file
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        let output = Cores::all()
            .command("target/dist/keystilectl")
            .env("KEYSTILE_HOME", self.companion.dir().join("home"))
            .env_remove("KEYSTILE_MASTER_KEY")
            .env_remove("KEYSTILE_SERVER")
            .args(arguments)
            .output()
            .expect("keystilectl");
        assert!(
            output.status.success(),
            "keystilectl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}
