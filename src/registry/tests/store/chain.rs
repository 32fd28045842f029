//! Records of the audit log that somebody changed, removed or added are noticed.

use super::*;

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
        "\"user\" = 'eve'",
        "host = 'elsewhere'",
        "action = 'key.update'",
        "subject = 'someone'",
        "before = '{}'",
        "after = ''",
        "prev = hash",
        "hash = prev",
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
    let mut read = b.open().ok().unwrap();
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
    let hash = record.hash.0.to_vec();
    let values = [record.subject.into(), hash.into(), signed(seq).into()];
    let sql = "UPDATE audit SET subject = ?, hash = ? WHERE seq = ?";
    b.store.run(sql, &values);
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
    let values = [signed(head.seq).into(), head.link.0.to_vec().into()];
    let sql = "UPDATE meta SET audit_seq = ?, audit_hash = ?";
    b.store.run(sql, &values);
    assert_eq!(b.verify(), Err(Broken::Beyond(head.seq + 1)));
}
