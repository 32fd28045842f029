use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::params;
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
mod migration;

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
    let patch = client::Patch {
        description: Some("Acme Corp.".to_owned()),
        ..client::Patch::default()
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
        "INSERT INTO audit SELECT {}, at_ms, uid, user, host, action, subject, before, after, prev, hash,
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
    client::create(&mut b.store, &world, client::Draft::named("acme")).unwrap();
    assert!(number(&mut b) > first);
}

#[test]
fn nothing_readable_is_in_the_file() {
    let mut b = Bench::new();
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
    let mut b = Bench::new();
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
    let error = Store::open(&b.path, &other).err().unwrap();
    assert!(
        error
            .to_string()
            .starts_with("the store cannot be decrypted; "),
        "{error}"
    );
    assert!(Store::open(&b.path, &b.key).is_ok());
}

#[test]
fn a_store_of_a_newer_schema_is_refused() {
    let b = Bench::new();
    b.store
        .database()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = Store::open(&b.path, &b.key).err().unwrap();
    assert!(error.is(keystile_model::error::Code::StoreNewer));
}

#[test]
fn an_untouched_log_holds() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 5);
    assert_eq!(b.verify(), Ok(()));
}

#[test]
fn a_changed_record_is_named_whichever_field_was_changed() {
    for change in [
        "at_ms = at_ms + 1",
        "uid = uid + 1",
        "user = 'eve'",
        "host = 'elsewhere'",
        "action = 'key.update'",
        "subject = 'someone'",
        "before = '{}'",
        "after = ''",
        "prev = zeroblob(32)",
        "hash = zeroblob(32)",
        "format = 1",
        "address = '10.0.0.1'",
        "request = 'r-2'",
        "client = 'other'",
        "outcome = 'refused'",
        "reason = 'no'",
        // From one field into the next, with the same text in all.
        "action = action || substr(subject, 1, 1), subject = substr(subject, 2)",
    ] {
        let mut b = Bench::new();
        b.issue(&system::at(NOON), 5);
        b.sql(&format!("UPDATE audit SET {change} WHERE seq = 4"));
        assert_eq!(b.verify(), Err(Broken::Changed(4)), "{change}");
    }
}

#[test]
fn a_removed_record_is_named() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 5);
    b.sql("DELETE FROM audit WHERE seq = 4");
    assert_eq!(b.verify(), Err(Broken::Missing(4)));

    let mut b = Bench::new();
    b.issue(&system::at(NOON), 5);
    b.sql("DELETE FROM audit WHERE seq = 1");
    assert_eq!(b.verify(), Err(Broken::Missing(1)));
}

#[test]
fn a_tail_that_was_cut_off_is_named() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 5);
    let last = b.store.read(|tx| Ok(tx.meta().head.seq)).unwrap();
    b.sql(&format!("DELETE FROM audit WHERE seq > {}", last - 2));
    assert_eq!(b.verify(), Err(Broken::CutOff(last - 1)));
}

#[test]
fn records_that_changed_places_are_named() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 5);
    b.sql("UPDATE audit SET seq = -3 WHERE seq = 3");
    b.sql("UPDATE audit SET seq = 3 WHERE seq = 4");
    b.sql("UPDATE audit SET seq = 4 WHERE seq = -3");
    assert_eq!(b.verify(), Err(Broken::Changed(3)));
}

/// As a forger would: with hashes that fit the records, but not the chain.
fn reforged(b: &Bench, seq: u64, change: impl FnOnce(&mut Record)) {
    let mut found = None;
    let mut read = Store::open(&b.path, &b.key).ok().unwrap();
    read.read(|tx| {
        tx.each_audit(|r| {
            if r.seq == seq {
                found = Some(r);
            }
            Ok(())
        })
    })
    .unwrap();
    let mut record = found.unwrap();
    change(&mut record);
    record.hash = record.expected();
    b.store
        .database()
        .execute(
            "UPDATE audit SET subject = ?, hash = ? WHERE seq = ?",
            params![record.subject, record.hash.0, signed(seq)],
        )
        .unwrap();
}

#[test]
fn a_record_forged_with_a_fitting_hash_does_not_fit_the_chain() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 5);
    reforged(&b, 4, |r| r.subject = "someone else".to_owned());
    assert_eq!(b.verify(), Err(Broken::Unlinked(5)));

    let mut b = Bench::new();
    b.issue(&system::at(NOON), 5);
    let last = b.store.read(|tx| Ok(tx.meta().head.seq)).unwrap();
    reforged(&b, last, |r| r.subject = "someone else".to_owned());
    assert_eq!(b.verify(), Err(Broken::OtherHead(last)));
}

#[test]
fn a_record_put_in_at_the_end_is_named() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 5);
    let head = b.store.read(|tx| Ok(tx.meta().head)).unwrap();
    let world = system::at(NOON + 9);
    b.store
        .write(&world, |tx| {
            tx.audit(&world, "key.revoke", "0000000000", None, Some(&json!({})))
        })
        .unwrap();
    b.store
        .database()
        .execute(
            "UPDATE meta SET audit_seq = ?, audit_hash = ?",
            params![signed(head.seq), head.link.0],
        )
        .unwrap();
    assert_eq!(b.verify(), Err(Broken::Beyond(head.seq + 1)));
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
    let draft = key::Draft {
        scopes: vec!["write".to_owned(), "read".to_owned(), "read".to_owned()],
        expires: Some(NOON + 1000),
        ..key::Draft::default()
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
    let draft = key::Draft {
        expires: Some(NOON + 50),
        ..key::Draft::default()
    };
    let (issued, _) = key::issue(&mut b.store, &world, "acme", draft, 1, |_| {})
        .ok()
        .unwrap();
    let (_, old) = key::rotate(&mut b.store, &world, issued[0].key.id, 100, Some(None))
        .ok()
        .unwrap();
    assert_eq!(old.ends(), Some(NOON + 50));
}

#[test]
fn rows_since_a_version_are_those_that_changed_after_it() {
    let mut b = Bench::new();
    b.client("other");
    let ids: Vec<_> = b
        .issue(&system::at(NOON + 1), 4)
        .into_iter()
        .map(|i| i.key.id)
        .collect();
    let since = |b: &mut Bench, version| {
        let mut found: Vec<_> = b
            .store
            .read(|tx| tx.rows_since(version))
            .unwrap()
            .into_iter()
            .map(|r| r.id)
            .collect();
        found.sort();
        found
    };
    let all = {
        let mut all = ids.clone();
        all.sort();
        all
    };
    assert_eq!(since(&mut b, NOON * 1000), all);
    let base = b.version();
    assert!(since(&mut b, base).is_empty());

    key::revoke_all(&mut b.store, &system::at(NOON + 2), &ids[..1], "").unwrap();
    assert_eq!(since(&mut b, base), ids[..1]);
    // With a clock that goes back, a change is a later version still.
    key::set_disabled(&mut b.store, &system::at(NOON - 9), ids[1], true).unwrap();
    let mut two = ids[..2].to_vec();
    two.sort();
    assert_eq!(since(&mut b, base), two);

    let base = b.version();
    let patch = client::Patch {
        plan: Some(Some("free".to_owned())),
        ..client::Patch::default()
    };
    client::update(&mut b.store, &system::at(NOON + 3), "other", patch.clone()).unwrap();
    assert!(since(&mut b, base).is_empty(), "another client's plan");
    client::update(&mut b.store, &system::at(NOON + 3), "acme", patch).unwrap();
    assert_eq!(since(&mut b, base), all, "the plan of their client");
    let rows = b.store.read(|tx| tx.rows_since(base)).unwrap();
    assert!(rows.iter().all(|r| r.plan.as_deref() == Some("free")));
}

#[test]
fn a_change_of_a_clients_plan_writes_no_more_rows_for_many_keys_than_for_one() {
    let mut b = Bench::new();
    let plan = |b: &mut Bench, plan: &str, at: u64| {
        let patch = client::Patch {
            plan: Some(Some(plan.to_owned())),
            ..client::Patch::default()
        };
        let before = b.store.rows_written();
        client::update(&mut b.store, &system::at(at), "acme", patch).unwrap();
        b.store.rows_written() - before
    };
    b.issue(&system::at(NOON + 1), 1);
    let of_one = plan(&mut b, "free", NOON + 2);
    b.issue(&system::at(NOON + 3), 200);
    assert_eq!(plan(&mut b, "gold", NOON + 4), of_one);
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
            let draft = key::Draft::default();
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

#[test]
fn a_key_is_found_for_the_keyset_without_a_look_at_the_others() {
    for plan in Bench::new().store.row_plans() {
        assert!(
            plan.starts_with("SEARCH") || plan.contains("USING INDEX"),
            "{plan}"
        );
    }
}

#[test]
fn clients_and_keys_are_summed_as_they_lie_without_a_look_at_others() {
    let mut b = Bench::new();
    for step in Step::ALL {
        for these in [These::Clients, These::Keys, These::KeysOf(7)] {
            let found = b.store.usage_plan(step, these);
            assert!(
                found.contains("USING PRIMARY KEY (t=?"),
                "{these:?}: {found}"
            );
            assert!(!found.contains("TEMP B-TREE"), "{these:?}: {found}");
        }
    }
}
