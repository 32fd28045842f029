use std::collections::HashSet;

use super::*;
use crate::bench::{Bench, NOON};
use crate::key;
use keystile_store::Query;
use keystile_system as system;

const DAY: u64 = 86_400;

fn day(_: &Key) -> u64 {
    DAY
}

const PLAIN: RotationOptions<'_> = RotationOptions {
    grace: &day,
    renew: false,
};

/// Takes what `F` takes.
struct To<F>(F);

impl<F: FnMut(&RotatedKey)> Receive for To<F> {
    fn take(&mut self, some: &[RotatedKey]) -> Result<()> {
        some.iter().for_each(&mut self.0);
        Ok(())
    }

    fn settle(&mut self) {}
}

/// Takes one batch and no more.
#[derive(Default)]
struct Full {
    taken: Vec<Vec<(KeyId, KeyId)>>,
    settled: usize,
}

impl Receive for Full {
    fn take(&mut self, some: &[RotatedKey]) -> Result<()> {
        let ids = some.iter().map(|r| (r.old.id, r.new.key.id));
        self.taken.push(ids.collect());
        match self.settled {
            0 => Ok(()),
            _ => Err(keystile_model::error::refuse(
                keystile_model::error::Code::SystemFailed,
                "full",
                "stop",
            )),
        }
    }

    fn settle(&mut self) {
        self.settled += 1;
    }
}

fn all(b: &mut Bench, now: u64) -> Vec<KeyId> {
    b.store
        .read(|tx| select(tx, &Caller::Local, now, |_| true))
        .unwrap()
}

fn draft(change: impl FnOnce(&mut key::KeyDraft)) -> key::KeyDraft {
    let mut draft = key::KeyDraft::default();
    change(&mut draft);
    draft
}

fn issue(b: &mut Bench, draft: key::KeyDraft) -> KeyId {
    let world = system::at(NOON);
    let (issued, _) = key::issue(&mut b.store, &world, "acme", draft, 1, |_| {}).unwrap();
    issued[0].key.id
}

/// `KEYSTILE_SCALE=1000000 cargo test --lib -- at_any_scale --nocapture`
/// tells how long things take with a store of that size.
#[test]
fn every_living_key_is_rotated_once_at_any_scale() {
    let scale: u32 = system::variable("KEYSTILE_SCALE").map_or(300, |n| n.parse().unwrap());
    let mut b = Bench::new();
    let mut took = String::new();
    let mut clock = system::instant();
    let mut lap = |what: &str| {
        took.push_str(&format!("{what}: {:.2?}\n", clock.elapsed()));
        clock = system::instant();
    };
    b.issue(&system::at(NOON), scale);
    lap("issue");
    let ids = all(&mut b, NOON + 1);
    lap("select");
    assert_eq!(ids.len(), scale as usize);
    let base = b.version();
    rotated_once(&mut b, &ids, &mut lap);
    rows_found(&mut b, base, &ids, &mut lap);
    history_found(&mut b, ids[0], &mut lap);
    assert_eq!(b.verify(), Ok(()));
    lap("verify");
    println!("{scale} keys\n{took}");
}

/// Rotates all keys, and finds that there is nothing left to rotate.
fn rotated_once(b: &mut Bench, ids: &[KeyId], lap: &mut impl FnMut(&str)) {
    let mut new = HashSet::new();
    let done = rotate_all(
        &mut b.store,
        &system::at(NOON + 1),
        ids.to_vec(),
        &PLAIN,
        &mut To(|r: &RotatedKey| {
            assert_eq!(r.new.key.rotated_from, Some(r.old.id));
            assert_eq!(r.old.overlap_end, Some(NOON + 1 + DAY));
            new.insert(r.new.key.id);
        }),
    );
    lap("rotate");
    assert_eq!(done, Ok(ids.len() as u64));
    assert_eq!(new.len(), ids.len());
    let again = all(b, NOON + 2);
    assert!(again.len() == new.len() && again.iter().all(|id| new.contains(id)));
    lap("select again");
    // By their ids once more, as after a failure half way: nothing is rotated twice.
    let done = rotate_all(
        &mut b.store,
        &system::at(NOON + 2),
        ids.to_vec(),
        &PLAIN,
        &mut To(|_: &RotatedKey| {}),
    );
    assert_eq!(done, Ok(0));
    lap("nothing to do");
}

/// Reads what a keyset is built from, before and after a key is revoked.
fn rows_found(b: &mut Bench, base: u64, ids: &[KeyId], lap: &mut impl FnMut(&str)) {
    let rows = b.store.read(|tx| tx.rows()).unwrap().len();
    assert_eq!(rows, 2 * ids.len());
    lap("all rows");
    let since = b.store.read(|tx| tx.rows_since(base)).unwrap().len();
    assert_eq!(since, 2 * ids.len());
    lap("rows since");
    key::revoke_all(&mut b.store, &system::at(NOON + 3), &ids[..1], "").unwrap();
    lap("revoke one");
    let base = b.version() - 1;
    assert_eq!(b.store.read(|tx| tx.rows_since(base)).unwrap().len(), 1);
    lap("rows since the last");
}

/// Searches the audit log by a key that was rotated and revoked, and by its client.
fn history_found(b: &mut Bench, id: KeyId, lap: &mut impl FnMut(&str)) {
    let query = Query {
        subject: Some(id.to_string()),
        ..Query::default()
    };
    let history = b.store.read(|tx| tx.last_audit(&query, 50)).unwrap();
    let actions: Vec<_> = history.iter().map(|r| r.action.as_str()).collect();
    assert_eq!(actions, ["key.revoke", "key.rotate", "key.issue"]);
    lap("history of a key");
    let query = Query {
        client: Some("acme".to_owned()),
        action: Some("key.revoke".to_owned()),
        ..Query::default()
    };
    assert_eq!(
        b.store.read(|tx| tx.last_audit(&query, 50)).unwrap().len(),
        1
    );
    lap("revocations of a client");
}

#[test]
fn keys_that_do_not_live_are_left_as_they_are() {
    let mut b = Bench::new();
    let world = system::at(NOON + 1);
    let good = issue(&mut b, draft(|_| {}));
    let expired = issue(&mut b, draft(|d| d.expires = Some(NOON + 1)));
    let disabled = issue(&mut b, draft(|_| {}));
    let revoked = issue(&mut b, draft(|_| {}));
    let rotated = issue(&mut b, draft(|_| {}));
    key::set_disabled(&mut b.store, &world, disabled, true).unwrap();
    key::revoke_all(&mut b.store, &world, &[revoked], "").unwrap();
    let (next, _) = key::rotate(&mut b.store, &world, rotated, 5, None).unwrap();
    let mut want = vec![good, next.key.id];
    want.sort();
    assert_eq!(all(&mut b, NOON + 1), want);
    let ids = vec![good, expired, disabled, revoked, rotated];
    let mut seen = Vec::new();
    let mut to = To(|r: &RotatedKey| seen.push(r.old.id));
    let done = rotate_all(&mut b.store, &world, ids, &PLAIN, &mut to);
    assert_eq!((done, seen), (Ok(1), vec![good]));
}

#[test]
fn a_renewed_key_lives_as_long_as_the_one_before_it() {
    let mut b = Bench::new();
    let id = issue(&mut b, draft(|d| d.expires = Some(NOON + 90 * DAY)));
    let mut end = |id, at, renew| {
        let mut found = None;
        let how = RotationOptions { renew, ..PLAIN };
        let mut to = To(|r: &RotatedKey| found = Some((r.new.key.id, r.new.key.rules.expires)));
        rotate_all(&mut b.store, &system::at(at), vec![id], &how, &mut to).unwrap();
        found.unwrap()
    };
    let (second, ends) = end(id, NOON + 80 * DAY, true);
    assert_eq!(ends, Some(NOON + 170 * DAY));
    let (_, ends) = end(second, NOON + 160 * DAY, false);
    assert_eq!(ends, Some(NOON + 170 * DAY));
}

#[test]
fn keys_that_nobody_takes_never_come_to_be_and_the_old_ones_go_on() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 7);
    let ids = all(&mut b, NOON);
    let mut to = Full::default();
    let world = system::at(NOON + 1);
    let stopped = rotate_by(3, &mut b.store, &world, ids.clone(), &PLAIN, &mut to);
    assert!(stopped.is_err());
    assert_eq!((to.taken.len(), to.settled), (2, 1));

    let key = |b: &mut Bench, id| b.store.read(|tx| tx.key(id)).unwrap();
    for (old, new) in &to.taken[0] {
        let old = key(&mut b, *old).unwrap();
        assert_eq!(old.overlap_end, Some(NOON + 1 + DAY));
        assert_eq!(key(&mut b, *new).unwrap().rotated_from, Some(old.id));
    }
    for (old, new) in &to.taken[1] {
        assert_eq!(key(&mut b, *old).unwrap().overlap_end, None);
        assert!(key(&mut b, *new).is_none());
    }
    assert_eq!(b.verify(), Ok(()));
    // Doing it again does the rest.
    let mut rest = Vec::new();
    let mut to = To(|r: &RotatedKey| rest.push(r.old.id));
    let done = rotate_all(&mut b.store, &world, ids.clone(), &PLAIN, &mut to);
    assert_eq!((done, rest.as_slice()), (Ok(4), &ids[3..]));
}

#[test]
fn each_key_goes_on_for_as_long_as_it_was_given() {
    let mut b = Bench::new();
    b.issue(&system::at(NOON), 150);
    let ids = all(&mut b, NOON);
    let grace = |k: &Key| k.id.as_u64() % 3;
    let how = RotationOptions {
        grace: &grace,
        renew: false,
    };
    let world = system::at(NOON + 9);
    let mut to = To(|_: &RotatedKey| {});
    let done = rotate_all(&mut b.store, &world, ids.clone(), &how, &mut to);
    assert_eq!(done, Ok(150));
    for id in ids {
        let key = b.store.read(|tx| tx.key(id)).unwrap().unwrap();
        assert_eq!(key.overlap_end, Some(NOON + 9 + grace(&key)));
    }
    assert_eq!(b.verify(), Ok(()));
}
