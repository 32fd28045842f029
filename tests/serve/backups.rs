//! A backup over the API: fetched whole, by owners only, and restored.

use std::fs;

use crate::remote::through;
use crate::server::{Server, token};
use crate::support::{Home, text};

#[test]
fn a_backup_that_was_fetched_from_a_server_restores_all_that_it_had() {
    let home = Home::new();
    // More than one piece of it.
    home.ok(&["key", "issue", "acme", "--count", "3000"]);
    let (owner, auditor) = (token(&home, "owner"), token(&home, "auditor"));
    let server = Server::start(&home, &[]);
    let refused = through(&home, &server, &auditor, &["backup", "kept.db"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("role owner"));
    assert!(!home.path("kept.db").exists());

    let done = through(&home, &server, &owner, &["backup", "kept.db"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let bytes = fs::metadata(home.path("kept.db")).unwrap().len();
    assert!(bytes > 1 << 20, "{bytes}");
    let said = text(&done.stdout);
    assert!(
        said.starts_with(&format!("kept.db: {bytes} bytes, version ")),
        "{said}"
    );
    let left = |folder: &str| {
        let names = fs::read_dir(home.path(folder)).unwrap();
        names
            .map(|f| f.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains("partial"))
            .count()
    };
    assert_eq!(
        (left(""), left("home")),
        (0, 0),
        "nothing is left, here or there"
    );
    let log = home.json(&["audit", "list", "--action", "store.backup"]);
    let user = log[0]["user"].as_str().unwrap();
    assert!(user.starts_with("token owner ("), "{user}");
    assert_eq!(log[0]["subject"], "kept.db");

    fs::create_dir(home.path("restored")).unwrap();
    fs::copy(
        home.path("home/master.key"),
        home.path("restored/master.key"),
    )
    .unwrap();
    home.ok(&["--home", "restored", "restore", "kept.db"]);
    let keys = |folder: &str| home.json(&["--home", folder, "key", "list"]);
    assert_eq!(keys("restored"), keys("home"));
}
