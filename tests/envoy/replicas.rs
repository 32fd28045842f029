//! Several servers of one store in PostgreSQL, each on a machine of its own, as it were; and Envoys
//! that reach them through a plain balancer.

use crate::database::Database;
use crate::door::{Door, Place};
use crate::support::{
    Companion, Envoy, Load, Server, Upstream, eventually, fresh_dir, get, request,
};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const POLICY: &str = r#"
version: 1
not_after: 1d
report: { cluster: keystile-control, every: 1s }
routes:
  - { path: /healthz, auth: none }
  - { path: "/v1/{*rest}" }
"#;

/// How often a server is killed; `KEYSTILE_KILLS` says otherwise.
const KILLS: usize = 4;

/// A database, and three servers of one store in it.
struct Three {
    companions: Vec<Companion>,
    servers: Vec<Server>,
    upstream: Upstream,
    database: Database,
}

impl Three {
    fn start() -> Self {
        Self::of(Database::start())
    }

    fn of(database: Database) -> Self {
        Self::reaching(database, |database| database.address().to_owned())
    }

    /// The third server reaches the database under this address.
    fn reaching(database: Database, third: impl FnOnce(&Database) -> String) -> Self {
        let first = Companion::init_in(database.address(), &fresh_dir(), POLICY);
        first.run(&["client", "create", "acme"]);
        let more = |address: &str| first.replica(address, &fresh_dir());
        let (second, third) = (more(database.address()), more(&third(&database)));
        let companions = vec![first, second, third];
        Self {
            servers: companions.iter().map(Server::start).collect(),
            companions,
            upstream: Upstream::start(),
            database,
        }
    }

    /// An Envoy at each server.
    fn envoys(&self) -> Vec<Envoy> {
        let pairs = self.servers.iter().zip(&self.companions).zip(0..);
        let envoy = |((server, companion), n): ((&Server, &Companion), u32)| {
            Envoy::start(server.rendered(companion, &self.upstream, &format!("edge-{n}")))
        };
        pairs.map(envoy).collect()
    }

    /// As many Envoys, each of which may be at any server.
    fn balanced(&self, discovery: &Door, control: &Door) -> Vec<Envoy> {
        let (discovery, control) = (discovery.address(), control.address());
        let (discovery, control) = (discovery.to_string(), control.to_string());
        let envoy = |n: usize| {
            let node = format!("edge-{n}");
            let arguments = [
                "--discovery",
                &discovery,
                "--control",
                &control,
                "--node",
                &node,
            ];
            let rendered = self.companions[0].rendered_in(fresh_dir(), &self.upstream, &arguments);
            Envoy::start(rendered)
        };
        (0..3).map(envoy).collect()
    }

    /// The ids of all keys in the store.
    fn known(&self) -> BTreeSet<String> {
        let keys = self.companions[0].json(&["key", "list"]);
        let keys = keys.as_array().unwrap().iter();
        keys.map(|k| k["id"].as_str().unwrap().to_owned()).collect()
    }

    fn doors(&self) -> (Door, Door) {
        let port = |address: &str| Place::Port(address.parse().unwrap());
        let discovery = self.servers.iter().map(|s| port(s.discovery()));
        let control = self.servers.iter().map(|s| port(s.address()));
        (Door::to(discovery.collect()), Door::to(control.collect()))
    }
}

fn opens(envoys: &[Envoy], key: &str) {
    for envoy in envoys {
        eventually("the key to open every Envoy", || {
            (0..12).all(|_| ask(envoy, key) == 200).then_some(())
        });
    }
}

fn ask(envoy: &Envoy, key: &str) -> u16 {
    envoy.send(&get("/v1/a").bearer(key)).status
}

/// Nobody is let in with this key, on any connection.
fn opens_nothing(envoys: &[Envoy], key: &str) {
    for envoy in envoys {
        for _ in 0..12 {
            assert_eq!(ask(envoy, key), 401);
        }
    }
}

#[test]
fn what_one_server_is_told_every_envoy_proves() {
    let three = Three::start();
    let envoys = three.envoys();
    let (key, id) = three.servers[0].issue(&["acme"]);
    opens(&envoys, &key);

    let from = Instant::now();
    let revoked = three.servers[0].json(&["key", "revoke", &id, "--wait"]);
    println!(
        "revoked at one server and proved at three after {} ms",
        from.elapsed().as_millis()
    );
    assert_eq!(revoked["status"], "revoked", "{revoked}");
    opens_nothing(&envoys, &key);
    // Whichever server is asked knows all Envoys, and that they are connected; and all of them have
    // published the same base.
    let mut bases = BTreeSet::new();
    for server in &three.servers {
        let fleet = server.json(&["fleet"]);
        let nodes = fleet.as_array().unwrap();
        let states: Vec<_> = nodes.iter().map(|n| &n["state"]).collect();
        assert_eq!(states, ["connected"; 3], "{fleet}");
        let vms = nodes.iter().flat_map(|n| n["vms"].as_array().unwrap());
        bases.extend(vms.map(|vm| vm["base"].as_u64().unwrap()));
    }
    assert_eq!(bases.len(), 1, "{bases:?}");
    let kept = |c: &Companion| std::fs::read(c.dir().join("home/base.keyset")).unwrap();
    let kept: BTreeSet<Vec<u8>> = three.companions.iter().map(kept).collect();
    assert_eq!(kept.len(), 1, "the same bytes");
}

/// Says that it is time to stop, also when a test fails.
struct Stopping<'s>(&'s AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Issues keys at whichever server answers until it is told to stop; notes those of which it was
/// told that they were issued.
fn issue_until(three: &Three, control: &Door, stop: &AtomicBool, issued: &Mutex<BTreeSet<String>>) {
    while !stop.load(Ordering::Relaxed) {
        let mut command = three.servers[0].command();
        command
            .env("KEYSTILE_SERVER", format!("http://{}", control.address()))
            .args(["key", "issue", "acme", "--output", "json"]);
        let output = command.output().unwrap();
        if output.status.success() {
            let key: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            let id = key["id"].as_str().unwrap().to_owned();
            issued.lock().unwrap().insert(id);
        }
    }
}

#[test]
fn servers_that_are_killed_lose_no_write_and_no_request() {
    let kills = std::env::var("KEYSTILE_KILLS");
    let kills = kills.map_or(KILLS, |n| n.parse().unwrap());
    let mut three = Three::start();
    let (discovery, control) = three.doors();
    let envoys = three.balanced(&discovery, &control);
    let (key, _) = three.servers[0].issue(&["acme"]);
    opens(&envoys, &key);

    let asked = vec![get("/v1/a").bearer(&key)];
    let pace = Duration::from_millis(5);
    let loads = envoys
        .iter()
        .map(|e| Load::start(e.address(), 2, pace, asked.clone()));
    let loads: Vec<Load> = loads.collect();
    let (stop, issued) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        let stopping = Stopping(&stop);
        let mut victims: Vec<Server> = std::mem::take(&mut three.servers);
        three.servers.push(victims.remove(0));
        let writing = scope.spawn(|| issue_until(&three, &control, &stop, &issued));
        for kill in 0..kills {
            let victim = &mut victims[kill % 2];
            victim.kill();
            for load in &loads {
                load.another_round();
            }
            victim.restart();
        }
        drop(stopping);
        writing.join().unwrap();
        drop(victims);
    });
    let issued = issued.into_inner().unwrap();
    assert!(!issued.is_empty());
    for answer in loads.into_iter().flat_map(Load::stop).flatten() {
        assert_eq!(answer.status(), Some(200), "a request failed");
    }
    let lost: Vec<_> = issued.difference(&three.known()).cloned().collect();

    assert!(lost.is_empty(), "of {}: {lost:?}", issued.len());

    // The Envoys of those that are gone are at the one that is left, and prove what it is told.
    let (key, id) = three.servers[0].issue(&["acme"]);
    opens(&envoys, &key);
    three.servers[0].json(&["key", "revoke", &id, "--wait=30s"]);
    opens_nothing(&envoys, &key);
    println!(
        "{kills} servers killed, {} keys issued meanwhile",
        issued.len()
    );
}

#[test]
fn when_the_database_fails_over_writes_are_back_and_none_is_lost() {
    let three = Three::of(Database::with_standby());
    let envoys = three.envoys();
    let (key, _) = three.servers[0].issue(&["acme"]);
    opens(&envoys, &key);
    let asked = vec![get("/v1/a").bearer(&key)];
    let pace = Duration::from_millis(5);
    let loads = envoys
        .iter()
        .map(|e| Load::start(e.address(), 2, pace, asked.clone()));
    let loads: Vec<Load> = loads.collect();
    let (_, control) = three.doors();
    let (stop, issued) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        let stopping = Stopping(&stop);
        scope.spawn(|| issue_until(&three, &control, &stop, &issued));
        let count = || issued.lock().unwrap().len();
        let more_than = |known: usize| {
            eventually("writes to go on", || (count() > known).then_some(()));
        };
        more_than(2);
        let from = Instant::now();
        three.database.fail_over();
        // One may have been answered just before.
        more_than(count() + 1);
        let back = from.elapsed();
        drop(stopping);
        println!("writes were back after {} ms", back.as_millis());
        assert!(back < Duration::from_secs(10), "{back:?}");
    });
    for answer in loads.into_iter().flat_map(Load::stop).flatten() {
        assert_eq!(answer.status(), Some(200), "a request failed");
    }
    let issued = issued.into_inner().unwrap();
    let lost: Vec<_> = issued.difference(&three.known()).cloned().collect();
    assert!(lost.is_empty(), "of {}: {lost:?}", issued.len());
    three.companions[0].run(&["audit", "verify"]);
    // What is revoked from here on is proved by all, too.
    let (key, id) = three.servers[1].issue(&["acme"]);
    opens(&envoys, &key);
    three.servers[1].json(&["key", "revoke", &id, "--wait=30s"]);
    opens_nothing(&envoys, &key);
}

#[test]
fn a_server_that_is_cut_off_from_the_database_sends_its_envoys_away() {
    let mut between = None;
    let three = Three::reaching(Database::start(), |database| {
        let door = between.insert(Door::to(vec![database.socket()]));
        database.behind(door)
    });
    let database = between.unwrap();
    let discovery = Door::to(vec![Place::Port(
        three.servers[2].discovery().parse().unwrap(),
    )]);
    let (_, control) = three.doors();
    let envoys = three.balanced(&discovery, &control);
    let (key, id) = three.servers[0].issue(&["acme"]);
    opens(&envoys, &key);

    database.lead(Vec::new());
    let cut_off = three.servers[2].address().parse().unwrap();
    let status = |path: &str| {
        let mut client = crate::support::Client::connect(cut_off);
        let bearer = three.servers[2].token();
        client.send(&request("GET", path).bearer(bearer)).status
    };
    eventually("it not to be ready", || {
        (status("/readyz") == 503).then_some(())
    });
    assert_eq!(status("/v1/keys"), 503);
    // What goes on elsewhere reaches its Envoys as soon as they are sent away.
    let port = |n: usize| Place::Port(three.servers[n].discovery().parse().unwrap());
    *discovery.places() = vec![port(0), port(1)];
    let revoked = three.servers[0].json(&["key", "revoke", &id, "--wait=30s"]);
    assert_eq!(revoked["status"], "revoked", "{revoked}");
    opens_nothing(&envoys, &key);

    database.lead(vec![three.database.socket()]);
    eventually("it to be ready again", || {
        (status("/readyz") == 200).then_some(())
    });
    assert_eq!(status("/v1/keys"), 200);
}
