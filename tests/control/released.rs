//! Stores and keysets as earlier versions wrote them (`tests/vectors/stores`), and what a version
//! says of a store that a later one wrote.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::Home;
use crate::updating::{database, version};

/// Each as it was written, in a folder of its own.
fn kept() -> Vec<(u32, Home)> {
    let all = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/stores"));
    let folders = fs::read_dir(all)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let folders = folders.filter(|path| path.is_dir());
    let mut kept: Vec<(u32, Home)> = folders.map(|folder| copied(&folder)).collect();
    kept.sort_by_key(|(schema, _)| *schema);
    kept
}

fn copied(folder: &Path) -> (u32, Home) {
    let home = Home::empty();
    let to: PathBuf = home.path("home");
    fs::DirBuilder::new().mode(0o700).create(&to).unwrap();
    for entry in fs::read_dir(folder.join("home")).unwrap() {
        let file = entry.unwrap();
        let copy = to.join(file.file_name());
        fs::copy(file.path(), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::copy(folder.join("keyset.json"), home.path("keyset.json")).unwrap();
    let schema = folder.file_name().unwrap().to_str().unwrap();
    (schema.parse().unwrap(), home)
}

#[test]
fn a_store_that_an_earlier_version_wrote_opens_with_all_that_was_in_it() {
    let kept = kept();
    assert!(!kept.is_empty());
    for (schema, home) in kept {
        assert_eq!(version(&home), schema, "the folder has the schema's number");
        // The first command that writes updates it.
        home.ok(&["keyset", "renew"]);
        let said = home.ok(&["audit", "verify"]);
        assert!(said.contains("none changed"), "{schema}: {said}");
        let keys = home.json(&["key", "list"]);
        let keys = keys.as_array().unwrap().iter();
        let field = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
        let mut keys: Vec<_> = keys.map(|k| (field(k, "id"), field(k, "status"))).collect();
        keys.sort();
        let status = |id: &str, status: &str| (id.to_owned(), status.to_owned());
        assert_eq!(
            keys,
            [
                status("2UN5Y2vs14", "revoked"),
                status("o36gtXTZbr", "active")
            ],
            "{schema}"
        );
        let tokens = home.json(&["token", "list"]);
        assert_eq!(tokens[0]["name"], "ops", "{schema}: {tokens}");
        home.ok(&["key", "rotate", "o36gtXTZbr"]);
    }
}

#[test]
fn a_keyset_that_an_earlier_version_built_is_still_accepted() {
    for (schema, home) in kept() {
        home.ok(&["keyset", "renew"]);
        home.ok(&["keyset", "verify", "keyset.json"]);
        let shown = home.json(&["keyset", "inspect", "keyset.json"]);
        assert_eq!(shown["keys"], 2, "{schema}: {shown}");
        // What it holds is what the store holds, but for when it was built.
        home.ok(&["keyset", "build", "--out", "now.json"]);
        let now = home.json(&["keyset", "inspect", "now.json"]);
        for field in ["store", "keys", "revoked", "policy"] {
            assert!(!shown[field].is_null(), "{field}");
            assert_eq!(shown[field], now[field], "{schema}: {field}");
        }
    }
}

#[test]
fn a_store_that_a_later_version_wrote_is_refused_with_a_sentence() {
    let home = Home::new();
    let later = version(&home) + 1;
    let sql = database(&home);
    sql.pragma_update(None, "user_version", later).unwrap();
    drop(sql);
    let before = fs::read(home.store()).unwrap();
    for args in [&["key", "list"][..], &["key", "issue", "acme"], &["serve"]] {
        let words = home.refused_soon(args);
        let sentence =
            "was written by a newer version of Keystile; use that one, or update this one";
        assert!(words.contains(sentence), "{args:?}: {words}");
    }
    assert_eq!(version(&home), later);
    assert!(fs::read(home.store()).unwrap() == before);
}
