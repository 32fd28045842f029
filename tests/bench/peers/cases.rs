//! What is compared: each case is one server, configured to check keys in its own way and to
//! answer 200 itself.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use super::envoy::{self, Edge};
use super::load::Sends;
use super::machine::Cores;
use super::process::{Process, free_port};
use super::proxies;
use super::store::Store;
use super::support::{Client, get};

/// A case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// Envoy without a filter.
    Floor,
    /// The same again: the difference is the noise.
    FloorAgain,
    /// A wasm filter on the SDK that does nothing.
    Empty,
    /// The same without the exports that it does not need.
    EmptyTrimmed,
    /// Keystile: the key alone; no identity for the upstream, the key left in.
    Key,
    /// The key taken out, the identity put in; the guard behind it. From here on all of
    /// this.
    Identity,
    /// And a scope asked for.
    Scopes,
    /// And one token bucket.
    OneLimit,
    /// The same without the guard.
    Unguarded,
    /// And three.
    ThreeLimits,
    /// And `RateLimit` fields on every answer.
    Fields,
    /// One limit, and usage counted.
    Usage,
    /// One limit, under a policy of five routes.
    FiveRoutes,
    /// The same under a policy of a thousand.
    ManyRoutes,
    /// That policy of one limit, and requests without a key to a route that asks for none.
    Open,
    /// The same to a route that asks for one: refused.
    Missing,
    /// And keys that nobody issued: refused.
    Unknown,
    /// Envoy's api_key_auth alone.
    Native,
    /// Envoy's api_key_auth and local_ratelimit, a bucket for each client.
    NativeLimit,
    /// A Lua table and a bucket.
    Lua,
    /// ext_authz over HTTP to a local service.
    Authz,
    /// nginx: a map and limit_req.
    Nginx,
    /// HAProxy: a map and a stick table.
    Haproxy,
}

impl Case {
    pub const ALL: [Self; 23] = [
        Self::Floor,
        Self::Empty,
        Self::EmptyTrimmed,
        Self::Key,
        Self::Identity,
        Self::Scopes,
        Self::OneLimit,
        Self::Unguarded,
        Self::ThreeLimits,
        Self::Fields,
        Self::Usage,
        Self::FiveRoutes,
        Self::ManyRoutes,
        Self::Open,
        Self::Missing,
        Self::Unknown,
        Self::Native,
        Self::NativeLimit,
        Self::Lua,
        Self::Authz,
        Self::Nginx,
        Self::Haproxy,
        Self::FloorAgain,
    ];

    /// What `--cases` calls it, and what tables do.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Floor => ("floor", "Envoy, no filter"),
            Self::FloorAgain => ("again", "Envoy, no filter, again"),
            Self::Empty => ("empty", "empty SDK filter"),
            Self::EmptyTrimmed => ("trimmed", "empty SDK filter, exports trimmed"),
            Self::Key => ("key", "Keystile: key"),
            Self::Identity => ("identity", "Keystile: key, identity, guard"),
            Self::Scopes => ("scopes", "… + scopes"),
            Self::OneLimit => ("limit", "… + one limit"),
            Self::Unguarded => ("unguarded", "one limit, without the guard"),
            Self::ThreeLimits => ("limits", "… + three limits"),
            Self::Fields => ("fields", "… + fields on every answer"),
            Self::Usage => ("usage", "one limit + usage"),
            Self::FiveRoutes => ("routes5", "one limit, 5 routes"),
            Self::ManyRoutes => ("routes1000", "one limit, 1,000 routes"),
            Self::Open => ("open", "an open route, no key"),
            Self::Missing => ("missing", "no key: refused"),
            Self::Unknown => ("unknown", "unknown keys: refused"),
            Self::Native => ("native", "api_key_auth"),
            Self::NativeLimit => ("pair", "api_key_auth + local_ratelimit"),
            Self::Lua => ("lua", "Lua table + bucket"),
            Self::Authz => ("authz", "ext_authz, HTTP"),
            Self::Nginx => ("nginx", "nginx map + limit_req"),
            Self::Haproxy => ("haproxy", "HAProxy map + stick table"),
        }
    }

    pub fn short(self) -> &'static str {
        self.names().0
    }

    pub fn name(self) -> &'static str {
        self.names().1
    }

    /// By the name that `--cases` takes.
    pub fn named(short: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|c| c.short() == short);
        found.ok_or_else(|| {
            let all = Self::ALL.map(Self::short);
            format!("there are {}", all.join(", "))
        })
    }

    /// With the build that `scripts/build` made.
    pub fn built(self) -> Subject {
        Subject {
            case: self,
            build: 0,
        }
    }

    /// Whether it knows keys at all.
    pub fn checks(self) -> bool {
        use Case::{Empty, EmptyTrimmed, Floor, FloorAgain};
        !matches!(self, Floor | FloorAgain | Empty | EmptyTrimmed)
    }

    /// Whether it is ours.
    pub fn is_keystile(self) -> bool {
        self.policy().is_some()
    }

    /// Another proxy: Envoy without a filter is not its floor.
    pub fn is_other_proxy(self) -> bool {
        matches!(self, Self::Nginx | Self::Haproxy)
    }

    /// What is required now.
    pub fn path(self) -> &'static str {
        match self {
            Self::FiveRoutes | Self::ManyRoutes => "/v1/r003/items/42",
            Self::Open => "/healthz",
            _ => "/v1/a",
        }
    }

    /// What its requests carry.
    pub fn sends(self) -> Sends {
        match self {
            Self::Open | Self::Missing => Sends::Nothing,
            Self::Unknown => Sends::Unknown,
            _ => Sends::Keys,
        }
    }

    /// Its `policy.yaml`.
    fn policy(self) -> Option<String> {
        let silent =
            "identity: { client: \"\", key: \"\", scopes: \"\" }\nforward_credential: true\n";
        let none = "plans: { p: { limits: [] } }\n";
        let one = "plans: { p: { limits: [{ requests: 1000000, per: 1s }] } }\n";
        let two = "plans: { p: { limits: [{ requests: 1000000, per: 1s }, { requests: 50000000, per: 1m }] } }\n";
        let plain = "routes: [{ path: \"/v1/{*rest}\" }]\n";
        let scoped = "routes: [{ path: \"/v1/{*rest}\", scopes: [read] }]\n";
        let beside =
            "routes: [{ path: /healthz, auth: none }, { path: \"/v1/{*rest}\", scopes: [read] }]\n";
        let limited = "routes: [{ path: \"/v1/{*rest}\", scopes: [read], limit: { requests: 1000000, per: 1s, by: client } }]\n";
        let routes = |count: usize| {
            let route = |n| {
                format!(
                    "  - {{ path: \"/v1/r{n:03}/items/{{id}}\", methods: [GET], scopes: [read] }}\n"
                )
            };
            // The last one opens what is asked for at the start.
            let all: String = (1..count).map(route).collect();
            format!("routes:\n{all}  - {{ path: \"/v1/{{*rest}}\", scopes: [read] }}\n")
        };
        let (five, many) = (routes(5), routes(1000));
        let parts: &[&str] = match self {
            Self::Key => &[silent, none, plain],
            Self::Identity => &[none, plain],
            Self::Scopes => &[none, scoped],
            Self::OneLimit | Self::Unguarded => &[one, scoped],
            Self::ThreeLimits => &[two, limited],
            Self::Fields => &["rate_limit_fields: always\n", two, limited],
            Self::Usage => &["report: { cluster: control, every: 10s }\n", one, scoped],
            Self::FiveRoutes => &[one, &five],
            Self::ManyRoutes => &[one, &many],
            Self::Open | Self::Missing | Self::Unknown => &[one, beside],
            _ => return None,
        };
        Some(format!(
            "version: 1\ncredentials: [{{ header: x-api-key }}]\nnot_after: 1d\n{}",
            parts.concat()
        ))
    }
}

/// A case with one build of the filter; cases that are not ours have but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub case: Case,
    /// Position among [`Builds`].
    pub build: usize,
}

/// Builds of the filter that are measured side by side; the first is the one that
/// `scripts/build` made.
#[derive(Clone)]
pub struct Builds(Vec<(String, PathBuf)>);

impl Builds {
    /// The one that is built, and these: `LABEL=FILE`.
    pub fn with(more: &[String]) -> Result<Self, String> {
        let mut all = vec![(String::new(), PathBuf::from("target/dist/keystile.wasm"))];
        for text in more {
            let (label, file) = text
                .split_once('=')
                .ok_or_else(|| format!("`--wasm {text}` is not LABEL=FILE"))?;
            let file = fs::canonicalize(file).map_err(|e| format!("{file}: {e}"))?;
            all.push((label.to_owned(), file));
        }
        Ok(Self(all))
    }

    /// Each case that is ours with each build, in the order of the cases.
    pub fn of(&self, cases: &[Case]) -> Vec<Subject> {
        let builds = |case: Case| match case.is_keystile() {
            true => 0..self.0.len(),
            false => 0..1,
        };
        let all = cases
            .iter()
            .flat_map(|case| builds(*case).map(|build| Subject { case: *case, build }));
        all.collect()
    }

    pub fn name(&self, subject: Subject) -> String {
        match self.0.get(subject.build) {
            Some((label, _)) if !label.is_empty() => {
                format!("{} [{label}]", subject.case.name())
            }
            _ => subject.case.name().to_owned(),
        }
    }

    fn file(&self, subject: Subject) -> &Path {
        &self.0[subject.build].1
    }

    /// The guard of the time of a build.
    fn guard(&self, subject: Subject) -> Value {
        let wasm = fs::read(self.file(subject)).expect("a build");
        let mark = keystile_core::decide::NOBODY.as_bytes();
        match wasm.windows(mark.len()).any(|part| part == mark) {
            true => envoy::guard(),
            false => envoy::earlier_guard(),
        }
    }
}

/// A case that runs.
pub struct Running {
    pub address: SocketAddr,
    /// Envoy's own interface, if it is one.
    pub admin: Option<SocketAddr>,
    pub processes: Vec<Process>,
    /// When its last process was started.
    pub launched: Instant,
}

impl Running {
    pub fn cpu_ns(&self) -> u64 {
        self.processes.iter().map(Process::cpu_ns).sum()
    }

    /// Nanoseconds of CPU of the threads that serve requests, so far.
    pub fn serving_ns(&self) -> u64 {
        self.processes.iter().map(Process::serving_ns).sum()
    }

    pub fn resident(&self) -> u64 {
        self.processes.iter().map(Process::resident).sum()
    }

    /// Bytes that Envoy has allocated, as it tells itself: without what it gave back to its
    /// allocator, which stays resident, and without the memory of VMs.
    pub fn allocated(&self) -> f64 {
        let admin = self.admin.expect("an Envoy");
        let told = Client::connect(admin).send(&get("/memory")).json();
        let bytes = told["allocated"].as_str().and_then(|n| n.parse().ok());
        bytes.expect("what is allocated")
    }
}

/// Starts a case with the keys of the store. `None` where the program is not installed.
pub fn start(
    subject: Subject,
    builds: &Builds,
    store: &Store,
    workers: usize,
    dir: &Path,
) -> Option<Running> {
    let case = subject.case;
    let dir = dir.join(format!("{}-{}-{workers}", case.short(), subject.build));
    fs::create_dir_all(&dir).expect("a folder");
    let cores = Cores::of_servers(workers);
    match case {
        Case::Nginx => return proxies::nginx(store, workers, &cores, &dir),
        Case::Haproxy => return proxies::haproxy(store, workers, &cores, &dir),
        _ => {}
    }
    let mut edge = Edge::new(&dir).workers(workers).cores(cores.clone());
    let mut service = None;
    match case {
        Case::Empty => edge = edge.filter(envoy::wasm("target/dist/empty.wasm")),
        Case::EmptyTrimmed => edge = edge.filter(envoy::wasm("target/dist/empty-trimmed.wasm")),
        Case::Native => edge = edge.filter(api_key_auth(store)),
        Case::NativeLimit => {
            edge = edge
                .filter(api_key_auth(store))
                .filter(envoy::local_ratelimit());
        }
        Case::Lua => edge = edge.filter(envoy::lua(store, &dir)),
        Case::Authz => {
            let at = free_port();
            let mut command = cores.command(std::env::current_exe().expect("this program"));
            command
                .args(["authz", &at.to_string()])
                .arg(store.key_file(&dir));
            service = Some(Process::start(command, &dir, "authz"));
            edge = edge
                .filter(envoy::ext_authz())
                .cluster(envoy::cluster("authz", at));
        }
        _ => {}
    }
    if let Some(policy) = case.policy() {
        let file = dir.join("ecds.pb");
        store.push(&policy, &file, builds.file(subject));
        edge = edge
            .signing_keys(&store.signing_keys())
            .filter(envoy::discovered("keystile", &file));
        if !matches!(case, Case::Key | Case::Unguarded) {
            edge = edge.filter(builds.guard(subject));
        }
        // Nobody takes the reports: what they cost when they cannot be sent is in the figure.
        edge = edge.cluster(envoy::cluster("control", free_port()));
    }
    let mut running = edge.start();
    running.processes.extend(service);
    Some(running)
}

fn api_key_auth(store: &Store) -> Value {
    envoy::api_key_auth(store.keys.iter().map(String::as_str))
}
