//! A store that fails under a running server.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};

use serde_json::Value;

use crate::remote::through;
use crate::server::{Server, log_of, token};
use crate::support::{Home, text, word};

#[test]
fn a_damaged_page_is_in_the_log() {
    let home = Home::new();
    let owner = token(&home, "owner");
    home.ok(&["key", "issue", "acme", "--count", "900"]);
    damage(&home);
    let server = Server::start(&home, &[]);
    let listed = through(&home, &server, &owner, &["key", "list"]);
    assert_eq!(listed.status.code(), Some(1), "{}", text(&listed.stdout));

    let log = log_of(&home);
    let lines = log.lines().filter_map(|l| serde_json::from_str(l).ok());
    let said: Vec<Value> = lines.filter(|l: &Value| l["kind"] == "damaged").collect();
    assert!(!said.is_empty(), "{log}");
    for line in said {
        assert_eq!(word(&line, "level"), "ERROR");
        assert!(
            word(&line, "message").starts_with("the store is failing"),
            "{line}"
        );
        assert!(!word(&line, "error").is_empty(), "{line}");
    }
}

/// The second half of the file, where the keys are.
fn damage(home: &Home) {
    let mut file = File::options().write(true).open(home.store()).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    assert!(pages > 40, "{pages}");
    for page in pages / 2..pages {
        file.seek(SeekFrom::Start(page * 4096 + 100)).unwrap();
        file.write_all(&[1, 2, 3]).unwrap();
    }
}
