//! What servers share. Beside `scripts/postgres` only.

use super::fleet::{Announcement, ObservedRow};
use super::*;
use crate::Store;
use crate::bench::fresh_address;
use crate::master_key::MasterKey;
use keystile_core::keyset::StoreId;
use keystile_core::limit::bucket::Bucket;
use tempfile::TempDir;

/// A fresh store, with what is put into it.
fn filled(fill: impl FnOnce(&mut Store) -> Result<()>) -> Option<(TempDir, Store)> {
    let address = fresh_address()?;
    let (folder, world) = (tempfile::tempdir().unwrap(), keystile_system::local());
    let key = MasterKey::generate(world.entropy).ok().unwrap();
    let (id, entropy) = (StoreId([7; 8]), world.entropy);
    Store::create_in(&address, folder.path(), &key, id, entropy, fill).unwrap();
    let store = Store::open_in(&address, folder.path(), &key, entropy, None);
    Some((folder, store.ok().unwrap()))
}

/// The shared tables of a fresh store.
fn shared() -> Option<SharedTables> {
    let (_folder, store) = filled(|_| Ok(()))?;
    let address = store.db.server().unwrap().address();
    Some(SharedTables::open(address).unwrap())
}

#[test]
fn what_servers_note_is_copied_to_another_database_and_replaced_by_whoever_knows_it() {
    let world = keystile_system::local();
    let Some((_folder, mut from)) = filled(|_| Ok(())) else {
        return;
    };
    let mut set = |over: Option<&str>, text: &str| {
        from.write(&world, |tx| tx.set_mark("sent", over, text))
            .unwrap()
    };
    assert!(set(None, "7"));
    assert!(!set(None, "3"), "another server has been faster");
    assert!(set(Some("7"), "9"));
    let (_folder, mut to) = filled(|to| to.copy_from(&mut from, &mut |_, _| {})).unwrap();
    let noted = to.read(|tx| tx.mark("sent")).unwrap();
    assert_eq!(noted.as_deref(), Some("9"));
}

#[test]
fn a_refusal_takes_from_no_bucket() {
    let Some(mut shared) = shared() else { return };
    let bucket = |burst| Bucket::new(1, 3600, burst).unwrap();
    let wide = ("wide".to_owned(), bucket(3));
    let narrow = ("narrow".to_owned(), bucket(1));
    let both = [wide.clone(), narrow];
    assert!(shared.take(&both).unwrap().is_ok());
    for _ in 0..5 {
        assert!(shared.take(&both).unwrap().is_err());
    }
    for _ in 0..2 {
        assert!(shared.take(std::slice::from_ref(&wide)).unwrap().is_ok());
    }
    assert!(shared.take(&[wide]).unwrap().is_err());
}

#[test]
fn what_a_server_does_not_know_any_more_is_removed_once_others_have_read_it() {
    let Some(mut shared) = shared() else { return };
    let row = |seq, body: &str| ObservedRow {
        node: format!("edge-{seq}"),
        seq,
        body: body.to_owned(),
    };
    let mut say = |rows: &[ObservedRow], sweep| {
        let said = Announcement {
            id: "a",
            published: 1,
            renews: true,
            rows,
            sweep,
        };
        shared.say(&said).unwrap();
        let left = shared.observed("a", 0).unwrap();
        left.iter().map(|row| row.seq).collect::<Vec<_>>()
    };
    let rows = [row(1, "{}"), row(2, ""), row(3, "")];
    assert_eq!(say(&rows, None), [1, 2, 3]);
    let many: Vec<ObservedRow> = (4..=200).map(|seq| row(seq, "{}")).collect();
    assert_eq!(say(&many, None), (1..=200).collect::<Vec<_>>());
    assert_eq!(say(&many, None).len(), 200, "each Envoy has one");
    let left: Vec<u64> = [1].into_iter().chain(3..=200).collect();
    assert_eq!(say(&[], Some(2)), left);
}
