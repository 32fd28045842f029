//! What is compared: each case is one server, configured to check keys in its own way and to
//! pass the request on, or to answer 200 itself.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use super::builds::{Builds, Subject};
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
    /// The key taken out, the identity put in; behind wasm the guard. From here on all of
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
            Self::Identity => ("identity", "Keystile: key, identity"),
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

/// How servers are started.
#[derive(Clone, Copy)]
pub struct Layout {
    pub workers: usize,
    /// Where requests go that were let in; `None`: the server answers.
    pub upstream: Option<SocketAddr>,
}

/// Starts a case with the keys of the store. `None` where the program is not installed.
pub fn start(
    subject: Subject,
    builds: &Builds,
    store: &Store,
    layout: Layout,
    dir: &Path,
) -> Option<Running> {
    let case = subject.case;
    let workers = layout.workers;
    let dir = dir.join(format!("{}-{}-{workers}", case.short(), subject.build));
    fs::create_dir_all(&dir).expect("a folder");
    let cores = Cores::of_servers(workers);
    match case {
        Case::Nginx => return proxies::nginx(store, layout, &cores, &dir),
        Case::Haproxy => return proxies::haproxy(store, layout, &cores, &dir),
        _ => {}
    }
    let mut edge = Edge::new(&dir).workers(workers).cores(cores.clone());
    edge = edge.upstream(layout.upstream);
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
        edge = ours(edge, &policy, subject, (builds, store), &dir);
    }
    let mut running = edge.start();
    running.processes.extend(service);
    Some(running)
}

/// With our filter under this policy.
fn ours(
    edge: Edge,
    policy: &str,
    subject: Subject,
    (builds, store): (&Builds, &Store),
    dir: &Path,
) -> Edge {
    let file = dir.join("ecds.pb");
    let build = builds.file(subject);
    store.push(policy, &file, build);
    let filter = match builds.module(subject) {
        Some(_) => envoy::discovered_module("keystile", &file),
        None => envoy::discovered("keystile", &file),
    };
    let edge = edge.signing_keys(&store.signing_keys()).filter(filter);
    let edge = match builds.guard(subject) {
        Some(guard) => edge.filter(guard),
        None => edge,
    };
    // Nobody takes the reports: what they cost when they cannot be sent is in the figure.
    edge.modules_in(build.parent())
        .cluster(envoy::cluster("control", free_port()))
}

fn api_key_auth(store: &Store) -> Value {
    envoy::api_key_auth(store.keys.iter().map(String::as_str))
}
