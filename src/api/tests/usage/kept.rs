//! How long usage is kept, and by whom it can be read.

use super::*;

#[test]
fn what_is_older_than_is_kept_goes_and_what_is_younger_stays() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    let now = NOON + 100 * DAY;
    for (seq, at) in [(1, NOON), (2, now - 50 * DAY), (3, now - DAY), (4, now)] {
        let at = at - at % 60;
        let rows = vec![row(Some(0), Some(0), 0, 1)];
        counted(&mut b, &[batch(0, seq, at, &ids, rows)], at + 60);
    }
    let shorter = operation::Configure {
        days: Some(keystile_model::wire::Span(90 * DAY)),
        ..Default::default()
    };
    shorter.run(&mut b.store, &system::at(now)).unwrap();
    while b
        .store
        .with_made_usage(|_, usage| usage.write(|tx| prune(tx, now)))
        .unwrap()
    {}
    let rows = |b: &mut Bench, table: &str| -> i64 {
        b.store
            .with_made_usage(|_, usage| {
                let sql = format!("SELECT count(*) FROM {table}");
                Ok(usage.sql().query_row(&sql, [], |r| r.get(0)).unwrap())
            })
            .unwrap()
    };
    for (table, left) in [
        ("key_minute", 2),
        ("key_hour", 3),
        ("key_day", 3),
        ("client_minute", 4),
        ("client_day", 6),
        ("vm", 1),
    ] {
        assert_eq!(rows(&mut b, table), left, "{table}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_and_changes_are_in_the_audit_log() {
    let mut b = Bench::new();
    let span = |s| Some(keystile_model::wire::Span(s));
    for wrong in [
        operation::Configure {
            minutes: span(60),
            ..Default::default()
        },
        operation::Configure {
            minutes: span(61 * DAY),
            ..Default::default()
        },
        operation::Configure {
            days: span(DAY),
            ..Default::default()
        },
    ] {
        assert!(wrong.run(&mut b.store, &system::at(NOON)).is_err());
    }
    let right = operation::Configure {
        hours: span(30 * DAY),
        ..Default::default()
    };
    right.run(&mut b.store, &system::at(NOON)).unwrap();
    let last = b
        .store
        .read(|tx| tx.last_audit(&Query::default(), 1))
        .unwrap();
    assert_eq!(last[0].action, "usage.configure");
    assert!(last[0].after.contains("30d"), "{}", last[0].after);
}

#[test]
fn addresses_and_agents_can_be_forgotten_and_counts_stay() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    counted(
        &mut b,
        &[batch(0, 1, NOON, &ids, vec![row(Some(0), None, 0, 6)])],
        NOON,
    );
    operation::Forget {}
        .run(&mut b.store, &system::at(NOON))
        .unwrap();
    let shown = crate::key::Show {
        id: Id::read(&ids[0]).unwrap(),
    };
    let usage = shown
        .run(&mut b.store, &system::at(NOON))
        .unwrap()
        .usage
        .unwrap();
    assert_eq!(
        (usage.first_address, usage.last_address, usage.last_agent),
        (None, None, None)
    );
    assert!(usage.last_used.is_some());
    assert_eq!(show(&mut b, NOON, operation::Show::default()).requests, 6);
}

#[test]
fn usage_is_unreadable_without_the_store_and_survives_a_new_master_key() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    counted(
        &mut b,
        &[batch(0, 1, NOON, &ids, vec![row(Some(0), Some(0), 0, 6)])],
        NOON,
    );
    let file = b.store.usage_file();
    b.store
        .with_made_usage(|_, usage| {
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            usage.sql().execute_batch(checkpoint).unwrap();
            Ok(())
        })
        .unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|w| w == text);
    assert!(!holds(b"SQLite format") && !holds(b"/v1/a") && !holds(b"192.0.2.7"));
    let key = keystile_store::master_key::MasterKey::generate(system::at(NOON).entropy)
        .ok()
        .unwrap();
    b.store.rekey(&key).unwrap();
    b.store = keystile_store::Store::open(&b.path, &key).ok().unwrap();
    assert_eq!(show(&mut b, NOON, operation::Show::default()).requests, 6);
}
