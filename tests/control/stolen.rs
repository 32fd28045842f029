//! What somebody gets who takes a copy of the store, or of a back-up, without the master key.

use std::fs;

use crate::support::{Home, word};

fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|w| w == needle.as_bytes())
}

#[test]
fn a_stolen_store_or_backup_says_nothing_and_opens_with_its_own_master_key_alone() {
    let home = Home::new();
    let key = word(
        &home.json(&["key", "issue", "acme", "--name", "payments"]),
        "key",
    );
    let token = word(
        &home.json(&["token", "create", "pipeline", "--role", "issuer"]),
        "token",
    );
    let node = home.ok(&["node", "enroll", "edge-1"]);
    let signing = home.ok(&["signing-key", "export"]);
    let last = |text: &str| text.trim().rsplit([':', '=']).next().unwrap().to_owned();
    home.ok(&["backup", "kept.db"]);
    let stolen = ["kept.db", "home/store.db"];
    for file in stolen {
        let bytes = fs::read(home.path(file)).unwrap();
        assert!(bytes.len() > 20_000, "{file}");
        for text in [
            "SQLite format 3",
            "CREATE TABLE",
            "acme",
            "payments",
            "pipeline",
            "edge-1",
            "/v1/",
            &key[8..],
            &token[8..],
            &last(&node),
            &last(&signing),
        ] {
            assert!(!holds(&bytes, text), "{file} holds `{text}`");
        }
    }
    // Neither opens with the master key of another store.
    let other = Home::new();
    for (n, file) in stolen.iter().enumerate() {
        let folder = home.path(&format!("thief{n}"));
        fs::create_dir(&folder).unwrap();
        fs::copy(other.path("home/master.key"), folder.join("master.key")).unwrap();
        let folder = folder.display().to_string();
        home.refused(&["--home", &folder, "restore", file]);
        fs::copy(home.path(file), home.path(&format!("thief{n}/store.db"))).unwrap();
        home.refused(&["--home", &folder, "key", "list"]);
    }
    // A single byte that was changed in a back-up is noticed by whoever restores it.
    let mut bytes = fs::read(home.path("kept.db")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(home.path("changed.db"), bytes).unwrap();
    let own = home.path("own");
    fs::create_dir(&own).unwrap();
    fs::copy(home.path("home/master.key"), own.join("master.key")).unwrap();
    let own = own.display().to_string();
    home.refused(&["--home", &own, "restore", "changed.db"]);
    home.ok(&["--home", &own, "restore", "kept.db"]);
}
