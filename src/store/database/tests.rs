//! What differs from a file. Beside `scripts/postgres` only: without a server there is nothing to
//! try.

use std::time::Duration;

use super::*;
use crate::bench::fresh_address;
use keystile_core::keyset::Algorithm;
use keystile_model::error::{Kind, Trouble};
use keystile_model::world::World;

struct Place {
    folder: tempfile::TempDir,
    address: Arc<DatabaseAddress>,
    key: MasterKey,
    world: World,
}

impl Place {
    fn new() -> Option<Self> {
        let address = fresh_address()?;
        let (folder, world) = (tempfile::tempdir().unwrap(), keystile_system::local());
        let key = MasterKey::generate(world.entropy).ok().unwrap();
        let id = StoreId([7; 8]);
        Store::create_in(&address, folder.path(), &key, id, world.entropy, |_| Ok(())).unwrap();
        Some(Self {
            folder,
            address,
            key,
            world,
        })
    }

    fn open(&self) -> Store {
        let entropy = self.world.entropy;
        Store::open_in(&self.address, self.folder.path(), &self.key, entropy, None)
            .ok()
            .unwrap()
    }
}

fn policies(store: &mut Store) -> usize {
    let mut found = 0;
    store.read(|tx| tx.each_policy(|_| found += 1)).unwrap();
    found
}

#[test]
fn a_change_in_which_a_statement_failed_is_refused_even_if_nobody_heeded_that() {
    let Some(place) = Place::new() else { return };
    let mut store = place.open();
    let done = store.write(&place.world, |tx| {
        tx.insert_policy("version: 1", 1)?;
        let failed = tx.tx.execute("INSERT INTO nowhere VALUES (1)", &[]);
        assert!(failed.unwrap_err().is(Code::StoreIo));
        Ok(())
    });
    assert!(done.is_err());
    assert_eq!(policies(&mut store), 0);
    // PostgreSQL rolls back at such a COMMIT, and reports no error.
    store.db.begin(TransactionAccess::Write).unwrap();
    assert!(store.db.batch("SELECT nothing").is_err());
    assert!(store.db.commit().unwrap_err().is(Code::StoreIo));
    // A part that failed and was given up does no harm to the rest.
    store
        .together(|store| {
            let failed = store.write(&place.world, |tx| tx.tx.batch("SELECT nothing"));
            assert!(failed.is_err());
            store.write(&place.world, |tx| tx.insert_policy("version: 1", 1))
        })
        .unwrap();
    assert_eq!(policies(&mut store), 1);
}

#[test]
fn a_lost_connection_undoes_its_change_and_is_made_again_for_the_next() {
    let Some(place) = Place::new() else { return };
    let (mut store, other) = (place.open(), place.open());
    let done = store.write(&place.world, |tx| {
        tx.insert_policy("version: 1", 1)?;
        let sql = "SELECT pg_backend_pid()";
        let process: i64 = tx.tx.one(sql, &[], |r| r.get(0))?;
        other
            .db
            .batch(&format!("SELECT pg_terminate_backend({process})"))?;
        while tx.tx.batch("SELECT 1").is_ok() {}
        tx.insert_policy("version: 1", 2)
    });
    let lost = done.unwrap_err();
    assert!(lost.is(Code::StoreUnreachable), "{lost}");
    assert_eq!(lost.kind(), Kind::Store(Trouble::Access));
    assert_eq!(policies(&mut store), 0);
    let insert = |tx: &mut crate::Tx<'_>| tx.insert_policy("version: 1", 1);
    store.write(&place.world, insert).unwrap();
    assert_eq!(policies(&mut store), 1);
}

#[test]
fn one_writes_at_a_time_and_readers_wait_for_nobody() {
    let Some(place) = Place::new() else { return };
    let (mut one, mut two) = (place.open(), place.open());
    two.db.wait_for_others(Duration::from_millis(50)).unwrap();
    one.write(&place.world, |tx| {
        tx.insert_policy("version: 1", 1)?;
        let busy = two.write(&place.world, |_| Ok(()));
        assert!(busy.unwrap_err().is(Code::StoreBusy));
        assert_eq!(policies(&mut two), 0, "as it was committed last");
        Ok(())
    })
    .unwrap();
    assert_eq!(policies(&mut two), 1);
    let seen = one.read(|tx| {
        let insert = |tx: &mut crate::Tx<'_>| tx.insert_policy("version: 1", 2);
        two.write(&place.world, insert)?;
        let mut found = 0;
        tx.each_policy(|_| found += 1)?;
        Ok(found)
    });
    assert_eq!(
        seen.unwrap(),
        1,
        "what was written since is not in a snapshot"
    );
    let written = one.read(|tx| tx.tx.execute("DELETE FROM policy", &[]));
    assert!(written.unwrap_err().is(Code::StoreAccess));
}

#[test]
fn many_rows_come_in_parts_between_which_others_are_read() {
    let Some(place) = Place::new() else { return };
    let mut store = place.open();
    store
        .read(|tx| {
            let numbers = "SELECT n FROM generate_series(1, ?) AS n";
            let mut sum = 0_i64;
            tx.tx.each(numbers, params![3000_i64], |row| {
                let n: i64 = row.get(0)?;
                tx.tx.each(numbers, params![n], |row| {
                    sum += row.get::<i64>(0)?;
                    Ok(sum % 7 != 0)
                })?;
                sum += tx.tx.one("SELECT ?", params![n], |r| r.get::<i64>(0))?;
                Ok(n < 2000)
            })?;
            assert!(sum > 2_000_000, "{sum}");
            Ok(())
        })
        .unwrap();
}

/// Not trouble of the store: it is the caller's value, and the server stays ready.
#[test]
fn a_value_that_no_text_can_hold_is_refused_and_an_attempt_with_it_is_recorded() {
    let Some(place) = Place::new() else { return };
    let mut store = place.open();
    let asked = store.read(|tx| tx.client("a\0b").map(drop));
    assert!(asked.unwrap_err().is(Code::HiddenCharacters));
    store
        .write(&place.world, |tx| {
            tx.audit_refused(&place.world, "key.issue", "a\0b", "a\0b", "no `\0` here")
        })
        .unwrap();
    let log = store.read(|tx| tx.last_audit(&crate::Query::default(), 1));
    assert_eq!(log.unwrap()[0].subject, "a\u{fffd}b");
}

/// Who may write rows could have a private key exported as a shared secret otherwise.
#[test]
fn a_signing_key_opens_with_its_own_algorithm_alone() {
    let Some(place) = Place::new() else { return };
    let mut store = place.open();
    store
        .write(&place.world, |tx| {
            tx.insert_signing_key("k", Algorithm::Ed25519, &[7; 32], 1)
        })
        .unwrap();
    let algorithm = |store: &mut Store| {
        store.read(|tx| Ok(tx.signing_keys()?.iter().map(|k| k.algorithm).next()))
    };
    assert_eq!(algorithm(&mut store).unwrap(), Some(Algorithm::Ed25519));
    store.batch("UPDATE signing_key SET algorithm = 'hmac-sha256'");
    assert!(algorithm(&mut store).unwrap_err().is(Code::StoreDamaged));
}
