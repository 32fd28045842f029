//! The keys of a run, made by the companion as released.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A store, and the text of all its keys.
pub struct Store {
    home: PathBuf,
    pub keys: Vec<String>,
}

impl Store {
    /// A store with this many keys: one client, one plan, one scope.
    pub fn with(count: usize, dir: &Path) -> Self {
        let policy = dir.join("first.yaml");
        fs::create_dir_all(dir).expect("a folder");
        fs::write(
            &policy,
            "version: 1\nplans: { p: { limits: [] } }\nroutes: [{ path: \"/v1/{*rest}\", scopes: [read] }]\n",
        )
        .expect("a policy");
        let mut store = Self {
            home: dir.join("home"),
            keys: Vec::new(),
        };
        store.run(&["init", "--policy", &policy.display().to_string()]);
        store.run(&["client", "create", "acme", "--plan", "p"]);
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
    pub fn push(&self, policy: &str, file: &Path) {
        let policy_file = file.with_extension("yaml");
        fs::write(&policy_file, policy).expect("a policy");
        self.run(&["policy", "apply", &policy_file.display().to_string()]);
        let file = file.display().to_string();
        self.run(&[
            "push",
            "--ecds-file",
            &file,
            "--wasm",
            "target/dist/keystile.wasm",
        ]);
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

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("target/dist/keystilectl")
            .env("KEYSTILE_HOME", &self.home)
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
