//! A store in PostgreSQL, as a person meets it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::pki::Authority;
use crate::support::{Home, word};
use keystile_tests::database::Database;

fn home() -> Home {
    Home::empty().in_database(&Database::shared().fresh())
}

#[test]
fn a_store_is_made_in_a_database_and_used_as_in_a_file() {
    let home = home();
    home.ok(&["init"]);
    home.ok(&["client", "create", "acme", "--plan", "gold"]);
    let issued = home.json(&["key", "issue", "acme"]);
    let id = word(&issued, "id");
    home.ok(&["keyset", "build", "--out", "one.keyset"]);
    home.ok(&["key", "revoke", &id]);
    home.ok(&["keyset", "build", "--out", "two.keyset"]);
    assert_ne!(
        fs::read(home.path("one.keyset")).unwrap(),
        fs::read(home.path("two.keyset")).unwrap()
    );
    home.ok(&["audit", "verify"]);
    assert!(!home.store().exists(), "nothing is in a file");
    assert!(home.path("home/master.key").exists());
}

#[test]
fn nothing_secret_is_in_the_database() {
    let home = home();
    home.ok(&["init"]);
    home.ok(&["client", "create", "acme"]);
    let key = word(&home.json(&["key", "issue", "acme"]), "key");
    let exported = home.ok(&["signing-key", "export"]);
    let secret = exported
        .trim()
        .rsplit(['=', ':'])
        .find(|s| s.len() > 20)
        .unwrap();
    let node = home.ok(&["node", "enroll", "edge-1"]);
    let node = node.trim().rsplit(':').next().unwrap();
    let hook = ["webhook", "create", "siem", "https://siem.example.com/a"];
    let hook = word(&home.json(&hook), "secret");
    let token = word(
        &home.json(&["token", "create", "pipeline", "--role", "issuer"]),
        "token",
    );
    let dump = Database::shared().dump(home.database());
    assert!(dump.contains("acme") && dump.contains("edge-1"));
    let decoded = |text: &str| {
        let engines = [URL_SAFE_NO_PAD, STANDARD];
        let bytes = engines.iter().find_map(|e| e.decode(text).ok()).unwrap();
        bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    for secret in [secret, node, hook.trim_start_matches("whsec_")] {
        assert!(!dump.contains(secret), "as text");
        assert!(!dump.contains(&decoded(secret)), "as bytes");
    }
    assert!(!dump.contains(&token[token.len() - 20..]), "a token");
    assert!(!dump.contains(&key[key.len() - 40..]), "a key");
    assert!(!dump.contains(secret), "a signing key as text");
    let (_, schema) = home.database().split_once("schema=").unwrap();
    let length = format!("SELECT length(secret) FROM {schema}.signing_key");
    let kept = Database::shared().ask(&length);
    assert_eq!(kept.trim(), "60", "32 bytes with nonce and tag");
}

/// The database's superuser has no master key. They may write, and what of that is noticed is said.
#[test]
fn a_superuser_writes_a_key_but_no_audit_record() {
    let home = home();
    home.ok(&["init"]);
    home.ok(&["client", "create", "acme"]);
    let id = word(&home.json(&["key", "issue", "acme"]), "id");
    let (_, schema) = home.database().split_once("schema=").unwrap();
    let sql = |text: &str| Database::shared().ask(&format!("SET search_path TO {schema}; {text}"));
    sql("CREATE TEMP TABLE mine AS SELECT * FROM key; \
         UPDATE mine SET id = id + 1, lineage = id + 1, digest = sha256('mine'); \
         INSERT INTO key SELECT * FROM mine");
    let all = home.ids();
    assert_eq!(all.len(), 2, "such a key is published as any other");
    home.ok(&["audit", "verify"]);
    let recorded = |id: &str| {
        let list = home.json(&["audit", "list", "--subject", id]);
        list.as_array().unwrap().len()
    };
    let unknown: Vec<_> = all.iter().filter(|id| recorded(id) == 0).collect();
    assert_eq!(unknown.len(), 1, "no record names it");
    assert_ne!(*unknown[0], id);
    // Records are chained, and where the chain ends is signed with what only the master key opens.
    sql("UPDATE audit SET action = 'client.show' WHERE action = 'key.issue'");
    home.refused(&["audit", "verify"]);
}

#[test]
fn a_database_has_one_store_and_another_master_key_opens_nothing() {
    let home = home();
    home.ok(&["init"]);
    assert!(home.refused(&["init"]).contains("already"));
    fs::remove_file(home.path("home/master.key")).unwrap();
    let other = Home::empty();
    other.ok(&["init"]);
    fs::copy(other.path("home/master.key"), home.path("home/master.key")).unwrap();
    let words = home.refused(&["key", "list"]);
    assert!(
        words.contains("this is not the master key of the store"),
        "{words}"
    );
}

#[test]
fn what_is_not_there_is_named_and_no_password_is_shown() {
    let home = home();
    let words = home.refused(&["key", "list"]);
    assert!(
        words.contains("there is no master key") || words.contains("there is no store"),
        "{words}"
    );
    let closed = Home::new().in_database("postgres://me:hidden@127.0.0.1:1/keys");
    let words = closed.refused(&["key", "list"]);
    assert!(
        words.contains("postgres://127.0.0.1:1/keys cannot be reached"),
        "{words}"
    );
    assert!(!words.contains("hidden"), "{words}");
    let on_line = Home::empty();
    let words = on_line.refused(&["key", "list", "--store", "postgres://me:hidden@h/keys"]);
    assert!(words.contains("`--store` holds a password"), "{words}");
    assert!(!words.contains("hidden"), "{words}");
}

#[test]
fn a_store_moves_into_a_database_and_back_and_its_keysets_stay_the_same() {
    let home = Home::new();
    for _ in 0..3 {
        home.ok(&["key", "issue", "acme"]);
    }
    home.ok(&["keyset", "build", "--out", "before.keyset"]);
    let database = Database::shared().fresh();
    home.ok(&["store", "copy", "home", &database]);
    let moved = Home::kept(&home.path("")).in_database(&database);
    moved.ok(&["keyset", "build", "--out", "there.keyset"]);
    moved.ok(&["audit", "verify"]);
    let words = home.refused(&["store", "copy", "home", &database]);
    assert!(words.contains("there is a store"), "{words}");
    let said = moved.ok(&["store", "copy", &database, "back"]);
    assert!(said.contains("audit log verified up to"), "{said}");
    let run = |args: &[&str]| {
        let mut command = home.command(args);
        let output = command.env("KEYSTILE_HOME", "back").output().unwrap();
        assert!(output.status.success(), "{args:?}");
    };
    run(&["keyset", "build", "--out", "back.keyset"]);
    run(&["audit", "verify"]);
    let content = |name: &str| fs::read_to_string(home.path(name)).unwrap();
    assert_eq!(content("there.keyset"), content("before.keyset"));
    assert_eq!(content("back.keyset"), content("before.keyset"));
}

#[test]
fn a_server_is_trusted_only_with_a_certificate_that_names_it() {
    let home = Home::empty();
    let authority = Authority::new(home.path("pki"));
    authority.issue("server", "localhost");
    let (_server, port) = Database::with_tls(&home.path("pki"));
    let ca = authority.path("ca.pem");
    let at = |host: &str, more: &str| {
        format!("postgres://keystile@{host}:{port}/keystile?sslmode=verify-full{more}")
    };
    let run = |address: &str, password: &str| {
        let file = home.path("pgpass");
        fs::write(&file, format!("*:*:*:*:{password}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = home.command(&["init", "--unless-there", "--store", address]);
        let output = Command::env(&mut command, "PGPASSFILE", "pgpass")
            .output()
            .unwrap();
        crate::support::text(&output.stderr)
    };
    let rooted = format!("&sslrootcert={ca}");
    let words = run(&at("localhost", ""), "tested");
    assert!(
        words.contains("cannot be reached") && words.contains("UnknownIssuer"),
        "{words}"
    );
    let other = format!("{rooted}&hostaddr=127.0.0.1");
    let words = run(&at("db.example.com", &other), "tested");
    assert!(
        words.contains("cannot be reached") && words.contains("certificate"),
        "{words}"
    );
    let words = run(&at("localhost", &rooted), "wrong");
    assert!(
        words.contains("refuses this user, password or database"),
        "{words}"
    );
    assert!(!words.contains("wrong"), "{words}");
    assert_eq!(run(&at("localhost", &rooted), "tested"), "");
}
