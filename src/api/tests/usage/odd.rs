//! What the rules find, and what they do not.

use super::*;
use keystile_system as system;

fn anomalies(b: &mut Bench, now: u64) -> Vec<(String, Value)> {
    b.store
        .with_usage(|_, usage| usage.write(|tx| anomaly::look(tx, now)))
        .unwrap();
    let ask = operation::Anomalies {
        since: Some(keystile_model::wire::TimeWords::read("365d").unwrap()),
        ..Default::default()
    };
    let found = ask.run(&mut b.store, &system::at(now)).unwrap();
    found
        .anomalies
        .into_iter()
        .map(|a| (a.rule, a.detail))
        .collect()
}

fn rules(b: &mut Bench, now: u64) -> Vec<String> {
    anomalies(b, now)
        .into_iter()
        .map(|(rule, _)| rule)
        .collect()
}

#[test]
fn a_spike_is_one_against_the_keys_own_week_and_not_in_its_first_hours() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 2);
    let hour = NOON - NOON % HOUR;
    let send = |b: &mut Bench, seq, key, at, n| {
        let rows = vec![row(Some(key), Some(0), 0, n)];
        counted(b, &[batch(0, seq, at, &ids, rows)], at + 60);
    };
    send(&mut b, 1, 0, hour - 30 * HOUR, 500);
    send(&mut b, 2, 0, hour, 5000);
    send(&mut b, 3, 1, hour, 9000);
    assert_eq!(
        rules(&mut b, hour + 60),
        [""; 0],
        "ten times the most is not more"
    );
    send(&mut b, 4, 0, hour, 1);
    let found = anomalies(&mut b, hour + 60);
    assert_eq!(
        found.len(),
        1,
        "a key without a past has no spikes: {found:?}"
    );
    assert_eq!(found[0].0, "spike");
    assert_eq!(found[0].1["requests"], 5001);
    assert_eq!(found[0].1["most_in_an_hour_before"], 500);
    // The same day it is the same event.
    send(&mut b, 5, 0, hour + HOUR, 60_000);
    assert_eq!(rules(&mut b, hour + HOUR + 60).len(), 1);
}

#[test]
fn a_network_is_new_when_the_key_has_settled() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    let mut seq = 0;
    let mut from = |b: &mut Bench, address: &str, at, outcome| {
        seq += 1;
        let mut told = batch(0, seq, at, &ids, vec![row(Some(0), None, outcome, 1)]);
        told.keys[0].address = Some(address.into());
        counted(b, &[told], at + 60);
        rules(b, at + 60).len()
    };
    assert_eq!(from(&mut b, "192.0.2.1", NOON, 0), 0);
    assert_eq!(
        from(&mut b, "198.51.100.1", NOON + DAY, 0),
        0,
        "still learning"
    );
    let later = NOON + 8 * DAY - NOON % 60;
    assert_eq!(from(&mut b, "192.0.2.200", later, 0), 0, "the same network");
    assert_eq!(from(&mut b, "203.0.113.1", later, 1), 0, "it was refused");
    assert_eq!(from(&mut b, "203.0.113.1", later, 0), 1);
    assert_eq!(from(&mut b, "2001:db8::1", later, 0), 1, "once a day");
    assert_eq!(
        from(&mut b, "203.0.113.9", later + DAY, 0),
        1,
        "known by then"
    );
}

#[test]
fn scope_denials_and_revoked_keys_are_odd_from_their_thresholds_on() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    let send = |b: &mut Bench, seq, outcome, n| {
        let rows = vec![row(Some(0), None, outcome, n)];
        counted(b, &[batch(0, seq, NOON, &ids, rows)], NOON + 60);
        rules(b, NOON + 60)
    };
    assert_eq!(send(&mut b, 1, 1, 19), [""; 0]);
    assert_eq!(send(&mut b, 2, 1, 1), ["scope-denials"]);
    let found = send(&mut b, 3, 2, 1);
    assert_eq!(found, ["revoked-key-tried", "scope-denials"]);
}

#[test]
fn a_rule_with_the_number_nought_is_off() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    let off = operation::Configure {
        scope_denials: Some(0),
        revoked_tries: Some(0),
        spike_factor: Some(0),
        ..Default::default()
    };
    off.run(&mut b.store, &system::at(NOON)).unwrap();
    let rows = vec![row(Some(0), None, 1, 100), row(Some(0), None, 2, 100_000)];
    counted(&mut b, &[batch(0, 1, NOON, &ids, rows)], NOON + 60);
    assert_eq!(rules(&mut b, NOON + 60), [""; 0]);
}

#[test]
fn a_replaced_key_that_is_used_near_its_end_is_odd_and_not_before() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    let rotated = crate::key::Rotate {
        id: Id::read(&ids[0]).unwrap(),
        grace: keystile_model::wire::Span(7 * DAY),
        ..rotation()
    };
    rotated.run(&mut b.store, &system::at(NOON)).unwrap();
    let send = |b: &mut Bench, seq, at| {
        let rows = vec![row(Some(0), None, 0, 4)];
        counted(b, &[batch(0, seq, at, &ids, rows)], at + 60);
        anomalies(b, at + 60)
    };
    assert!(send(&mut b, 1, NOON + 5 * DAY).is_empty());
    let found = send(&mut b, 2, NOON + 6 * DAY + 60);
    assert_eq!(found[0].0, "rotated-key-used");
    assert_eq!(found[0].1["works_until"], when(NOON + 7 * DAY));
}

fn when(t: u64) -> String {
    keystile_model::when::rfc3339(t)
}

#[test]
fn an_anomaly_is_told_once_to_the_audit_log_and_so_to_webhooks() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    let rows = vec![row(Some(0), None, 2, 3)];
    counted(&mut b, &[batch(0, 1, NOON, &ids, rows)], NOON + 60);
    assert_eq!(rules(&mut b, NOON + 60).len(), 1);
    let world = system::at(NOON + 61);
    for told in [1, 0] {
        let untold = anomaly::tell(&mut b.store, &world).unwrap();
        assert_eq!(untold.len(), told);
        b.store
            .with_made_usage(|_, usage| usage.write(|tx| tx.set_told(&untold)))
            .unwrap();
    }
    let last = b
        .store
        .read(|tx| tx.last_audit(&Query::default(), 5))
        .unwrap();
    let told: Vec<_> = last
        .iter()
        .filter(|r| r.action.starts_with("anomaly."))
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].action, "anomaly.revoked-key-tried");
    assert_eq!(
        (told[0].subject.as_str(), told[0].client.as_str()),
        (ids[0].as_str(), "acme")
    );
    assert_eq!(b.verify(), Ok(()));
}
