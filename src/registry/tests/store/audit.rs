//! The audit log in the store: what is searched, kept beside and cut.

use super::*;
use crate::audit as log;
use keystile_model::audit::Checkpoint;
use keystile_system as system;

mod search;

fn verified(b: &mut Bench) -> Result<log::Verified> {
    log::verify(&mut b.store, None)
}

fn did(b: &mut Bench, user: &str, action: &str) {
    let mut world = system::at(NOON);
    world.actor.user = user.to_owned();
    let write = |tx: &mut Tx<'_>| tx.audit(&world, action, "x", None, None);
    b.store.write(&world, write).unwrap();
}

/// As who holds the master key would cut it: with the store's own memory of the end.
fn cut_off(b: &mut Bench, last: u64) {
    let record = b.store.read(|tx| tx.audit_record(last)).unwrap().unwrap();
    b.sql(&format!("DELETE FROM audit WHERE seq > {last}"));
    let values = [signed(last).into(), record.hash.0.to_vec().into()];
    let sql = "UPDATE meta SET audit_seq = ?, audit_hash = ?";
    b.store.run(sql, &values);
}

#[test]
fn a_tail_cut_off_together_with_the_memory_of_it_is_noticed_by_the_checkpoint_beside() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 5);
    let last = verified(&mut b).unwrap().head.seq;
    cut_off(&mut b, last - 2);
    assert_eq!(b.verify(), Ok(()), "the chain alone does not show it");
    let words = verified(&mut b).unwrap_err().to_string();
    assert!(
        words.starts_with(&format!("audit record {last} was removed or replaced")),
        "{words}"
    );
    // Going on as if nothing had been does not hide it.
    b.issue(&system::at(NOON + 1), 9);
    assert!(verified(&mut b).is_err());
}

#[test]
fn a_checkpoint_beside_that_is_not_the_stores_own_is_noticed() {
    let mut b = Bench::new();
    let kept = verified(&mut b).unwrap().kept.unwrap();
    let forged = Checkpoint {
        tag: [1; 32],
        ..kept
    };
    std::fs::write(b.store.head_file(), format!("{forged}\n")).unwrap();
    let words = verified(&mut b).unwrap_err().to_string();
    assert!(words.contains("was not signed by this store"), "{words}");
    // As after a power failure; whoever can empty the file can also remove it.
    std::fs::write(b.store.head_file(), "").unwrap();
    assert_eq!(verified(&mut b).unwrap().kept, None);
    std::fs::remove_file(b.store.head_file()).unwrap();
    assert_eq!(verified(&mut b).unwrap().kept, None);
}

#[test]
fn the_rest_of_a_pruned_log_verifies_and_goes_on() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 5);
    let old = verified(&mut b).unwrap().head;
    b.issue(&system::at(NOON + 100), 5);
    let world = system::at(NOON + 200);
    let removed = log::prune(&mut b.store, &world, NOON + 100).unwrap();
    assert_eq!(removed.removed, old.seq);
    let found = verified(&mut b).unwrap();
    assert_eq!(found.start, old);
    assert_eq!(found.head.seq, old.seq + 6, "the removal is a record too");
    let again = log::prune(&mut b.store, &world, NOON + 100);
    assert_eq!(again, Ok(log::Pruned::default()));

    // A head that was noted at the cut, and one before it.
    let mut expect = |head| log::verify(&mut b.store, Some(head));
    assert!(expect(old).is_ok());
    let gone = Head {
        seq: old.seq - 1,
        ..old
    };
    assert!(
        expect(gone)
            .unwrap_err()
            .is(keystile_model::error::Code::AuditBroken)
    );
}

#[test]
fn records_that_were_not_sent_yet_are_not_pruned_by_anybody() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 5);
    let head = verified(&mut b).unwrap().head;
    let noted = b.store.head_file().with_file_name(log::SENT);
    let mut prune = |sent: Head| {
        std::fs::write(&noted, format!("{sent}\n")).unwrap();
        log::prune(&mut b.store, &system::at(NOON + 200), NOON + 100).unwrap()
    };
    let nothing = Head::NOTHING;
    // What a log that is lost had as its last record, and this one never had, or not so.
    let further = Head {
        seq: head.seq + 10,
        ..head
    };
    let other = Head {
        link: nothing.link,
        ..head
    };
    for sent in [nothing, further, other] {
        let pruned = prune(sent);
        assert_eq!((pruned.removed, pruned.unsent), (0, head.seq), "{sent}");
    }
    let third = b.store.read(|tx| tx.audit_record(3)).unwrap().unwrap();
    let mut prune = |sent: Head| {
        std::fs::write(&noted, format!("{sent}\n")).unwrap();
        log::prune(&mut b.store, &system::at(NOON + 200), NOON + 100).unwrap()
    };
    let pruned = prune(third.head());
    assert_eq!((pruned.removed, pruned.unsent), (3, head.seq - 3));
    let pruned = prune(head);
    assert_eq!((pruned.removed, pruned.unsent), (head.seq - 3, 0));
    assert!(verified(&mut b).is_ok());
}

#[test]
fn records_removed_by_anybody_else_are_noticed() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 5);
    let third = b.store.read(|tx| tx.audit_record(3)).unwrap().unwrap();
    b.sql("DELETE FROM audit WHERE seq <= 3");
    b.store.run(
        "UPDATE meta SET audit_start = 3, audit_start_hash = ?, audit_start_tag = ?",
        &[third.hash.0.to_vec().into(), vec![0; 32].into()],
    );
    assert_eq!(b.verify(), Ok(()), "the chain alone does not show it");
    let words = verified(&mut b).unwrap_err().to_string();
    assert!(
        words.starts_with("audit records up to 3 were removed"),
        "{words}"
    );
}

#[test]
fn a_young_record_keeps_those_behind_it() {
    let mut b = Bench::new();
    let before = verified(&mut b).unwrap().head.seq;
    b.issue(&system::at(NOON + 500), 1);
    // The clock went back.
    b.issue(&system::at(NOON), 3);
    let world = system::at(NOON + 600);
    let pruned = log::prune(&mut b.store, &world, NOON + 100).unwrap();
    assert_eq!(pruned.removed, before);
    assert!(verified(&mut b).is_ok());
}

/// The snapshot and the checkpoint beside the store are looked at in turns that writers
/// come between.
#[test]
fn a_log_that_others_write_to_meanwhile_is_never_taken_for_one_that_was_changed() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let mut b = Bench::new();
    let done = AtomicBool::new(false);
    let door = b.door();
    let write = |n: u64| {
        let mut store = door.open().ok().unwrap();
        let mut at = NOON;
        while !done.load(Ordering::Relaxed) {
            at += 1;
            let world = system::at(at);
            let said = |tx: &mut Tx<'_>| tx.audit(&world, "test.write", &n.to_string(), None, None);
            store.write(&world, said).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| write(1));
        scope.spawn(|| write(2));
        let mut store = b.open().ok().unwrap();
        let mut wrong = Vec::new();
        let mut records = 0;
        for runs in 0.. {
            if runs >= 60 && records >= 1500 {
                break;
            }
            store.check().unwrap_or_else(|e| wrong.push(e.to_string()));
            match log::verify(&mut store, None) {
                Ok(found) => records = found.head.seq,
                Err(e) => {
                    wrong.push(e.to_string());
                    break;
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(wrong, Vec::<String>::new());
    });
    assert!(verified(&mut b).is_ok());
}

/// Beside a log that is written ahead, a page of the file that is not as it was written is
/// noticed too.
#[test]
fn a_damaged_page_is_noticed_while_others_have_the_store_open() {
    let mut b = Bench::in_file();
    b.issue(&system::at(NOON), 300);
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    b.store
        .database()
        .query_row(checkpoint, [], |_| Ok(()))
        .unwrap();
    b.issue(&system::at(NOON + 1), 1);
    b.store.check().unwrap();
    assert!(b.store.has_wal());
    let mut bytes = std::fs::read(&b.path).unwrap();
    let pages = bytes.len() / 4096;
    // In the middle, so that some of them were not written to since.
    for page in [pages / 2, pages / 2 + 1, pages / 2 + 2] {
        bytes[page * 4096 + 100] ^= 1;
    }
    use std::io::{Seek as _, Write as _};
    let mut file = std::fs::File::options().write(true).open(&b.path).unwrap();
    file.seek(std::io::SeekFrom::Start(0)).unwrap();
    file.write_all(&bytes).unwrap();
    let words = b.store.check().unwrap_err().to_string();
    assert!(words.contains("the store is damaged"), "{words}");
}
