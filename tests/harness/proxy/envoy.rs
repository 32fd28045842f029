mod files;
mod setup;

use super::quiet::Share;
use super::{Client, EcdsFile, Request, Response, eventually, part, request, root};
pub use files::ListenerFile;
use serde_json::Value;
pub use setup::Setup;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// One running Envoy. Dropped, it is killed; after a failure its files stay, and the
/// end of its log is shown.
pub struct Envoy {
    _share: Share,
    process: Child,
    dir: PathBuf,
    admin: SocketAddr,
    listeners: BTreeMap<String, SocketAddr>,
}

impl Envoy {
    pub fn start(setup: Setup) -> Self {
        Self::try_start(setup).unwrap_or_else(|log| panic!("Envoy did not start:\n{log}"))
    }

    /// The log, where Envoy ends instead of serving.
    pub fn try_start(setup: Setup) -> Result<Self, String> {
        let mut envoy = Self::spawn(&setup);
        let ready = eventually("Envoy to be ready", || {
            if !envoy.is_running() {
                return Some(false);
            }
            envoy.is_ready().then_some(true)
        });
        if !ready {
            return Err(envoy.log());
        }
        envoy.listeners = envoy.listener_addresses();
        envoy.settle();
        Ok(envoy)
    }

    /// One that may never be ready: as soon as it can be asked.
    pub fn unready(setup: Setup) -> Self {
        let mut envoy = Self::spawn(&setup);
        eventually("Envoy to be asked", || {
            assert!(envoy.is_running(), "{}", envoy.log());
            envoy.ready();
            (envoy.admin.port() != 0).then_some(())
        });
        envoy
    }

    fn spawn(setup: &Setup) -> Self {
        let share = Share::take();
        let dir = setup.dir.clone();
        let process = command(setup)
            .arg("--admin-address-path")
            .arg(dir.join("admin"))
            .args(["--concurrency", "2"])
            // Tests read the access log while Envoy runs.
            .args(["--file-flush-interval-msec", "10"])
            .stdin(Stdio::null())
            .stdout(File::create(dir.join("access.log")).unwrap())
            .stderr(File::create(dir.join("envoy.log")).unwrap())
            .spawn()
            .unwrap();
        // Dropped, it is killed, should the waiting panic.
        Self {
            _share: share,
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            listeners: BTreeMap::new(),
            process,
            dir,
        }
    }

    fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Whether it has all that its listeners wait for.
    pub fn is_ready(&mut self) -> bool {
        self.ready() == Some(200)
    }

    fn ready(&mut self) -> Option<u16> {
        let address = fs::read_to_string(self.dir.join("admin")).ok()?;
        self.admin = address.trim().parse().ok()?;
        // Envoy may end in the middle of its answer: the next turn sees that.
        let mut client = Client::try_connect(self.admin).ok()?;
        let answer = client.try_send(&request("GET", "/ready")).ok()?;
        Some(answer.status)
    }

    /// `envoy --mode validate`: what it says, and whether it is content.
    pub fn validate(setup: &Setup) -> (bool, String) {
        let output = command(setup)
            .args(["--mode", "validate"])
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Where this Envoy's files lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn ecds_file(&self) -> EcdsFile {
        EcdsFile::new(self.dir.join("ecds.json"))
    }

    /// Stops it where it stands, as a machine that hangs would.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Asks it to end; what became of it.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        eventually("Envoy to end", || self.process.try_wait().unwrap())
    }

    fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(status.unwrap().success());
    }

    /// The public listener.
    pub fn address(&self) -> SocketAddr {
        self.listener("public")
    }

    pub fn listener(&self, name: &str) -> SocketAddr {
        self.listeners[name]
    }

    /// The file of [`Setup::listeners_from_file`].
    pub fn listener_file(&self) -> ListenerFile {
        ListenerFile::new(&self.dir)
    }

    /// Waits until no VM is left but the keeper's two: the one that it was made from, and its own.
    pub fn without_filter(&self) {
        if super::shell::is_module() {
            let gone = "no listener of store";
            return eventually("the last configuration of the module to be gone", || {
                self.log().contains(gone).then_some(())
            });
        }
        eventually("every VM of the filter to be gone", || {
            let vms = self.stats("^wasm.envoy.wasm.runtime.v8.active$");
            vms.values().all(|active| *active <= 2).then_some(())
        });
    }

    /// Looks anew where the listeners are.
    pub fn look_for_listeners(&mut self) {
        self.listeners = eventually("a listener", || {
            let all = self.listener_addresses();
            (!all.is_empty()).then_some(all)
        });
    }

    /// A new connection to the public listener.
    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// One request on a connection of its own. Several of them reach both workers
    /// sooner or later; many on one connection reach one worker alone.
    pub fn send(&self, request: &Request) -> Response {
        self.client().send(request)
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    pub fn admin(&self, path: &str) -> Response {
        Client::connect(self.admin).send(&request("GET", path))
    }

    /// Counters and gauges whose name matches the expression.
    pub fn stats(&self, expression: &str) -> BTreeMap<String, u64> {
        let text = self.admin(&format!("/stats?filter={expression}")).text();
        text.lines()
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(": ")?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect()
    }

    /// One line of the Prometheus output, such as
    /// `keystile_requests_total{outcome="ok"}`.
    pub fn metric(&self, name_and_labels: &str) -> Option<u64> {
        let text = self.admin("/stats/prometheus").text();
        text.lines()
            .find_map(|line| line.strip_prefix(name_and_labels)?.trim().parse().ok())
    }

    /// The keyset version that each VM shows: one for each worker, one for the main
    /// thread.
    pub fn versions(&self) -> Vec<u64> {
        let gauges = self.stats("keystile_keyset_version");
        gauges.into_values().collect()
    }

    /// How many connections each worker has accepted.
    pub fn connections(&self) -> Vec<u64> {
        let counters = self.stats(r"worker_\d\.downstream_cx_total");
        counters.into_values().collect()
    }

    pub fn config_dump(&self) -> Value {
        self.admin("/config_dump").json()
    }

    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir.join("envoy.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn access_log(&self) -> Vec<Value> {
        let bytes = fs::read(self.dir.join("access.log")).unwrap();
        bytes
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| line.ends_with(b"\n"))
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    /// The first line that fits, once Envoy has written it.
    pub fn access_line(&self, fits: impl Fn(&Value) -> bool) -> Value {
        eventually("the line in the access log", || {
            self.access_log().into_iter().find(&fits)
        })
    }

    fn listener_addresses(&self) -> BTreeMap<String, SocketAddr> {
        let listeners = self.admin("/listeners?format=json").json();
        let address = |listener: &Value| {
            let address = &listener["local_address"]["socket_address"];
            let ip = address["address"].as_str()?.parse().ok()?;
            let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
            let name = listener["name"].as_str()?.to_owned();
            Some((name, SocketAddr::new(ip, port)))
        };
        // There is no such field where there is no listener.
        let all = listeners["listener_statuses"].as_array();
        all.into_iter().flatten().filter_map(address).collect()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // Killed, not asked: nothing of it is needed any more, and draining takes time.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(25)..].join("\n");
            eprintln!("{}:\n{end}", self.dir.join("envoy.log").display());
        }
    }
}

/// The version of Envoy that the tests run.
pub fn version() -> String {
    std::env::var("KEYSTILE_ENVOY_VERSION").unwrap_or_else(|_| "1.40.0".into())
}

/// The second number of that version.
pub fn minor() -> u32 {
    let version = version();
    let minor = version.split('.').nth(1).and_then(|m| m.parse().ok());
    minor.unwrap_or_else(|| panic!("KEYSTILE_ENVOY_VERSION is {version}"))
}

fn command(setup: &Setup) -> Command {
    let config = setup.dir.join("config.yaml");
    fs::write(&config, super::shell::configuration(&setup.config)).unwrap();
    let node = super::shell::node(&setup.config);

    let version = setup.version.clone().unwrap_or_else(version);
    let binary = format!(".tools/envoy-{version}/envoy/_bin/envoy");
    let mut command = Command::new(part(&binary, "scripts/setup"));
    command
        .current_dir(root())
        .env_remove("KEYSTILE_SIGNING_KEYS")
        .env(
            "ENVOY_DYNAMIC_MODULES_SEARCH_PATH",
            root().join("target/dist"),
        )
        .envs(node.map(|node| ("KEYSTILE_NODE", node)))
        .envs(setup.environment.iter().map(|(name, value)| (name, value)))
        .arg("--config-path")
        .arg(config)
        .args(["--log-level", "info"])
        .args(&setup.arguments);
    match setup.generation {
        Some((base, epoch)) => command
            .args(["--base-id", &base.to_string()])
            .args(["--restart-epoch", &epoch.to_string()])
            .args(["--drain-time-s", "1", "--parent-shutdown-time-s", "2"]),
        // No shared memory, which a killed Envoy would leave behind.
        None => command.arg("--disable-hot-restart"),
    };
    command
}

/// `target/envoy-tests/<test>`, emptied: the files of the last run are there to be
/// read, and do not pile up.
pub fn fresh_dir() -> PathBuf {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("unnamed").replace("::", ".");
    let base = root().join("target/envoy-tests");
    let dir = (0..)
        .map(|n: u32| {
            if n == 0 {
                base.join(&test)
            } else {
                base.join(format!("{test}-{n}"))
            }
        })
        .find(|dir| !taken(dir))
        .unwrap();
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("owner"), std::process::id().to_string()).unwrap();
    dir
}

/// By another Envoy of the same test in this run.
fn taken(dir: &Path) -> bool {
    let owner = fs::read_to_string(dir.join("owner"));
    owner.is_ok_and(|owner| owner == std::process::id().to_string())
}
