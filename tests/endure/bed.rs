//! Servers and Envoys, of which one runs the WebAssembly filter and the other the native module.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use keystile_tests::database::Database;
use keystile_tests::proxy::{Client, Companion, Reply, Seen, Upstream, get, part, root};

use crate::program::{Host, Program};
use crate::wire::Api;

/// Where the limits of keys, the routes and the reports are said.
pub const POLICY: &str = r#"
version: 1
not_after: 1d
report: { cluster: keystile-control, every: 1s, usage: true }
routes:
  - { path: /healthz, auth: none }
  - { path: "/v1/{*rest}", scopes: [read] }
  - { path: "/admin/{*rest}", scopes: [admin] }
"#;
/// What an Envoy that takes its keysets from a file needs, to say what it has in force.
const CONTROL: &str = "  clusters:
  - name: keystile-control
    type: STATIC
    connect_timeout: 1s
    load_assignment:
      cluster_name: keystile-control
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address: {address: @ADDRESS@, port_value: @PORT@}
";
/// How long anything may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which filter an Envoy runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    Wasm,
    Module,
}

impl Filter {
    pub fn name(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Module => "module",
        }
    }
}

/// A server.
pub struct Control {
    pub host: Host,
    pub program: Program,
    pub api: Api,
    pub discovery: SocketAddr,
}

/// An Envoy.
pub struct Edge {
    pub host: Host,
    pub program: Program,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    /// The file that its keysets are pushed to, unless a server sends them.
    file: Option<PathBuf>,
}

/// All of them.
pub struct Bed {
    pub controls: Vec<Control>,
    pub edges: Vec<Edge>,
    /// Of the store, for commands.
    pub companion: Companion,
    pub database: Option<Database>,
    /// The address under which servers reach the database, if not that of this machine.
    pub reached: Option<String>,
    /// Where the files of all programs are.
    pub folder: PathBuf,
    upstream: Upstream,
    /// One push after the other.
    pushing: Mutex<()>,
}

/// What a server is started with besides what all have.
pub type Extra = Vec<(String, String)>;

impl Bed {
    /// A store, in a file or in a database, and the upstream on an address of this machine.
    pub fn new(folder: PathBuf, database: Option<Database>, upstream: Ipv4Addr) -> Self {
        let first = folder.join("store");
        std::fs::create_dir_all(&first).unwrap();
        let companion = match &database {
            Some(database) => Companion::init_in(database.address(), &first, POLICY),
            None => Companion::init(&first, POLICY),
        };
        let listener = TcpListener::bind((upstream, 0)).unwrap();
        // Who the caller is, as the upstream is told.
        let caller = |seen: &Seen| Reply {
            status: 200,
            headers: Vec::new(),
            body: seen.header("x-keystile-key").concat().into_bytes(),
        };
        Self {
            controls: Vec::new(),
            edges: Vec::new(),
            companion,
            database,
            reached: None,
            folder,
            upstream: Upstream::listening(listener, caller),
            pushing: Mutex::new(()),
        }
    }

    /// One more server, whose Envoys run this filter.
    pub fn serve(&mut self, host: Host, filter: Filter, environment: Extra) {
        let name = &host.name;
        let made = self
            .companion
            .json(&["token", "create", name, "--role", "owner"]);
        let replica;
        let companion = match (&self.database, self.controls.is_empty()) {
            (Some(database), false) => {
                let folder = self.folder.join(name);
                replica = self.companion.replica(database.address(), &folder);
                &replica
            }
            _ => &self.companion,
        };
        let (api, discovery) = (address(&host, 8080), address(&host, 18_000));
        let mut arguments = vec![
            "serve".to_owned(),
            format!("--listen={api}"),
            format!("--discovery={discovery}"),
            format!("--shell={}", filter.name()),
            // What a person would look for once an hour.
            "--log=json".to_owned(),
        ];
        if !api.ip().is_loopback() {
            arguments.push("--allow-plaintext".to_owned());
        }
        let store = self.reached.clone();
        let store = store.or_else(|| companion.store().map(str::to_owned));
        let (of_make, of_home) = (host.clone(), companion.dir().join("home"));
        let program = Program::start(name, self.folder.join(format!("{name}.log")), move || {
            let binary = root().join("target/dist/keystilectl");
            let mut command = of_make.command(&binary.display().to_string());
            command
                .current_dir(root())
                .args(&arguments)
                .env("KEYSTILE_HOME", &of_home)
                .envs(store.iter().map(|store| ("KEYSTILE_STORE", store)))
                .envs(environment.iter().map(|(name, value)| (name, value)));
            command
        });
        let api = Api {
            address: api,
            token: made["token"].as_str().unwrap().to_owned(),
            patience: Duration::from_secs(15),
        };
        let control = Control {
            host,
            program,
            api,
            discovery,
        };
        until("a server to be ready", &control.program, || {
            matches!(control.api.get("/readyz"), Ok((200, _)))
        });
        self.controls.push(control);
    }

    /// One more Envoy, which a server sends its keysets to.
    pub fn follow(&mut self, host: Host, filter: Filter, server: usize) {
        let node = host.name.clone();
        let arguments = ["--discovery", "127.0.0.1:18000", "--node", &node];
        let config = self.rendered(filter, &host, &arguments);
        let server = &self.controls[server];
        let config = aim(&config, 18_000, server.discovery);
        let config = aim(&config, 8080, server.api.address);
        self.edge(host, filter, &config, None);
    }

    /// One more Envoy, whose keysets are pushed to a file.
    pub fn watch(&mut self, host: Host, filter: Filter) {
        let file = self.folder.join(format!("{}.pb", host.name));
        let path = file.display().to_string();
        let config = self.rendered(filter, &host, &["--ecds-file", &path]);
        let api = self.controls[0].api.address;
        let control = CONTROL
            .replace("@ADDRESS@", &api.ip().to_string())
            .replace("@PORT@", &api.port().to_string());
        assert!(config.contains("  clusters:\n"), "{config}");
        let config = config.replacen("  clusters:\n", &control, 1);
        let config = match config.contains("\nnode:") {
            true => config,
            false => format!("node: {{id: {}, cluster: keystile}}\n{config}", host.name),
        };
        self.push_to(&file, filter).unwrap();
        self.edge(host, filter, &config, Some(file));
    }

    fn rendered(&self, filter: Filter, host: &Host, arguments: &[&str]) -> String {
        let upstream = self.upstream.address().to_string();
        let (listen, admin) = (address(host, 10_000), address(host, 9901));
        let (listen, admin) = (listen.to_string(), admin.to_string());
        let all = [
            &["render", "envoy", "--shell", filter.name()],
            &["--upstream", &upstream, "--listen", &listen][..],
            &["--admin", &admin],
            arguments,
        ];
        self.companion.run(&all.concat())
    }

    fn edge(&mut self, host: Host, filter: Filter, config: &str, file: Option<PathBuf>) {
        let name = host.name.clone();
        let path = self.folder.join(format!("{name}.yaml"));
        std::fs::write(&path, config).unwrap();
        let keys = self.companion.signing_keys();
        let of_make = host.clone();
        let log = self.folder.join(format!("{name}.log"));
        let program = Program::start(&name, log, move || envoy(&of_make, &path, &keys, filter));
        let (address, admin) = addresses_in(config);
        let edge = Edge {
            host,
            program,
            address,
            admin,
            file,
        };
        until("an Envoy to be ready", &edge.program, || {
            edge.get("/ready").is_some()
        });
        self.edges.push(edge);
    }

    /// Hands the newest keyset to those Envoys that take it from a file.
    pub fn push(&self) -> Result<(), String> {
        let _one = self.pushing.lock().unwrap();
        for file in self.edges.iter().filter_map(|edge| edge.file.as_ref()) {
            self.push_to(file, Filter::Module)?;
        }
        Ok(())
    }

    fn push_to(&self, file: &Path, filter: Filter) -> Result<(), String> {
        let api = &self.controls[0].api;
        let mut command = self.companion.command();
        command
            .env_remove("KEYSTILE_HOME")
            .env_remove("KEYSTILE_STORE")
            .env("KEYSTILE_SERVER", format!("http://{}", api.address))
            .env("KEYSTILE_TOKEN", &api.token)
            .args(["push", "--shell", filter.name(), "--ecds-file"])
            .arg(file);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        output
            .status
            .success()
            .then_some(())
            .ok_or_else(|| said.into_owned())
    }
}

impl Edge {
    /// An answer of its admin interface.
    pub fn get(&self, path: &str) -> Option<String> {
        let client = Client::within(self.admin, Duration::from_secs(2));
        let answer = client.ok()?.try_send(&get(path)).ok()?;
        (answer.status == 200).then(|| answer.text())
    }

    /// The sum of a gauge over its VMs.
    pub fn gauge(&self, name: &str) -> Option<u64> {
        let text = self.get(&format!("/stats?filter={name}"))?;
        let values = text
            .lines()
            .filter_map(|l| l.rsplit_once(": ")?.1.parse::<u64>().ok());
        Some(values.sum())
    }
}

fn envoy(host: &Host, config: &Path, keys: &str, filter: Filter) -> Command {
    let version = keystile_tests::proxy::version();
    let binary = part(
        &format!(".tools/envoy-{version}/envoy/_bin/envoy"),
        "scripts/setup",
    );
    let mut command = host.command(&binary.display().to_string());
    command
        .current_dir(root())
        .env("KEYSTILE_SIGNING_KEYS", keys)
        .env(
            "ENVOY_DYNAMIC_MODULES_SEARCH_PATH",
            root().join("target/dist"),
        )
        .arg("--config-path")
        .arg(config)
        .args(["--concurrency", "2", "--disable-hot-restart"])
        .args(["--log-level", "warning"]);
    if filter == Filter::Module {
        // It cannot ask Envoy for it.
        command.env("KEYSTILE_NODE", &host.name);
    }
    command
}

/// A host of its own has the usual ports; on this machine any that is free.
fn address(host: &Host, usual: u16) -> SocketAddr {
    if host.namespace.is_some() {
        return SocketAddr::from((host.address, usual));
    }
    let listener = TcpListener::bind((host.address, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Puts the address of a server in the place of the usual one on this machine.
fn aim(config: &str, port: u16, to: SocketAddr) -> String {
    let usual = format!("address: 127.0.0.1, port_value: {port}}}");
    assert!(config.contains(&usual), "no `{usual}` in {config}");
    let new = format!("address: {}, port_value: {}}}", to.ip(), to.port());
    config.replace(&usual, &new)
}

/// Of the listener and of the admin interface, as rendered.
fn addresses_in(config: &str) -> (SocketAddr, SocketAddr) {
    let after = |name: &str| -> SocketAddr {
        let (_, rest) = config.split_once(name).unwrap();
        let (_, rest) = rest.split_once("socket_address: {address: ").unwrap();
        let (ip, rest) = rest.split_once(", port_value: ").unwrap();
        let (port, _) = rest.split_once('}').unwrap();
        format!("{ip}:{port}").parse().unwrap()
    };
    (after("name: public"), after("admin:"))
}

fn until(what: &str, program: &Program, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        let ended = program.has_ended();
        assert!(
            !ended && began.elapsed() < PATIENCE,
            "waited in vain for {what}, {}:\n{}",
            program.name,
            program.said()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
