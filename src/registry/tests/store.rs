use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::bench::{Bench, NOON};
use crate::client;
use crate::key;
use crate::publish;
use keystile_model::audit::{Broken, Head, Link, Outcome, Record};
use keystile_model::error::{Code, Result, refuse};
use keystile_policy::file as policy_file;
use keystile_store::bench::{SCRIPTS, signed};
use keystile_store::master_key::MasterKey;
use keystile_store::*;
use keystile_system as system;

mod audit;
mod chain;
mod migration;
mod rows;
mod sealed;

#[test]
fn every_change_raises_the_version_even_if_the_clock_goes_back() {
    let mut b = Bench::new();
    let first = b.version();
    assert_eq!(first, NOON * 1000);
    b.issue(&system::at(NOON + 5), 1);
    assert_eq!(b.version(), (NOON + 5) * 1000);
    b.issue(&system::at(NOON - 1000), 1);
    assert_eq!(b.version(), (NOON + 5) * 1000 + 1);
}

#[test]
fn what_leaves_the_keyset_as_it_is_leaves_its_version() {
    let mut b = Bench::new();
    let before = b.version();
    let patch = client::ClientPatch {
        description: Some("Acme Corp.".to_owned()),
        ..client::ClientPatch::default()
    };
    client::update(&mut b.store, &system::at(NOON + 5), "acme", patch).unwrap();
    assert_eq!(b.version(), before);
}

#[test]
fn what_fails_half_way_leaves_no_trace() {
    let mut b = Bench::new();
    let version = b.version();
    let count = |b: &mut Bench| {
        b.store
            .read(|tx| Ok((tx.keys()?.len(), tx.meta().head.seq)))
            .unwrap()
    };
    let before = count(&mut b);
    let world = system::at(NOON + 5);
    let failed: Result<()> = b.store.write(&world, |tx| {
        tx.keyset_changed();
        tx.audit(&world, "key.issue", "x", None, None)?;
        Err(refuse(Code::InvalidValue, "no", "stop"))
    });
    assert!(failed.is_err());
    assert_eq!((count(&mut b), b.version()), (before, version));
    assert_eq!(b.verify(), Ok(()));
}

#[test]
fn a_transaction_reads_the_records_that_it_added() {
    let mut b = Bench::new();
    let world = system::at(NOON + 5);
    let first = b.store.read(|tx| Ok(tx.meta().head.seq)).unwrap() + 1;
    b.store
        .write(&world, |tx| {
            for n in 0..150 {
                tx.audit(&world, "key.update", "x", None, None)?;
                let read = tx.audit_record(first + n)?.unwrap();
                assert_eq!(read.subject, "x");
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(b.verify(), Ok(()));
}

#[test]
fn a_transaction_that_could_not_write_its_records_does_not_commit_without_them() {
    let mut b = Bench::new();
    let before = b.store.read(|tx| Ok(tx.meta().head)).unwrap();
    // Stands where the next record is to stand.
    b.sql(&format!(
        "INSERT INTO audit SELECT {}, at_ms, uid, \"user\", host, action, subject, before, after, prev, hash,
           format, address, request, client, outcome, reason FROM audit WHERE seq = 1",
        before.seq + 1
    ));
    let world = system::at(NOON + 5);
    let done = b.store.write(&world, |tx| {
        tx.audit(&world, "key.update", "x", None, None)?;
        let _ = tx.audit_record(1);
        Ok(())
    });
    assert!(done.is_err());
    assert_eq!(b.store.read(|tx| Ok(tx.meta().head)).unwrap(), before);
}

#[test]
fn a_client_number_is_never_used_again() {
    let mut b = Bench::new();
    let world = system::at(NOON + 5);
    let number = |b: &mut Bench| {
        b.store
            .read(|tx| Ok(tx.client("acme")?.unwrap().number))
            .unwrap()
    };
    let first = number(&mut b);
    client::delete(&mut b.store, &world, "acme", true).unwrap();
    client::create(&mut b.store, &world, client::ClientDraft::named("acme")).unwrap();
    assert!(number(&mut b) > first);
}

#[test]
fn a_keyset_is_renewed_when_half_of_its_time_has_passed() {
    let mut b = Bench::new();
    let text = format!("{}\nnot_after: 10h\n", policy_file::DEFAULT);
    let file = policy_file::parse("p", text).ok().unwrap();
    crate::policy::apply(&mut b.store, &system::at(NOON), &file)
        .ok()
        .unwrap();
    let version = b.version();
    let build = |b: &mut Bench, at| {
        publish::ready(&mut b.store, &system::at(at))
            .ok()
            .unwrap()
            .built
    };
    let first = build(&mut b, NOON);
    assert!(
        first == build(&mut b, NOON + 5 * 3600),
        "same bytes for half of the time"
    );
    assert_eq!(b.version(), version);
    let second = build(&mut b, NOON + 5 * 3600 + 1);
    assert_eq!(second.version, (NOON + 5 * 3600 + 1) * 1000);
    assert_eq!(b.verify(), Ok(()));
}

#[test]
fn another_brand_is_refused_while_keys_begin_with_the_old_one() {
    let mut b = Bench::new();
    let text = policy_file::DEFAULT.replace("# brand: ks", "brand: acme");
    let file = policy_file::parse("p", text).ok().unwrap();
    let issued = b.issue(&system::at(NOON), 1);
    let apply = |b: &mut Bench| {
        crate::policy::apply(&mut b.store, &system::at(NOON), &file).map(|a| a.revision)
    };
    assert_eq!(
        apply(&mut b).err().unwrap().to_string(),
        "brand `acme` would turn away 1 key that begin with `ks_`; keep `brand: ks`"
    );
    key::revoke_all(&mut b.store, &system::at(NOON), &[issued[0].key.id], "")
        .ok()
        .unwrap();
    assert_eq!(apply(&mut b).ok(), Some(2));
}

#[test]
fn a_rotation_keeps_lineage_and_rules_and_ends_the_old_key_after_its_grace() {
    let mut b = Bench::new();
    let world = system::at(NOON);
    let draft = key::KeyDraft {
        scopes: vec!["write".to_owned(), "read".to_owned(), "read".to_owned()],
        expires: Some(NOON + 1000),
        ..key::KeyDraft::default()
    };
    let (issued, _) = key::issue(&mut b.store, &world, "acme", draft, 1, |_| {})
        .ok()
        .unwrap();
    let first = issued[0].key.clone();
    assert_eq!(first.rules.scopes, ["read", "write"]);
    let (second, old) = key::rotate(&mut b.store, &world, first.id, 100, None)
        .ok()
        .unwrap();
    assert_eq!(second.key.rules, first.rules);
    assert_eq!(
        (second.key.lineage, second.key.rotated_from),
        (first.lineage, Some(first.id))
    );
    assert_eq!(old.overlap_end, Some(NOON + 100));
    let (third, _) = key::rotate(&mut b.store, &world, second.key.id, 100, Some(None))
        .ok()
        .unwrap();
    assert_eq!(
        (third.key.lineage, third.key.rules.expires),
        (first.lineage, None)
    );
    let again = key::rotate(&mut b.store, &world, first.id, 100, None)
        .err()
        .unwrap();
    assert!(
        again
            .to_string()
            .contains(&format!("was rotated to `{}` already", second.key.id)),
        "{again}"
    );
}

#[test]
fn a_grace_never_lets_a_key_outlive_its_expiry() {
    let mut b = Bench::new();
    let world = system::at(NOON);
    let draft = key::KeyDraft {
        expires: Some(NOON + 50),
        ..key::KeyDraft::default()
    };
    let (issued, _) = key::issue(&mut b.store, &world, "acme", draft, 1, |_| {})
        .ok()
        .unwrap();
    let (_, old) = key::rotate(&mut b.store, &world, issued[0].key.id, 100, Some(None))
        .ok()
        .unwrap();
    assert_eq!(old.effective_expiry(), Some(NOON + 50));
}

#[test]
fn a_client_is_deleted_in_parts_and_after_an_interruption_with_what_is_left() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON + 1), 1_200);
    let unsure = client::delete(&mut b.store, &system::at(NOON + 2), "acme", false);
    assert!(unsure.err().unwrap().to_string().contains("1200 keys"));
    let parts = |b: &mut Bench| -> Vec<u64> {
        b.store
            .read(|tx| {
                let mut log = Vec::new();
                tx.each_audit(|r| {
                    log.extend((r.action == "key.revoke").then_some(r.seq));
                    Ok(())
                })?;
                Ok(log)
            })
            .unwrap()
    };
    // As an urgent change interrupts it, in the middle of the second part.
    let stop: Arc<AtomicBool> = Arc::default();
    b.store.break_off_when(Arc::clone(&stop));
    let interrupted = b.store.write(&system::at(NOON + 3), |tx| {
        client::delete_in(tx, &system::at(NOON + 3), "acme", true)
    });
    assert_eq!(interrupted, Ok(None), "there is more to do");
    let first = parts(&mut b).len();
    assert!((100..1_000).contains(&first), "{first}");
    stop.store(true, Ordering::SeqCst);
    let interrupted = client::delete(&mut b.store, &system::at(NOON + 3), "acme", true);
    assert!(interrupted.is_err());
    assert_eq!(parts(&mut b).len(), first, "what was done stays");
    stop.store(false, Ordering::SeqCst);
    let revoked = client::delete(&mut b.store, &system::at(NOON + 3), "acme", true);
    assert_eq!(revoked, Ok(1_200), "the first part included");
    assert_eq!(parts(&mut b).len(), 1_200, "each once");
    assert_eq!(b.store.read(|tx| tx.client("acme")), Ok(None));
}

#[test]
fn changes_made_together_are_there_together_or_not_at_all() {
    let mut b = Bench::new();
    let count = |b: &mut Bench| b.store.read(|tx| Ok(tx.keys()?.len())).unwrap();
    let twice = |store: &mut Store| -> Result<()> {
        for at in [NOON + 1, NOON + 2] {
            let draft = key::KeyDraft::default();
            key::issue(store, &system::at(at), "acme", draft, 1, |_| {})?;
        }
        Ok(())
    };
    b.store.together(twice).unwrap();
    assert_eq!(count(&mut b), 2);

    let failed: Result<()> = b.store.together(|store| {
        twice(store)?;
        Err(refuse(Code::InvalidValue, "no", "stop"))
    });
    assert!(failed.is_err());
    assert_eq!(count(&mut b), 2);

    // A part that fails takes only itself back.
    b.store
        .together(|store| {
            let failed: Result<()> = store.write(&system::at(NOON + 3), |tx| {
                tx.keyset_changed();
                Err(refuse(Code::InvalidValue, "no", "stop"))
            });
            assert!(failed.is_err());
            twice(store)
        })
        .unwrap();
    assert_eq!(count(&mut b), 4);

    let store = std::panic::AssertUnwindSafe(&mut b.store);
    let panicked = std::panic::catch_unwind(|| {
        let store = store;
        store.0.together(|store| -> Result<()> {
            twice(store)?;
            panic!("a mistake of ours");
        })
    });
    assert!(panicked.is_err());
    assert_eq!(count(&mut b), 4);
    b.issue(&system::at(NOON + 4), 1);
    assert_eq!(count(&mut b), 5);
    assert_eq!(b.verify(), Ok(()));
}
