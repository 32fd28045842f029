//! What differs from a file. Beside `scripts/postgres` only: without a server there is nothing to
//! try.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::bench::fresh_address;
use crate::schema::Scripts;
use crate::shared::SharedTables;
use crate::shared::fleet::Announcement;
use crate::turn::ServerTurn;
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

/// As `oldest`: nobody else can go on.
const NEVER: &str = "1000";

/// As the next version would update it.
fn updated_by_another(store: &Store, oldest: &str) {
    store.batch(&format!(
        "ALTER TABLE client ADD COLUMN IF NOT EXISTS later BIGINT NOT NULL DEFAULT 7;
         UPDATE schema_version SET version = {}, oldest = {oldest}",
        SCRIPTS.newest() + 1
    ));
}

#[test]
fn a_server_goes_on_beside_a_newer_schema_if_that_says_so() {
    let Some(place) = Place::new() else { return };
    let (mut open, other) = (place.open(), place.open());
    let insert = |tx: &mut crate::Tx<'_>| tx.insert_policy("version: 1", 1);
    updated_by_another(&other, "oldest");
    open.write(&place.world, insert).unwrap();
    assert_eq!(policies(&mut place.open()), 1, "and new processes do");
    for not in [NEVER, "NULL"] {
        updated_by_another(&other, not);
        let refused = open.write(&place.world, insert).unwrap_err();
        assert!(refused.is(Code::StoreNewer), "{refused}");
        let entropy = place.world.entropy;
        let (folder, key) = (place.folder.path(), &place.key);
        let refused = Store::open_in(&place.address, folder, key, entropy, None);
        assert!(refused.err().unwrap().is(Code::StoreNewer));
        let mut shared = SharedTables::open(&place.address).unwrap();
        let said = Announcement {
            id: "a",
            published: 1,
            renews: true,
            rows: &[],
            sweep: None,
        };
        assert!(shared.say(&said).unwrap_err().is(Code::StoreNewer));
        let mut turn = ServerTurn::open(&place.address).unwrap();
        assert!(turn.take().unwrap_err().is(Code::StoreNewer));
    }
}

#[test]
fn a_store_of_which_only_a_part_is_known_is_not_copied() {
    let Some(place) = Place::new() else { return };
    let (mut from, elsewhere) = (place.open(), Place::new().unwrap());
    updated_by_another(&from, "oldest");
    let copied = elsewhere.open().copy_from(&mut from, &mut |_, _| {});
    assert!(copied.unwrap_err().is(Code::StoreNewer));
}

#[test]
fn the_turn_is_given_up_by_a_server_that_may_not_go_on() {
    let Some(place) = Place::new() else { return };
    let store = place.open();
    let mut turns = [(); 2].map(|()| ServerTurn::open(&place.address).unwrap());
    let mut take = |n: usize| turns[n].take();
    assert_eq!((take(0).unwrap(), take(1).unwrap()), (true, false));
    updated_by_another(&store, NEVER);
    assert!(take(0).unwrap_err().is(Code::StoreNewer));
    store.set_schema(SCRIPTS.newest());
    assert!(take(1).unwrap());
}

#[test]
fn an_update_that_only_adds_asks_nobody_to_stop() {
    let Some(place) = Place::new() else { return };
    let asked = Arc::new(AtomicBool::new(false));
    let count = Arc::clone(&asked);
    let alone: ExclusiveHold = Arc::new(move || {
        count.store(true, Ordering::Relaxed);
        Ok(Box::new(()))
    });
    let next = |oldest| Scripts {
        sqlite: &[""; 32],
        postgres: &["ALTER TABLE client ADD COLUMN IF NOT EXISTS later BIGINT"; 32],
        oldest,
    };
    let mut store = place.open();
    let newest = SCRIPTS.newest();
    schema::update(&store.db, THE_STORE, &next(newest), Some(&alone)).unwrap();
    assert!(!asked.load(Ordering::Relaxed));
    assert_eq!(store.schema(), 32);
    let insert = |tx: &mut crate::Tx<'_>| tx.insert_policy("version: 1", 1);
    store.write(&place.world, insert).unwrap();

    store.set_schema(newest);
    schema::update(&store.db, THE_STORE, &next(newest + 1), Some(&alone)).unwrap();
    assert!(asked.load(Ordering::Relaxed));
    let refused = store.write(&place.world, insert).unwrap_err();
    assert!(refused.is(Code::StoreNewer), "{refused}");
}

#[test]
fn an_update_beside_a_long_reader_is_made_when_it_has_ended() {
    let Some(place) = Place::new() else { return };
    let (mut reading, updating) = (place.open(), place.open());
    let next = Scripts {
        sqlite: &[""; 32],
        postgres: &["ALTER TABLE policy ADD COLUMN IF NOT EXISTS later BIGINT"; 32],
        oldest: SCRIPTS.newest(),
    };
    let has_read = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (begun, begins) = std::sync::mpsc::channel();
        let (done, waits) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            reading
                .read(|tx| {
                    tx.each_policy(|_| {})?;
                    begun.send(()).unwrap();
                    // Longer than it waits at once.
                    let _ = waits.recv_timeout(Duration::from_millis(1200));
                    has_read.store(true, Ordering::SeqCst);
                    Ok(())
                })
                .unwrap();
        });
        begins.recv().unwrap();
        let alone = schema::nobody_else();
        schema::update(&updating.db, THE_STORE, &next, Some(&alone)).unwrap();
        assert!(has_read.load(Ordering::SeqCst), "it waited");
        drop(done);
    });
    assert_eq!(updating.schema(), 32);
}
