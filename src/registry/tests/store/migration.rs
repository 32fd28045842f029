//! Stores of former versions.

use rusqlite::params;

use super::*;
use keystile_model::audit::Format;
use keystile_system as system;

/// What version 1 of the schema was filled with, by its own columns.
fn version_1(path: &std::path::Path, key: &MasterKey) {
    let store = Store::blank(path, key);
    let db = store.database();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.execute_batch(SCRIPTS[0]).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    let mut head = Head {
        seq: 0,
        link: Link::GENESIS,
    };
    for (action, subject, before, after) in [
        ("store.create", "store", "", "{}"),
        ("client.create", "acme", "", r#"{"client":"acme"}"#),
        ("key.issue", "0000000001", "", r#"{"client":"acme"}"#),
        (
            "key.revoke",
            "0000000001",
            r#"{"client":"acme"}"#,
            r#"{"client":"acme","revoked":"x"}"#,
        ),
        ("client.delete", "acme", r#"{"client":"acme"}"#, ""),
    ] {
        let r = Record {
            format: Format::One,
            action: action.to_owned(),
            subject: subject.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
            ..Record::new(&system::at(NOON))
        }
        .after(head);
        db.execute(
            "INSERT INTO audit (seq, at_ms, uid, user, host, action, subject, before, after, prev, hash)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                signed(r.seq),
                signed(r.at.ms()),
                r.actor.uid,
                r.actor.user,
                r.actor.host,
                r.action,
                r.subject,
                r.before,
                r.after,
                r.prev.0,
                r.hash.0
            ],
        )
        .unwrap();
        head = r.head();
    }
    db.execute(
        "INSERT INTO meta VALUES (1, ?, 77, 77, ?, ?)",
        params![[7u8; 8], signed(head.seq), head.link.0],
    )
    .unwrap();
    db.execute(
        "INSERT INTO policy (text, applied) VALUES (?, 0)",
        [policy_file::DEFAULT],
    )
    .unwrap();
    db.execute_batch(
        "INSERT INTO client (name, plan, description, labels, created) VALUES ('acme', NULL, '', '', 0);
         INSERT INTO key (id, client, digest, imported, name, environment, publishable, scopes, limits,
           disabled, reason, lineage, allow, deny, origins, labels, created)
         VALUES (1, 1, randomblob(32), 0, '', 'live', 0, 'read', '', 0, '', 1, '', '', '', '', 5);",
    )
    .unwrap();
    store.close().unwrap();
}

/// A store of version 1, opened by this one.
fn opened_of_version_1() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let key = MasterKey::generate(system::at(NOON).entropy).ok().unwrap();
    version_1(&path, &key);
    let store = Store::open(&path, &key).ok().unwrap();
    Bench {
        database: None,
        store,
        key,
        path,
        folder,
    }
}

#[test]
fn a_store_of_version_1_opens_with_all_that_was_in_it() {
    let mut b = opened_of_version_1();
    assert_eq!(b.store.schema(), SCRIPTS.len());
    assert_eq!(b.verify(), Ok(()), "records of format 1 verify");
    assert_eq!(b.version(), 77);
    let rows = |b: &mut Bench, version| b.store.read(|tx| tx.rows_since(version)).unwrap().len();
    assert_eq!((rows(&mut b, 76), rows(&mut b, 77)), (1, 0));

    let query = Query {
        client: Some("acme".to_owned()),
        ..Query::default()
    };
    let found = b.store.read(|tx| tx.last_audit(&query, 10)).unwrap();
    let actions: Vec<_> = found.iter().map(|r| r.action.as_str()).collect();
    assert_eq!(
        actions,
        ["client.delete", "key.revoke", "key.issue", "client.create"]
    );

    let world = system::at(NOON + 1);
    let issued = b.issue(&world, 1);
    key::rotate(&mut b.store, &world, issued[0].key.id, 5, None)
        .ok()
        .unwrap();
    assert_eq!(
        b.verify(),
        Ok(()),
        "records of format 2 follow those of format 1"
    );
    let found = crate::audit::verify(&mut b.store, None).unwrap();
    assert!(found.kept.is_some(), "and the end is kept beside");
}

#[test]
fn what_a_record_of_format_1_could_not_say_is_a_change_of_it() {
    for change in [
        "address = 'x'",
        "request = 'x'",
        "outcome = 'refused'",
        "reason = 'x'",
    ] {
        let mut b = opened_of_version_1();
        b.sql(&format!("UPDATE audit SET {change} WHERE seq = 2"));
        assert_eq!(b.verify(), Err(Broken::Changed(2)), "{change}");
    }
}
