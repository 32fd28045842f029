//! A store in PostgreSQL, as a person meets it.

use std::fs;

use crate::postgres::Postgres;
use crate::support::{Home, word};

fn home() -> Home {
    Home::empty().in_database(&Postgres::shared().fresh())
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
    let dump = Postgres::shared().dump(home.database());
    assert!(dump.contains("acme"));
    assert!(!dump.contains(&key[key.len() - 40..]), "a key");
    assert!(!dump.contains(secret), "a signing key as text");
    let kept = Postgres::shared().sql(home.database(), "SELECT length(secret) FROM signing_key");
    assert_eq!(kept.trim(), "60", "32 bytes with nonce and tag");
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
