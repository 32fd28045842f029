//! A store that an earlier version wrote, and commands that only read.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{Connection, OpenFlags};

use crate::support::Home;

/// The store's database, opened behind the program's back.
pub fn database(home: &Home) -> Connection {
    let db = Connection::open_with_flags(home.store(), OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let key = fs::read_to_string(home.path("home/master.key")).unwrap();
    let key = URL_SAFE_NO_PAD.decode(key.trim()).unwrap();
    let key: String = key.iter().map(|b| format!("{b:02x}")).collect();
    db.pragma_update(None, "key", format!("x'{key}'")).unwrap();
    db
}

/// Of its schema.
pub fn version(home: &Home) -> u32 {
    let read = |db: Connection| db.query_row("PRAGMA user_version", [], |r| r.get(0));
    read(database(home)).unwrap()
}

#[test]
fn a_command_that_only_reads_updates_no_store() {
    let home = Home::new();
    home.ok(&["key", "issue", "acme"]);
    home.ok(&[
        "push",
        "--ecds-file",
        "ecds.json",
        "--wasm",
        "keystile.wasm",
    ]);
    let earlier = version(&home) - 1;
    database(&home)
        .pragma_update(None, "user_version", earlier)
        .unwrap();
    let before = fs::read(home.store()).unwrap();
    for args in [
        &["key", "list"][..],
        &["client", "list"],
        &["client", "show", "acme"],
        &["token", "list"],
        &["webhook", "list"],
        &["policy", "show"],
        &["audit", "list"],
        &["audit", "verify"],
        &["audit", "export"],
        &["usage"],
        &["quota", "show", "acme"],
        &["signing-key", "list"],
        &["signing-key", "export"],
        &["key", "lost"],
        &["keyset", "build"],
        &[
            "push",
            "--ecds-file",
            "ecds.json",
            "--wasm",
            "keystile.wasm",
        ],
        &["render", "envoy", "--static", "--wasm", "keystile.wasm"],
        &[
            "render",
            "istio",
            "--image",
            "oci://registry.example.com/keystile:1",
        ],
    ] {
        let words = home.refused(args);
        for part in [
            "was written by an earlier version, and a command that only reads does not update it",
            "make a copy of the folder, then run `keystilectl keyset renew` or `keystilectl serve`",
        ] {
            assert!(words.contains(part), "{args:?}: {words}");
        }
        assert_eq!(version(&home), earlier, "{args:?}");
    }
    assert!(fs::read(home.store()).unwrap() == before);
}
