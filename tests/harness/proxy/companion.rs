use super::{Setup, Upstream, root};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `keystilectl` with a store of its own, as a person runs it.
pub struct Companion {
    dir: PathBuf,
    /// What `scripts/build` made, or an earlier one did.
    build: PathBuf,
    /// Where its store is, unless beside Envoy's files.
    store: Option<String>,
}

impl Companion {
    /// With a store under this policy, beside Envoy's files.
    pub fn init(dir: &Path, policy: &str) -> Self {
        Self::init_by(&root().join("target/dist"), dir, policy)
    }

    /// The same by the build in this folder.
    pub fn init_by(build: &Path, dir: &Path, policy: &str) -> Self {
        let companion = Self {
            dir: dir.to_owned(),
            build: build.to_owned(),
            store: None,
        };
        fs::write(dir.join("policy.yaml"), policy).unwrap();
        let policy = dir.join("policy.yaml").display().to_string();
        companion.run(&["init", "--policy", &policy]);
        companion
    }

    /// With a store in a database, at this address.
    pub fn init_in(store: &str, dir: &Path, policy: &str) -> Self {
        let companion = Self::at(store, dir);
        fs::write(dir.join("policy.yaml"), policy).unwrap();
        let policy = dir.join("policy.yaml").display().to_string();
        companion.run(&["init", "--policy", &policy]);
        companion
    }

    /// The same store seen from another machine: with a folder of its own, and the master key.
    pub fn replica(&self, store: &str, dir: &Path) -> Self {
        let (home, key) = (dir.join("home"), "master.key");
        fs::create_dir_all(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        fs::copy(self.dir.join("home").join(key), home.join(key)).unwrap();
        Self::at(store, dir)
    }

    fn at(store: &str, dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            build: root().join("target/dist"),
            store: Some(store.to_owned()),
        }
    }

    /// Where its store is, if in a database.
    pub fn store(&self) -> Option<&str> {
        self.store.as_deref()
    }

    /// Where its store lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of its build.
    pub fn build(&self) -> &Path {
        &self.build
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(self.build.join("keystilectl"));
        command
            .current_dir(root())
            .env_remove("KEYSTILE_MASTER_KEY")
            .env_remove("KEYSTILE_MASTER_KEY_COMMAND")
            .env("KEYSTILE_HOME", self.dir.join("home"))
            .envs(self.store.iter().map(|store| ("KEYSTILE_STORE", store)));
        command
    }

    /// What it printed; it has to succeed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        succeeded(arguments, output)
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.run(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error} in {printed}"))
    }

    /// Key and id.
    pub fn issue(&self, arguments: &[&str]) -> (String, String) {
        Self::issued(&self.json(&[&["key", "issue"], arguments].concat()))
    }

    pub fn issued(key: &Value) -> (String, String) {
        let text = |field: &str| key[field].as_str().unwrap().to_owned();
        (text("key"), text("id"))
    }

    /// `keystilectl push`; what it says of the push.
    pub fn push(&self, file: &Path) -> Value {
        let file = file.display().to_string();
        let wasm = super::shell::file();
        let wasm = wasm.display().to_string();
        self.json(&["push", "--ecds-file", &file, "--wasm", &wasm])
    }

    /// What Envoy's environment has to hold.
    pub fn signing_keys(&self) -> String {
        let printed = self.run(&["signing-key", "export", "--value"]);
        printed.trim().to_owned()
    }

    /// `keystilectl render envoy` with these arguments, on free ports.
    pub fn rendered(&self, upstream: &Upstream, arguments: &[&str]) -> Setup {
        self.rendered_in(self.dir.clone(), upstream, arguments)
    }

    /// The same for an Envoy whose files lie elsewhere.
    pub fn rendered_in(&self, dir: PathBuf, upstream: &Upstream, arguments: &[&str]) -> Setup {
        let setup = self.rendered_bare(dir, upstream, arguments);
        setup.signing_keys(&self.signing_keys())
    }

    /// The same without a key in its environment.
    pub fn rendered_bare(&self, dir: PathBuf, upstream: &Upstream, arguments: &[&str]) -> Setup {
        let upstream = upstream.address().to_string();
        let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let render = [
            &["render", "envoy", "--upstream", &upstream],
            &ports[..],
            arguments,
        ]
        .concat();
        let config = self.run(&render);
        Setup::rendered(dir, config)
    }
}

fn succeeded(arguments: &[&str], output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "keystilectl {arguments:?}: {errors}"
    );
    String::from_utf8(output.stdout).unwrap()
}
