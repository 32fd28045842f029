//! Servers of one store in PostgreSQL that are replaced by those of a newer version, one after the
//! other.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::database::Database;
use crate::replicas::{eventually, post};
use crate::server::{Server, token};
use crate::support::{Home, KEYSTILECTL, word};

/// The same program with one more step of the schema: `scripts/build successor`.
const SUCCESSOR: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../target/dist/keystilectl-successor"
);

/// Status and code of the answer to a request to issue a key.
fn issue(server: &Server, owner: &str) -> (u16, Option<String>) {
    let bearer = format!("Bearer {owner}");
    let headers = [("authorization", &*bearer)];
    let (status, body) = post(server, "/v1/keys", &headers, r#"{"client": "acme"}"#);
    (status, body["code"].as_str().map(str::to_owned))
}

pub fn is_ready(server: &Server) -> bool {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .build()
        .into();
    let answer = agent.get(format!("{}/readyz", server.url())).call();
    answer.unwrap().status() == 200
}

/// The versions that the database notes of its schema.
fn noted(database: &Database) -> (u32, u32) {
    let noted = database.ask("SELECT version, oldest FROM keystile.schema_version");
    let (version, oldest) = noted.trim().split_once('|').unwrap();
    (version.parse().unwrap(), oldest.parse().unwrap())
}

#[test]
fn servers_go_on_beside_a_newer_schema_until_one_that_says_that_they_may_not() {
    let database = Database::start();
    let homes = Home::several(database.address(), 2);
    let owner = token(&homes[0], "owner");
    let servers: Vec<Server> = homes.iter().map(|h| Server::start(h, &[])).collect();
    // As the next version would.
    database.ask(
        "BEGIN; ALTER TABLE keystile.client ADD COLUMN later TEXT NOT NULL DEFAULT 'x';
         CREATE TABLE keystile.later (one BIGINT);
         UPDATE keystile.schema_version SET version = version + 1; COMMIT",
    );
    for (server, home) in servers.iter().zip(&homes) {
        assert_eq!(issue(server, &owner), (201, None));
        home.ok(&["client", "create", &format!("c{}", server.pid())]);
        assert!(is_ready(server));
    }
    let more = Home::several_of(&homes[0], 1);
    let third = Server::start(&more[0], &[]);
    assert_eq!(issue(&third, &owner), (201, None));

    database.ask("UPDATE keystile.schema_version SET oldest = version");
    for server in servers.iter().chain([&third]) {
        eventually("it not to be ready", || !is_ready(server));
        let (status, code) = issue(server, &owner);
        assert_eq!(status, 503, "{code:?}");
    }
    let words = homes[0].refused(&["key", "list"]);
    assert!(words.contains("a newer version of Keystile"), "{words}");
}

/// Says that it is time to stop, also when a test fails.
struct Stopping<'s>(&'s AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "needs another build: `scripts/test replicas-long`"]
fn servers_are_replaced_by_those_of_a_newer_version_one_after_the_other() {
    assert!(
        Path::new(SUCCESSOR).exists(),
        "run `scripts/build successor`"
    );
    let database = Database::start();
    let mut homes = Home::several(database.address(), 3);
    let owner = token(&homes[0], "owner");
    let (earlier, _) = {
        // A newer command that only reads leaves an earlier schema as it is.
        homes[2].uses(Path::new(SUCCESSOR));
        let words = homes[2].refused(&["key", "list"]);
        assert!(
            words.contains("was written by an earlier version"),
            "{words}"
        );
        noted(&database)
    };
    let start = |home: &Home| Server::start(home, &[]);
    let mut servers = vec![start(&homes[0]), start(&homes[1])];
    let stop = AtomicBool::new(false);
    let issued = std::thread::scope(|scope| {
        let stopping = Stopping(&stop);
        // One that stays of the earlier version until the end is written to all the time.
        let old = servers.remove(1);
        let (stop, owner) = (&stop, &owner);
        let writing = scope.spawn(move || {
            let mut issued = 0;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(issue(&old, owner), (201, None));
                issued += 1;
            }
            (issued, old)
        });
        servers.push(start(&homes[2]));
        assert_eq!(noted(&database), (earlier + 1, earlier));
        assert_eq!(
            database.ask("SELECT count(*) FROM keystile.contact").trim(),
            "0"
        );
        let mut others = 0;
        for server in &servers {
            assert_eq!(issue(server, owner), (201, None));
            others += 1;
        }
        // The first is replaced; the other goes on, and a new process of its version starts.
        assert!(servers.remove(0).stop());
        homes[0].ok(&["key", "issue", "acme"]);
        homes[0].uses(Path::new(SUCCESSOR));
        servers.push(start(&homes[0]));
        assert_eq!(issue(&servers[1], owner), (201, None));
        others += 2;
        drop(stopping);
        let (issued, old) = writing.join().unwrap();
        assert!(issued > 3, "{issued}");
        assert!(old.stop());
        issued + others
    });
    homes[1].uses(Path::new(SUCCESSOR));
    servers.push(start(&homes[1]));
    assert_eq!(issue(&servers[2], &owner), (201, None));
    let keys = homes[1].json(&["key", "list"]);
    assert_eq!(keys.as_array().unwrap().len(), issued + 1);
    homes[1].ok(&["audit", "verify"]);
    let id = word(&keys[0], "id");
    homes[0].ok(&["key", "revoke", &id]);
    // The way back: the earlier version works on what the newer one has made.
    homes[0].uses(Path::new(KEYSTILECTL));
    homes[0].ok(&["key", "issue", "acme"]);
}
