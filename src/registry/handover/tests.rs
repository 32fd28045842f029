use super::*;
use crate::bench::{Bench, NOON};
use crate::token;
use keystile_model::caller::Role;
use keystile_store::Query;
use keystile_system as system;

const DAY: u64 = 86_400;

fn all(b: &mut Bench, at: u64) -> (u32, u32) {
    let (mut warned, mut handed_over, mut after) = (0, 0, None);
    loop {
        let turn = turn(&mut b.store, &system::at(at), after).unwrap();
        warned += turn.warned;
        handed_over += turn.handed_over;
        match turn.next {
            Some(next) => after = Some(next),
            None => return (warned, handed_over),
        }
    }
}

fn give_token(b: &mut Bench, expires: u64) {
    let draft = token::TokenDraft {
        expires: Some(expires),
        ..token::TokenDraft::plain("acme-self", Role::Client)
    };
    token::create(&mut b.store, &system::at(NOON), draft)
        .ok()
        .unwrap();
}

fn issue(b: &mut Bench, expires: Option<u64>) -> KeyId {
    let draft = key::KeyDraft {
        expires,
        ..key::KeyDraft::default()
    };
    let world = system::at(NOON);
    let (issued, _) = key::issue(&mut b.store, &world, "acme", draft, 1, |_| {})
        .ok()
        .unwrap();
    issued[0].key.id
}

fn actions(b: &mut Bench) -> Vec<String> {
    let query = Query::default();
    let mut found = b.store.read(|tx| tx.last_audit(&query, 100)).unwrap();
    found.reverse();
    found.into_iter().map(|r| r.action).collect()
}

#[test]
fn a_holder_who_cannot_fetch_is_warned_three_times_and_no_more() {
    let mut b = Bench::new();
    issue(&mut b, Some(NOON + 60 * DAY));
    let table = [
        (29, 0),
        (30, 1),
        (31, 0),
        (52, 0),
        (53, 1),
        (54, 0),
        (59, 1),
        (59, 0),
    ];
    for (day, warned) in table {
        assert_eq!(all(&mut b, NOON + day * DAY), (warned, 0), "day {day}");
    }
    let warnings = actions(&mut b)
        .iter()
        .filter(|a| *a == "key.expiring")
        .count();
    assert_eq!(warnings, 3);
}

#[test]
fn a_key_without_an_end_is_due_after_ninety_days() {
    let mut b = Bench::new();
    let id = issue(&mut b, None);
    assert_eq!(all(&mut b, NOON + 59 * DAY), (0, 0));
    assert_eq!(all(&mut b, NOON + 60 * DAY), (1, 0));
    assert!(actions(&mut b).contains(&"key.due".to_owned()));
    // Due is not over: nobody can fetch, so it works on.
    assert_eq!(all(&mut b, NOON + 200 * DAY), (1, 0));
    let key = b.store.read(|tx| tx.key(id)).unwrap().unwrap();
    assert_eq!(key.status(NOON + 201 * DAY), Status::Active);
}

#[test]
fn a_due_key_is_handed_over_where_its_holder_can_fetch_and_its_successor_is_shown_once() {
    let mut b = Bench::new();
    let id = issue(&mut b, None);
    give_token(&mut b, NOON + 365 * DAY);
    assert_eq!(all(&mut b, NOON + 89 * DAY), (0, 0));
    let due = NOON + 90 * DAY;
    let version = b.version();
    assert_eq!(all(&mut b, due), (0, 1));
    assert!(b.version() > version, "its end has to reach Envoy");
    assert_eq!(all(&mut b, due + 1), (0, 0));
    let old = b.store.read(|tx| tx.key(id)).unwrap().unwrap();
    assert_eq!(old.overlap_end, Some(due + GRACE));
    assert_eq!(b.store.read(|tx| Ok(tx.keys()?.len())).unwrap(), 1);

    let issued = fetch(&mut b.store, &system::at(due + 5), id).ok().unwrap();
    assert_eq!(issued.key.rotated_from, Some(id));
    assert_eq!(issued.key.lineage, old.lineage);
    let again = fetch(&mut b.store, &system::at(due + 6), id).err().unwrap();
    assert!(again.to_string().contains("is shown once"), "{again}");
    assert_eq!(b.verify(), Ok(()));
}

#[test]
fn a_token_that_has_expired_fetches_nothing() {
    let mut b = Bench::new();
    issue(&mut b, None);
    give_token(&mut b, NOON + 80 * DAY);
    assert_eq!(all(&mut b, NOON + 91 * DAY), (1, 0));
}

#[test]
fn what_was_never_handed_over_cannot_be_fetched() {
    let mut b = Bench::new();
    let id = issue(&mut b, None);
    assert!(fetch(&mut b.store, &system::at(NOON + 1), id).is_err());
}

#[test]
fn the_successor_ends_when_the_key_was_meant_to() {
    let mut b = Bench::new();
    let end = NOON + 120 * DAY;
    let id = issue(&mut b, Some(end));
    give_token(&mut b, NOON + 365 * DAY);
    let due = NOON + 90 * DAY;
    assert_eq!(all(&mut b, due), (0, 1));
    let issued = fetch(&mut b.store, &system::at(due), id).ok().unwrap();
    assert_eq!(issued.key.rules.expires, Some(end));
}

/// A key that was handed over, of a client with a token that has `ceilings`; and who fetches.
fn handed_over(
    ceilings: Ceilings,
    change: impl FnOnce(&mut key::KeyDraft),
) -> (Bench, KeyId, World) {
    let mut b = Bench::new();
    let mut draft = key::KeyDraft {
        any_scope: true,
        ..key::KeyDraft::default()
    };
    change(&mut draft);
    let made = key::issue(&mut b.store, &system::at(NOON), "acme", draft, 1, |_| {});
    let id = made.ok().unwrap().0[0].key.id;
    give_token(&mut b, NOON + 365 * DAY);
    let due = NOON + 90 * DAY;
    b.store
        .write(&system::at(due), |tx| {
            let before = tx.key(id)?.unwrap();
            hand_over(tx, &system::at(due), &before, GRACE)
        })
        .unwrap();
    let grant = keystile_model::caller::Grant {
        client: Some("acme".to_owned()),
        ceilings,
        ..keystile_model::caller::Grant::nothing()
    };
    (b, id, system::by(due + 1, grant))
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

#[test]
fn what_is_disabled_ended_or_revoked_hands_nothing_over() {
    let endless = Ceilings::default;
    let refused = |b: &mut Bench, world: &World, id, said: &str| {
        let keys = b.store.read(|tx| Ok(tx.keys()?.len())).unwrap();
        let error = fetch(&mut b.store, world, id).err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!(b.store.read(|tx| Ok(tx.keys()?.len())).unwrap(), keys);
    };
    let (mut b, id, world) = handed_over(endless(), |_| {});
    key::set_disabled(&mut b.store, &system::at(NOON), id, true).unwrap();
    refused(&mut b, &world, id, "is disabled");
    // Not to those either who may switch it on: they do that first.
    refused(&mut b, &system::at(world.now.seconds()), id, "is disabled");
    key::set_disabled(&mut b.store, &system::at(NOON), id, false).unwrap();
    let late = system::by(world.now.seconds() + GRACE, grant_of(&world));
    refused(&mut b, &late, id, "has expired");
    key::revoke_all(&mut b.store, &system::at(NOON), &[id], "").unwrap();
    refused(&mut b, &world, id, "was revoked");
}

fn grant_of(world: &World) -> keystile_model::caller::Grant {
    match &world.caller {
        keystile_model::caller::Caller::Token(grant) => grant.clone(),
        keystile_model::caller::Caller::Local => panic!("no token"),
    }
}

#[test]
fn a_successor_keeps_within_the_ceilings_of_who_fetches_it() {
    let narrow = Ceilings {
        scopes: words(&["read"]),
        max_expiry: Some(30 * DAY),
        max_keys: Some(1),
        ..Ceilings::default()
    };
    let (mut b, id, world) = handed_over(narrow.clone(), |d| d.scopes = words(&["read", "admin"]));
    let error = fetch(&mut b.store, &world, id).err().unwrap();
    assert!(error.to_string().contains("scope `admin`"), "{error}");

    let (mut b, id, world) = handed_over(narrow.clone(), |d| d.scopes = words(&["read"]));
    let now = world.now.seconds();
    let issued = fetch(&mut b.store, &world, id).ok().unwrap();
    assert_eq!(issued.key.rules.expires, Some(now + 30 * DAY));

    // A second key beside the one that gives way: there is room for one.
    let (mut b, id, world) = handed_over(narrow.clone(), |_| {});
    key::issue(
        &mut b.store,
        &system::at(NOON),
        "acme",
        key::KeyDraft::default(),
        1,
        |_| {},
    )
    .ok()
    .unwrap();
    let error = fetch(&mut b.store, &world, id).err().unwrap();
    assert!(error.to_string().contains("has 2 keys"), "{error}");

    let silver = Ceilings {
        plans: words(&["silver"]),
        ..Ceilings::default()
    };
    let (mut b, id, world) = handed_over(silver, |_| {});
    let error = fetch(&mut b.store, &world, id).err().unwrap();
    assert!(error.to_string().contains("it may give silver"), "{error}");
}

#[test]
fn a_key_that_was_rotated_has_its_successor_already() {
    let (mut b, id, world) = handed_over(Ceilings::default(), |_| {});
    let (_, old) = key::rotate(&mut b.store, &world, id, DAY, None)
        .ok()
        .unwrap();
    assert_eq!(old.overlap_end, Some(world.now.seconds() + DAY));
    let error = fetch(&mut b.store, &world, id).err().unwrap();
    assert!(error.to_string().contains("was rotated to"), "{error}");
    // Its end was set: rotation brings none that is later.
    let (mut b, id, world) = handed_over(Ceilings::default(), |_| {});
    let (_, old) = key::rotate(&mut b.store, &world, id, GRACE, None)
        .ok()
        .unwrap();
    assert_eq!(old.overlap_end, Some(NOON + 90 * DAY + GRACE));
}

#[test]
fn what_no_token_could_fetch_is_not_handed_over() {
    let mut b = Bench::new();
    let draft = key::KeyDraft {
        scopes: words(&["admin"]),
        any_scope: true,
        ..key::KeyDraft::default()
    };
    key::issue(&mut b.store, &system::at(NOON), "acme", draft, 1, |_| {})
        .ok()
        .unwrap();
    give_token(&mut b, NOON + 365 * DAY);
    assert_eq!(
        all(&mut b, NOON + 91 * DAY),
        (1, 0),
        "it is warned of instead"
    );
}

#[test]
fn a_key_and_a_plan_say_how_often_and_how_long() {
    let text = "version: 1\nplans:\n  slow: {rotate_every: never, grace: 2d}\n  quick: {rotate_every: 7d}\n";
    let policy = keystile_policy::file::parse("p", text.to_owned())
        .unwrap()
        .policy;
    let mut b = Bench::new();
    let id = issue(&mut b, None);
    let key = b.store.read(|tx| tx.key(id)).unwrap().unwrap();
    let with = |plan: Option<&str>, every, grace| {
        let mut key = key.clone();
        key.rules.plan = plan.map(str::to_owned);
        key.rules.rotate_every = every;
        key.rules.grace = grace;
        let s = schedule(&policy, &key);
        (s.every, s.grace)
    };
    assert_eq!(with(None, None, None), (Some(EVERY), GRACE));
    assert_eq!(with(Some("slow"), None, None), (None, 2 * DAY));
    assert_eq!(with(Some("quick"), None, Some(5)), (Some(7 * DAY), 5));
    assert_eq!(with(Some("slow"), Some(DAY), None), (Some(DAY), 2 * DAY));
    assert_eq!(with(Some("quick"), Some(0), None), (None, GRACE));
}
