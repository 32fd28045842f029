use super::{Companion, Setup, Upstream, eventually, root};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tokens that were made in stores of several servers.
static TOKENS: AtomicUsize = AtomicUsize::new(0);

/// `keystilectl serve`, as a person runs it: REST on one port, discovery on another.
/// Dropped, it is killed.
pub struct Server {
    process: Option<Child>,
    dir: PathBuf,
    program: PathBuf,
    address: String,
    discovery: String,
    token: String,
    wasm: PathBuf,
    store: Option<String>,
    also: Vec<String>,
}

impl Server {
    /// Serves the companion's store.
    pub fn start(companion: &Companion) -> Self {
        Self::started(companion, &[])
    }

    /// The same with these arguments of `serve`.
    pub fn started(companion: &Companion, also: &[&str]) -> Self {
        let wasm = super::shell::file();
        Self::with(companion, wasm, also)
    }

    /// The same, telling Envoys to run this filter.
    pub fn delivering(companion: &Companion, wasm: PathBuf) -> Self {
        Self::with(companion, wasm, &[])
    }

    fn with(companion: &Companion, wasm: PathBuf, also: &[&str]) -> Self {
        let dir = companion.dir().to_owned();
        // Servers of one store have one each.
        let name = match companion.store() {
            Some(_) => format!("tests-{}", TOKENS.fetch_add(1, Ordering::Relaxed)),
            None => "tests".to_owned(),
        };
        let token = companion.json(&["token", "create", &name, "--role", "owner"]);
        let mut server = Self {
            process: None,
            program: companion.build().join("keystilectl"),
            token: token["token"].as_str().unwrap().to_owned(),
            address: "127.0.0.1:0".to_owned(),
            discovery: "127.0.0.1:0".to_owned(),
            dir,
            wasm,
            store: companion.store().map(str::to_owned),
            also: also.iter().map(|a| (*a).to_owned()).collect(),
        };
        server.restart();
        server
    }

    /// Starts it again, on the ports that it had.
    pub fn restart(&mut self) {
        let file = self.dir.join("addresses");
        let _ = fs::remove_file(&file);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("serve.log"))
            .unwrap();
        let process = self
            .bare()
            .args(["serve", "--listen", &self.address])
            .args(["--discovery", &self.discovery])
            .arg("--address-file")
            .arg(&file)
            .arg("--wasm")
            .arg(&self.wasm)
            .args(&self.also)
            .env("KEYSTILE_HOME", self.dir.join("home"))
            .envs(self.store.iter().map(|store| ("KEYSTILE_STORE", store)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        // The guard stands from here on, should the waiting panic.
        self.process = Some(process);
        let addresses = eventually("the server to listen", || {
            if let Some(status) = self.process.as_mut()?.try_wait().unwrap() {
                panic!("the server ended ({status}):\n{}", self.log());
            }
            fs::read_to_string(&file).ok()
        });
        let found = |name: &str| {
            let mut lines = addresses.lines();
            let address = lines.find_map(|line| line.strip_prefix(name));
            address.unwrap().trim().to_owned()
        };
        self.address = found("api ");
        self.discovery = found("discovery ");
    }

    /// Ends it at once, as a power failure would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where Envoys get their keysets.
    pub fn discovery(&self) -> &str {
        &self.discovery
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("serve.log")).unwrap_or_default()
    }

    /// `keystilectl` against this server.
    pub fn command(&self) -> Command {
        let mut command = self.bare();
        command
            .env_remove("KEYSTILE_HOME")
            .env("KEYSTILE_SERVER", format!("http://{}", self.address))
            .env("KEYSTILE_TOKEN", &self.token);
        command
    }

    fn bare(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(root())
            .env_remove("KEYSTILE_MASTER_KEY")
            .env_remove("KEYSTILE_MASTER_KEY_COMMAND");
        command
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// What it printed as JSON; it has to succeed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--output", "json"]].concat();
        let output = self.output(&arguments);
        assert!(
            output.status.success(),
            "keystilectl {arguments:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Key and id.
    pub fn issue(&self, arguments: &[&str]) -> (String, String) {
        Companion::issued(&self.json(&[&["key", "issue"], arguments].concat()))
    }

    /// An Envoy's configuration that takes its keysets from this server, in a folder of
    /// its own.
    pub fn rendered(&self, companion: &Companion, upstream: &Upstream, node: &str) -> Setup {
        let arguments = [
            "--discovery",
            &self.discovery,
            "--control",
            &self.address,
            "--node",
            node,
        ];
        companion.rendered_in(super::fresh_dir(), upstream, &arguments)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(25)..].join("\n");
            eprintln!("{}:\n{end}", Path::new("serve.log").display());
        }
    }
}
