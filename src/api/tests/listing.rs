//! Lists of keys in every order, and what a search finds, against a list sorted in memory.

use keystile_core::key::KeyId;
use keystile_model::key::{KeyConcern, KeyDraft, KeyOrder};
use keystile_model::record::{Key, Labels};
use keystile_registry::bench::{Bench, NOON};
use keystile_registry::{client, key as making};
use keystile_system as system;

use crate::Operation as _;
use crate::key::List;

/// Seconds between two rounds of issuing; the keys of a round are equally old.
const ROUND: u64 = 100;
const ROUNDS: u64 = 9;
const LATER: u64 = NOON + ROUND * (ROUNDS + 1);

/// Keys of two clients, several of them equally old or expiring together, some revoked.
fn filled() -> (Bench, Vec<Key>) {
    let mut b = Bench::new();
    let draft = client::ClientDraft::named("globex");
    client::create(&mut b.store, &system::at(NOON), draft).unwrap();
    let mut revoked = Vec::new();
    for round in 0..ROUNDS {
        let world = system::at(NOON + ROUND * round);
        for (client, n) in [("acme", 3), ("globex", 2)] {
            let draft = KeyDraft {
                name: format!("worker {round}"),
                // Those of the last round have just expired.
                expires: (round % 3 != 0).then_some(LATER + 1_000 - 250 * (round / 2)),
                labels: Labels::from([("team".to_owned(), format!("T{round}"))]),
                ..KeyDraft::default()
            };
            let issued = making::issue(&mut b.store, &world, client, draft, n, |_| {});
            revoked.push(issued.unwrap().0[0].key.id);
        }
    }
    let revoked: Vec<KeyId> = revoked.into_iter().step_by(4).collect();
    making::revoke_all(&mut b.store, &system::at(LATER), &revoked, "").unwrap();
    let keys = b.store.read(|tx| tx.keys()).unwrap();
    (b, keys)
}

/// The ids of all pages of a list.
fn listed(b: &mut Bench, asked: &List) -> Vec<KeyId> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = List {
            cursor,
            ..asked.clone()
        };
        let page = page.run(&mut b.store, &system::at(LATER)).unwrap();
        all.extend(page.keys.iter().map(|k| k.id.0));
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
}

fn sorted(keys: &[Key], client: Option<&str>, order: KeyOrder) -> Vec<KeyId> {
    let mut keys: Vec<&Key> = keys.iter().collect();
    keys.retain(|k| client.is_none_or(|c| c == k.client));
    if order == KeyOrder::Ending {
        keys.retain(|k| k.revoked.is_none() && k.effective_expiry().is_none_or(|e| e > LATER));
    }
    keys.sort_by_key(|k| match order {
        KeyOrder::Id => (0, k.id.as_u64()),
        KeyOrder::Newest => (u64::MAX - k.created, u64::MAX - k.id.as_u64()),
        KeyOrder::Oldest => (k.created, k.id.as_u64()),
        KeyOrder::Ending => (k.effective_expiry().unwrap_or(u64::MAX), k.id.as_u64()),
    });
    keys.iter().map(|k| k.id).collect()
}

#[test]
fn keys_are_listed_page_by_page_in_every_order() {
    let (mut b, keys) = filled();
    let orders = [
        KeyOrder::Id,
        KeyOrder::Newest,
        KeyOrder::Oldest,
        KeyOrder::Ending,
    ];
    for order in orders {
        for client in [None, Some("globex")] {
            let wanted = sorted(&keys, client, order);
            assert!(wanted.len() > 3, "{order:?}");
            // Pages that end by their keys, and pages that end by how many were searched.
            for (limit, scan) in [(1, None), (4, None), (100, Some(3))] {
                let asked = List {
                    client: client.map(str::to_owned),
                    order,
                    limit: Some(limit),
                    scan,
                    ..List::default()
                };
                assert_eq!(
                    listed(&mut b, &asked),
                    wanted,
                    "{order:?} {client:?} {limit}"
                );
            }
        }
    }
}

#[test]
fn a_search_finds_names_ids_clients_and_labels() {
    let (mut b, keys) = filled();
    let some = &keys[7];
    let id = some.id.to_string();
    let finds = |key: &Key, text: &str| {
        let labels = key.rules.labels.iter().map(|(n, v)| format!("{n}={v}"));
        let mut all = vec![
            key.rules.name.clone(),
            key.client.clone(),
            key.id.to_string(),
        ];
        all.extend(labels);
        all.iter().any(|a| a.to_lowercase().contains(text))
    };
    for text in ["WORKER 3", "lobe", "team=t4", "nothing like it", &id[..4]] {
        let asked = List {
            search: Some(text.to_owned()),
            limit: Some(5),
            ..List::default()
        };
        let wanted = keys.iter().filter(|k| finds(k, &text.to_lowercase()));
        let mut wanted: Vec<KeyId> = wanted.map(|k| k.id).collect();
        wanted.sort_by_key(|id| id.as_u64());
        assert_eq!(listed(&mut b, &asked), wanted, "{text}");
    }
    // A whole id finds its key at once, however few are searched.
    let asked = |client: &str| List {
        search: Some(format!(" {id} ")),
        client: Some(client.to_owned()),
        scan: Some(1),
        ..List::default()
    };
    let other = ["acme", "globex"].into_iter().find(|c| *c != some.client);
    assert_eq!(listed(&mut b, &asked(&some.client)), [some.id]);
    assert!(!listed(&mut b, &asked(other.unwrap())).contains(&some.id));
}

#[test]
fn a_page_by_age_goes_on_from_a_key_that_there_is() {
    let (mut b, _) = filled();
    let asked = List {
        order: KeyOrder::Newest,
        cursor: Some("0000000000".parse().unwrap()),
        ..List::default()
    };
    let refused = asked.run(&mut b.store, &system::at(LATER));
    assert!(refused.is_err());
}

/// The keys of a kind as the list has them, and as the posture counts them.
fn of_kind(b: &mut Bench, concern: KeyConcern, now: u64) -> Vec<KeyId> {
    let world = system::at(now);
    let asked = List {
        concern: Some(concern),
        ..List::default()
    };
    let page = asked.run(&mut b.store, &world).unwrap();
    let found: Vec<KeyId> = page.keys.iter().map(|k| k.id.0).collect();
    let posture = crate::key::posture(&mut b.store, &world, 100).unwrap();
    let (_, count) = posture
        .concerns
        .iter()
        .find(|(c, _)| *c == concern)
        .unwrap();
    assert_eq!(*count, found.len() as u64, "{concern:?}");
    assert!(posture.is_whole);
    found
}

#[test]
fn keys_that_should_worry_somebody_are_found_by_the_reason() {
    const DAY: u64 = 86_400;
    let mut b = Bench::new();
    let world = system::at(NOON);
    let policy = "version: 1\nplans:\n  bounded: {limits: [{requests: 1, per: 1s}], rotate_every: 30d}\n  free: {}\nroutes:\n  - {path: /a, scopes: [a]}\n  - {path: /b, scopes: [b]}\n";
    let file = keystile_policy::file::parse("policy.yaml", policy.to_owned()).unwrap();
    keystile_registry::policy::apply(&mut b.store, &world, &file).unwrap();
    let mut made = |draft: KeyDraft, at: u64| {
        let issued = making::issue(&mut b.store, &system::at(at), "acme", draft, 1, |_| {});
        issued.unwrap().0[0].key.id
    };
    let plan = |name: &str| KeyDraft {
        plan: Some(name.to_owned()),
        expires: Some(NOON + 900 * DAY),
        labels: Labels::from([("owner".to_owned(), "kim".to_owned())]),
        ..KeyDraft::default()
    };
    let overdue = made(plan("bounded"), NOON + 60 * DAY);
    let endless = made(
        KeyDraft {
            expires: None,
            ..plan("bounded")
        },
        NOON + 100 * DAY,
    );
    let unlimited = made(plan("free"), NOON + 100 * DAY);
    let everything = made(
        KeyDraft {
            scopes: vec!["a".to_owned(), "b".to_owned()],
            ..plan("bounded")
        },
        NOON + 100 * DAY,
    );
    let ownerless = made(
        KeyDraft {
            labels: Labels::new(),
            ..plan("bounded")
        },
        NOON + 100 * DAY,
    );
    let now = NOON + 101 * DAY;
    for (concern, wanted) in [
        (KeyConcern::Endless, endless),
        (KeyConcern::Unlimited, unlimited),
        (KeyConcern::NeverUsed, overdue),
        (KeyConcern::Overdue, overdue),
        (KeyConcern::EveryScope, everything),
        (KeyConcern::Ownerless, ownerless),
    ] {
        assert_eq!(of_kind(&mut b, concern, now), [wanted], "{concern:?}");
    }
    assert!(of_kind(&mut b, KeyConcern::Unused, now).is_empty());
    // A key that cannot be used worries nobody.
    making::revoke_all(&mut b.store, &system::at(now), &[endless], "").unwrap();
    assert!(of_kind(&mut b, KeyConcern::Endless, now).is_empty());
}
