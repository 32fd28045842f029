//! What the file of a store shows to somebody without its master key.

use super::*;
use crate::bench::Door;

#[test]
fn nothing_readable_is_in_the_file() {
    let mut b = Bench::in_file();
    let issued = b.issue(&system::at(NOON), 1);
    let text = issued[0].text.expose_secret().to_owned();
    // From the write-ahead log into the file.
    let Bench {
        store,
        path,
        folder: _folder,
        ..
    } = b;
    store.close().unwrap();
    let bytes = std::fs::read(path).unwrap();
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
    assert!(bytes.len() > 10_000);
    for needle in [
        b"SQLite format 3".as_slice(),
        b"acme",
        b"CREATE TABLE",
        text.as_bytes(),
    ] {
        assert!(!holds(needle));
    }
}

#[test]
fn no_part_of_a_key_but_its_id_is_in_the_store() {
    let mut b = Bench::in_file();
    let issued = b.issue(&system::at(NOON), 1);
    let text = issued[0].text.expose_secret();
    let secret = &text[text.len() - 49..text.len() - 6];
    let mut dump = String::new();
    for table in [
        "meta",
        "client",
        "key",
        "policy",
        "signing_key",
        "audit",
        "token",
        "replay",
    ] {
        let mut statement = b
            .store
            .database()
            .prepare(&format!("SELECT * FROM {table}"))
            .unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for i in 0..columns {
                let value: rusqlite::types::Value = row.get(i).unwrap();
                if let rusqlite::types::Value::Blob(blob) = &value {
                    dump.push_str(&String::from_utf8_lossy(blob));
                }
                dump.push_str(&format!("{value:?}\n"));
            }
        }
    }
    assert!(dump.contains("acme"));
    assert!(!dump.contains(secret));
    assert!(!dump.contains(&secret[..12]));
}

#[test]
fn another_master_key_opens_nothing() {
    let b = Bench::new();
    let other = MasterKey::generate(system::at(NOON).entropy).ok().unwrap();
    let error = Door {
        key: &other,
        ..b.door()
    }
    .open()
    .err()
    .unwrap();
    let code = match b.database {
        None => Code::StoreUndecryptable,
        Some(_) => Code::MasterKeyWrong,
    };
    assert!(error.is(code), "{error}");
    assert!(b.open().is_ok());
}

#[test]
fn a_store_of_a_newer_schema_is_refused() {
    let b = Bench::new();
    b.store.set_schema(99);
    let error = b.open().err().unwrap();
    assert!(error.is(keystile_model::error::Code::StoreNewer));
}
