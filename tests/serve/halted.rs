//! Servers of one store in PostgreSQL, and backends of the database, that stand still without
//! ending.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::database::Database;
use crate::replicas::{eventually, post};
use crate::server::{Server, token};
use crate::support::{Home, word};

/// A little longer than the database lets a transaction stand still.
const HALTED: Duration = Duration::from_secs(75);

/// What operating.md promises for the end of a server, and some seconds for a busy machine.
const ENDS: Duration = Duration::from_secs(20);

/// The backends of the servers.
struct Backends(Vec<String>);

impl Backends {
    fn of(database: &Database) -> Self {
        let pids = "SELECT pid FROM pg_stat_activity WHERE application_name = 'keystile'";
        let pids = database.ask(pids);
        Self(pids.lines().map(str::to_owned).collect())
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name])
            .args(&self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        // One that stands still does not end with the database.
        let _ = Command::new("kill")
            .args(["-s", "CONT"])
            .args(&self.0)
            .output();
    }
}

#[test]
fn a_change_that_waits_for_a_database_that_stands_still_is_answered_with_503() {
    let database = Database::start();
    let homes = Home::several(database.address(), 1);
    let owner = token(&homes[0], "owner");
    let server = Server::start(&homes[0], &[]);
    let bearer = format!("Bearer {owner}");
    let headers = [("authorization", &*bearer)];
    let issued = || post(&server, "/v1/keys", &headers, r#"{"client": "acme"}"#);
    let (status, key) = issued();
    assert_eq!(status, 201, "{key}");
    let key = word(&key, "key");
    let given_up = || post(&server, "/v1/keys/self/revoke", &[("x-api-key", &*key)], "");

    let backends = Backends::of(&database);
    assert!(backends.0.len() > 2, "{:?}", backends.0);
    backends.signal("STOP");
    let began = Instant::now();
    let (status, problem) = given_up();
    assert_eq!((status, &problem["code"]), (503, &"store_trouble".into()));
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );

    backends.signal("CONT");
    eventually("it to take changes again", || issued().0 == 201);
    eventually("the key to be given up", || given_up().0 == 204);
}

#[test]
fn a_server_ends_although_its_database_stands_still() {
    let database = Database::start();
    let homes = Home::several(database.address(), 1);
    let owner = token(&homes[0], "owner");
    let server = Server::start(&homes[0], &[]);
    let bearer = format!("Bearer {owner}");
    let headers = [("authorization", &*bearer)];
    let body = r#"{"client": "acme"}"#;
    assert_eq!(post(&server, "/v1/keys", &headers, body).0, 201);

    let backends = Backends::of(&database);
    backends.signal("STOP");
    let began = Instant::now();
    assert!(server.stop(), "in good order");
    assert!(began.elapsed() < ENDS, "{:?}", began.elapsed());
}

#[test]
#[ignore = "a minute long: `scripts/test replicas-long`"]
fn a_server_that_stands_still_within_a_change_keeps_the_others_waiting_for_a_minute_at_most() {
    let database = Database::start();
    let homes = Home::several(database.address(), 2);
    let owner = token(&homes[0], "owner");
    let servers: Vec<Server> = homes.iter().map(|h| Server::start(h, &[])).collect();
    let bearer = format!("Bearer {owner}");
    let headers = [("authorization", &*bearer)];
    let issue = |n: usize| post(&servers[n], "/v1/keys", &headers, r#"{"client": "acme"}"#).0;
    assert_eq!([issue(0), issue(1)], [201, 201]);

    let held = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.relation = 'keystile.key'::regclass AND l.mode = 'RowExclusiveLock'
          AND a.application_name = 'keystile'";
    std::thread::scope(|scope| {
        let many = r#"{"client": "acme", "count": 10000}"#;
        let long = scope.spawn(|| post(&servers[1], "/v1/keys", &headers, many));
        eventually("the change to be under way", || database.ask(held) != "0");
        servers[1].signal("STOP");
        let began = Instant::now();
        // Until then it is busy, and says so.
        while issue(0) != 201 {
            assert!(began.elapsed() < HALTED, "nobody can write");
        }
        println!("others could write after {:?}", began.elapsed());
        servers[1].signal("CONT");
        let (status, problem) = long.join().unwrap();
        assert_eq!(status, 503, "{problem}");
    });
    eventually("it to go on", || issue(1) == 201);
    // Nothing of the change that was broken off.
    assert_eq!(homes[0].ids().len(), 4);
    homes[0].ok(&["audit", "verify"]);
}
