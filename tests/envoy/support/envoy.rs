use super::quiet::Share;
use super::{Client, EcdsFile, Request, Response, Upstream, eventually, part, request, root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

/// What to start: a configuration as it is shipped, with the fewest edits that let
/// many Envoys run side by side.
pub struct Setup {
    config: String,
    dir: PathBuf,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Setup {
    /// `envoy/static.yaml` with this keyset in its place.
    pub fn fixed(upstream: &Upstream, keyset: &str) -> Self {
        assert!(!keyset.contains('\n'), "the place is one line wide");
        Self::shipped("static.yaml", upstream).edit("@KEYSET@", keyset)
    }

    /// `envoy/ecds-file.yaml`; the file holds no resource yet.
    pub fn ecds(upstream: &Upstream) -> Self {
        Self::discovering("ecds-file.yaml", upstream)
    }

    /// `envoy/listeners.yaml`; the file holds no resource yet.
    pub fn listeners(upstream: &Upstream) -> Self {
        let setup = Self::discovering("listeners.yaml", upstream);
        setup.edit("port_value: 10001", "port_value: 0")
    }

    /// A file of `envoy/examples`; the file that it watches holds no resource yet.
    pub fn example(name: &str, upstream: &Upstream) -> Self {
        Self::discovering(&format!("examples/{name}"), upstream)
    }

    /// `envoy/ecds-file.yaml` with a second, disabled filter beside the first: it gets the
    /// base in a file of its own, and the other the overlay. Both are protobuf.
    pub fn overlay(upstream: &Upstream) -> Self {
        const ACTIVE: &str = "          - name: keystile\n            config_discovery:";
        let setup = Self::ecds(upstream).edit("ecds.json", "overlay.pb");
        let base = setup.dir.join("base.pb");
        let filter = format!(
            "          - name: keystile-base
            disabled: true
            config_discovery:
              config_source:
                path_config_source: {{path: {}}}
                initial_fetch_timeout: 0s
              type_urls: [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm]
{ACTIVE}",
            base.display()
        );
        setup.edit(ACTIVE, &filter)
    }

    /// What `keystilectl render envoy` printed, for free ports and this folder.
    pub fn rendered(dir: PathBuf, config: String) -> Self {
        Self {
            config,
            dir,
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// Replaces every occurrence; one must be there, so that an edit cannot fail
    /// silently when the shipped configuration changes.
    pub fn edit(mut self, from: &str, to: &str) -> Self {
        assert!(self.config.contains(from), "no `{from}` to replace");
        self.config = self.config.replace(from, to);
        self
    }

    /// Behind TLS with the certificate and key of these files, and with HTTP/2 for who asks for it.
    pub fn over_tls(self, certificate: &str, key: &str) -> Self {
        let socket = format!(
            r#"    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: {{filename: {certificate}}}
              private_key: {{filename: {key}}}
      filters:"#
        );
        self.edit("    filter_chains:\n    - filters:", &socket)
    }

    /// With a cluster `control` at this address: whom the filter tells of versions and usage.
    pub fn control(self, address: SocketAddr) -> Self {
        let cluster = format!(
            "  clusters:
  - name: control
    type: STATIC
    connect_timeout: 1s
    load_assignment:
      cluster_name: control
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address: {{address: {}, port_value: {}}}
",
            address.ip(),
            address.port()
        );
        self.edit("  clusters:\n", &cluster)
    }

    /// With its listeners in a file that Envoy watches, of which a removed one is gone after
    /// a second.
    pub fn listeners_from_file(mut self) -> Self {
        let mut config: Value = serde_saphyr::from_str(&self.config).unwrap();
        let listeners = config["static_resources"]
            .as_object_mut()
            .and_then(|all| all.remove("listeners"));
        let mut listeners = listeners.unwrap();
        for listener in listeners.as_array_mut().unwrap() {
            listener["@type"] = LISTENER.into();
        }
        let file = ListenerFile::new(&self.dir);
        config["dynamic_resources"] =
            serde_json::json!({"lds_config": {"path_config_source": {"path": file.path}}});
        fs::write(file.all(), listeners.to_string()).unwrap();
        file.restore();
        self.config = config.to_string();
        self.arguments = ["--drain-time-s", "1"].map(str::to_owned).to_vec();
        self
    }

    /// `envoy/discovery.yaml` with all of its discovery, listeners too, on one stream to this
    /// server; and the listener, which the server has to give.
    pub fn aggregated(upstream: &Upstream, server: SocketAddr) -> (Self, Value) {
        let mut setup = Self::shipped("discovery.yaml", upstream).edit(
            "port_value: 18000",
            &format!("port_value: {}", server.port()),
        );
        let text = super::shell::configuration(&setup.config);
        let mut config: Value = serde_saphyr::from_str(&text).unwrap();
        let mut listener = config["static_resources"]["listeners"][0].take();
        config["static_resources"]["listeners"] = serde_json::json!([]);
        let filters =
            &mut listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
        let mut stream = Value::Null;
        for filter in filters.as_array_mut().unwrap() {
            if let Some(source) = filter.pointer_mut("/config_discovery/config_source") {
                stream = source["api_config_source"].take();
                *source = serde_json::json!({
                    "ads": {},
                    "resource_api_version": "V3",
                    "initial_fetch_timeout": "0s",
                });
            }
        }
        config["dynamic_resources"] = serde_json::json!({
            "ads_config": stream,
            "lds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
        });
        setup.config = config.to_string();
        setup.arguments = ["--drain-time-s", "1"].map(str::to_owned).to_vec();
        (setup, listener)
    }

    /// With a second listener, `trial`, that is like the first but for its own file.
    pub fn with_trial(mut self) -> Self {
        let mut config: Value = serde_saphyr::from_str(&self.config).unwrap();
        let listeners = config["static_resources"]["listeners"]
            .as_array_mut()
            .unwrap();
        let (first, own) = (self.ecds_file(), self.trial_file());
        let path = |file: &EcdsFile| file.path().display().to_string();
        let second = listeners[0].to_string().replace(&path(&first), &path(&own));
        let mut second: Value = serde_json::from_str(&second).unwrap();
        second["name"] = "trial".into();
        listeners.push(second);
        self.config = config.to_string();
        self
    }

    /// The file that the listener `trial` watches.
    pub fn trial_file(&self) -> EcdsFile {
        EcdsFile::new(self.dir.join("trial.json"))
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn signing_keys(mut self, keys: &str) -> Self {
        const NAME: &str = "KEYSTILE_SIGNING_KEYS";
        // What was there before is of another filter, and a process has one module.
        let before = self.environment.iter().position(|(name, _)| name == NAME);
        let before = before.map(|at| self.environment.remove(at).1);
        let all: Vec<&str> = [Some(keys), before.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        self.environment(NAME, &all.join(","))
    }

    /// Where this Envoy's files lie, and what the test itself likes to put there.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file that the discovering configurations watch.
    pub fn ecds_file(&self) -> EcdsFile {
        EcdsFile::new(self.dir.join("ecds.json"))
    }

    fn discovering(name: &str, upstream: &Upstream) -> Self {
        let setup = Self::shipped(name, upstream);
        let file = setup.ecds_file();
        file.write(r#"{"version_info": "0", "resources": []}"#);
        setup.edit(
            "target/keystile/ecds.json",
            &file.path().display().to_string(),
        )
    }

    fn shipped(name: &str, upstream: &Upstream) -> Self {
        let config = fs::read_to_string(part("envoy", "git checkout").join(name)).unwrap();
        let setup = Self {
            config,
            dir: fresh_dir(),
            environment: Vec::new(),
            arguments: Vec::new(),
        };
        // Port 0: Envoy takes a free one and tells which, so no two can collide.
        setup
            .edit("address: 0.0.0.0", "address: 127.0.0.1")
            .edit("port_value: 9901", "port_value: 0")
            .edit("port_value: 10000", "port_value: 0")
            .edit(
                "port_value: 8000",
                &format!("port_value: {}", upstream.address().port()),
            )
    }
}

/// The listeners of [`Setup::listeners_from_file`].
pub struct ListenerFile {
    path: PathBuf,
}

impl ListenerFile {
    fn new(dir: &Path) -> Self {
        Self {
            path: dir.join("lds.json"),
        }
    }

    fn all(&self) -> PathBuf {
        self.path.with_extension("all")
    }

    /// Has them all.
    pub fn restore(&self) {
        let all = fs::read_to_string(self.all()).unwrap();
        self.write(&all);
    }

    /// Has this one alone.
    pub fn give(&self, listener: &Value) {
        let mut listener = listener.clone();
        listener["@type"] = LISTENER.into();
        self.write(&format!("[{listener}]"));
    }

    /// Takes them all away.
    pub fn remove(&self) {
        self.write("[]");
    }

    fn write(&self, resources: &str) {
        let response = format!(r#"{{"version_info": "test", "resources": {resources}}}"#);
        EcdsFile::new(self.path.clone()).write(response);
    }
}

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

fn command(setup: &Setup) -> Command {
    let config = setup.dir.join("config.yaml");
    fs::write(&config, super::shell::configuration(&setup.config)).unwrap();
    let node = super::shell::node(&setup.config);

    let version = std::env::var("KEYSTILE_ENVOY_VERSION").unwrap_or_else(|_| "1.40.0".into());
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
        // No shared memory, which a killed Envoy would leave behind.
        .arg("--disable-hot-restart")
        .args(["--log-level", "info"])
        .args(&setup.arguments);
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
