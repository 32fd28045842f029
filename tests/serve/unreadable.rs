//! Servers that reach their database, but cannot read or change the store in it.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::database::Database;
use crate::replicas::{eventually, post};
use crate::server::{Server, log_of, token};
use crate::support::Home;
use crate::upgrades::is_ready;

fn leads(home: &Home) -> bool {
    log_of(home).contains("it is this server's turn")
}

/// Two servers, of which the first does what only one does.
fn two(database: &Database) -> ([Server; 2], [Home; 2]) {
    let homes = Home::several(database.address(), 2);
    let [first, second] = homes.try_into().unwrap_or_else(|_| panic!("two"));
    let one = Server::start(&first, &[]);
    eventually("the first to lead", || leads(&first));
    let other = Server::start(&second, &[]);
    eventually("both to be ready", || is_ready(&one) && is_ready(&other));
    assert!(!leads(&second));
    ([one, other], [first, second])
}

#[test]
fn a_server_that_lost_its_folder_leaves_its_turn_and_its_envoys_to_another() {
    let database = Database::start();
    let ([one, other], homes) = two(&database);
    fs::rename(homes[0].path("home"), homes[0].path("elsewhere")).unwrap();
    eventually("the other to lead", || leads(&homes[1]));
    eventually("the first to send its Envoys away", || {
        log_of(&homes[0]).contains("its Envoys are sent to other servers")
    });
    assert!(!is_ready(&one));
    assert!(is_ready(&other));

    fs::rename(homes[0].path("elsewhere"), homes[0].path("home")).unwrap();
    eventually("the first to be ready again", || is_ready(&one));
}

#[test]
fn a_server_that_stands_still_loses_its_turn() {
    let database = Database::start();
    let ([one, _other], homes) = two(&database);
    one.signal("STOP");
    eventually("the other to lead", || leads(&homes[1]));
    one.signal("CONT");
    eventually("the first to be ready again", || is_ready(&one));
}

/// A session of somebody else that has locked a table.
struct TableLock(Child);

impl TableLock {
    fn take(database: &Database, table: &str) -> Self {
        let sql = format!(
            "BEGIN; LOCK TABLE keystile.{table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)"
        );
        let child = Command::new("psql")
            .args(["--quiet", "--dbname", database.address(), "--command", &sql])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the lock", || {
            database.ask("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation IS NOT NULL") != "0"
        });
        Self(child)
    }

    fn end(mut self, database: &Database) {
        database.ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK TABLE%'");
        self.0.wait().unwrap();
    }
}

#[test]
fn what_waits_for_a_table_that_somebody_has_locked_is_answered_with_503() {
    let database = Database::start();
    let homes = Home::several(database.address(), 1);
    let owner = token(&homes[0], "owner");
    let server = Server::start(&homes[0], &[]);
    let bearer = format!("Bearer {owner}");
    let headers = [("authorization", &*bearer)];
    let issue = || post(&server, "/v1/keys", &headers, r#"{"client": "acme"}"#);
    let listed = || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            // Far below the time for which the table is locked.
            .timeout_global(Some(std::time::Duration::from_secs(25)))
            .build()
            .into();
        let request = agent.get(format!("{}/v1/keys", server.url()));
        let answer = request.header("authorization", &bearer).call().unwrap();
        answer.status().as_u16()
    };
    assert_eq!((issue().0, listed()), (201, 200));
    for table in ["key", "meta"] {
        let lock = TableLock::take(&database, table);
        assert_eq!(listed(), 503, "{table}");
        if table == "meta" {
            eventually("it to be not ready", || !is_ready(&server));
        }
        lock.end(&database);
        eventually("it to work again", || issue().0 == 201);
        eventually("it to be ready again", || is_ready(&server));
    }
}
