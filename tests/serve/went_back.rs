//! A database that is put back to an earlier state by its own means, under a server and without one.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::database::Database;
use crate::replicas::{eventually, post};
use crate::server::{Server, token};
use crate::support::{Home, text, word};
use crate::upgrades::is_ready;

/// The store as PostgreSQL's own tool writes it.
fn dumped(database: &Database) -> Vec<u8> {
    let dump = Command::new("pg_dump")
        .args(["--clean", "--if-exists", "--dbname", database.address()])
        .output()
        .unwrap();
    assert!(dump.status.success(), "{}", text(&dump.stderr));
    dump.stdout
}

fn put_back(database: &Database, dump: &[u8]) {
    let mut psql = Command::new("psql")
        .args(["--quiet", "--single-transaction", "--dbname"])
        .arg(database.address())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    psql.stdin.take().unwrap().write_all(dump).unwrap();
    assert!(psql.wait().unwrap().success());
}

#[test]
fn servers_work_on_a_database_that_went_back_only_after_somebody_has_looked() {
    let database = Database::start();
    let homes = Home::several(database.address(), 2);
    let owner = token(&homes[0], "owner");
    let servers = [&homes[0], &homes[1]].map(|home| Server::start(home, &[]));
    let bearer = format!("Bearer {owner}");
    let headers = [("authorization", &*bearer)];
    let issue = |server: &Server| post(server, "/v1/keys", &headers, r#"{"client": "acme"}"#);
    let (status, key) = issue(&servers[0]);
    assert_eq!(status, 201, "{key}");
    let id = word(&key, "id");
    let dump = dumped(&database);
    let before = std::fs::read(homes[0].path("home/overlay.keyset")).ok();
    let revoke = format!("/v1/keys/{id}/revoke");
    let revoked = post(&servers[0], &revoke, &headers, r#"{"reason": "lost"}"#);
    assert_eq!(revoked.0, 200, "{}", revoked.1);
    eventually("the revocation to be published", || {
        std::fs::read(homes[0].path("home/overlay.keyset")).ok() != before
    });

    // Under running servers: they do not take up what lacks the revocation.
    put_back(&database, &dump);
    for server in &servers {
        eventually("a server to notice", || !is_ready(server));
        let (status, problem) = issue(server);
        assert_eq!((status, &problem["code"]), (503, &"store_trouble".into()));
    }
    servers.into_iter().for_each(|mut server| server.kill());

    // Nor do they after a start, until somebody has said that it was meant: not even where nothing was
    // ever written.
    for home in &homes {
        for verb in [
            &["serve", "--listen", "127.0.0.1:0"][..],
            &["key", "issue", "acme"],
            &["push", "--ecds-file", "pushed.json"],
            &["render", "envoy", "--upstream", "127.0.0.1:1", "--static"],
        ] {
            let refused = home.refused(verb);
            assert!(
                refused.contains("it was put back to an earlier state"),
                "{refused}"
            );
            assert!(refused.contains("`keystilectl restore`"), "{refused}");
        }
    }
    let mut restored = String::new();
    eventually("the killed servers to count as gone", || {
        let output = homes[0].command(&["restore"]).output().unwrap();
        restored = format!("{}{}", text(&output.stdout), text(&output.stderr));
        output.status.success()
    });
    assert!(
        restored.contains(&id),
        "the key that is valid again: {restored}"
    );
    let servers = [&homes[0], &homes[1]].map(|home| Server::start(home, &[]));
    eventually("both to be ready", || servers.iter().all(is_ready));
    assert_eq!(issue(&servers[1]).0, 201);
    homes[1].ok(&["audit", "verify"]);
}

#[test]
fn a_server_that_slept_while_others_wrote_on_notices_that_what_it_saw_is_gone() {
    let database = Database::start();
    let homes = Home::several(database.address(), 1);
    let owner = token(&homes[0], "owner");
    let server = Server::start(&homes[0], &[]);
    let bearer = format!("Bearer {owner}");
    let headers = [("authorization", &*bearer)];
    let issue = || post(&server, "/v1/keys", &headers, r#"{"client": "acme"}"#);
    let dump = dumped(&database);
    assert_eq!(issue().0, 201);
    server.signal("STOP");
    put_back(&database, &dump);
    // A folder that has seen nothing of it.
    let other = &Home::several_of(&homes[0], 1)[0];
    for _ in 0..5 {
        other.ok(&["key", "issue", "acme"]);
    }
    server.signal("CONT");
    eventually("it to notice", || !is_ready(&server));
    assert_eq!(issue().0, 503);
}

#[test]
fn a_folder_with_the_checkpoint_of_another_store_says_so() {
    let database = Database::start();
    let home = Home::new().in_database(database.address());
    home.ok(&["init"]);
    let refused = home.refused(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(
        refused.contains("audit.head` is not of this store"),
        "{refused}"
    );
    std::fs::rename(home.path("home/audit.head"), home.path("home/former")).unwrap();
    let server = Server::start(&home, &[]);
    eventually("it to be ready", || is_ready(&server));
}

#[test]
fn what_a_restore_moves_out_of_the_way_is_kept_at_every_restore() {
    let database = Database::start();
    let home = Home::several(database.address(), 1).remove(0);
    let former = || std::fs::read(home.path("home/audit.head.former")).unwrap();
    home.ok(&["restore"]);
    let first = former();
    home.ok(&["restore"]);
    assert_eq!(former(), first);
    assert!(home.path("home/audit.head.former.2").exists());
}
