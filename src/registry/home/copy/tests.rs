use super::*;
use crate::{bench, client, key, node, publish, signing, token, webhook};
use keystile_core::key::KeyId;
use keystile_model::caller::Role;
use keystile_model::record::DeliveryAttempt;
use keystile_policy::file as policy_file;
use keystile_store::bench::fresh_address;
use keystile_store::{Cell, KeySeen, KnownEnvoy, LostKey, Replay, Step, Store};
use keystile_system as system;

/// Every kind of place that tests have.
fn places() -> Vec<(tempfile::TempDir, Home)> {
    let new = || {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().join("home"), None);
        (folder, home)
    };
    let mut places = vec![new()];
    if let Some(address) = fresh_address() {
        let (folder, home) = new();
        places.push((folder, home.in_database(address)));
    }
    places
}

/// A store with something in every table.
fn filled(home: &Home) {
    let world = &system::local();
    home.create(world, |store| {
        store.write(world, |tx| {
            tx.insert_policy(policy_file::DEFAULT, 1)?;
            signing::insert(tx, world).map(drop)
        })
    })
    .unwrap();
    let mut store = home.open().unwrap_or_else(|e| panic!("{e}"));
    client::create(&mut store, world, client::ClientDraft::named("acme")).unwrap();
    let draft = key::KeyDraft::default();
    let issued = key::issue(&mut store, world, "acme", draft, 70, |_| {});
    let ids: Vec<KeyId> = issued.ok().unwrap().0.iter().map(|i| i.key.id).collect();
    key::revoke_all(&mut store, world, &ids[..2], "lost").unwrap();
    key::rotate(&mut store, world, ids[3], 60, None)
        .ok()
        .unwrap();
    let (_, former) = signing::rotate(&mut store, world, None).unwrap();
    signing::retire(&mut store, world, &former).unwrap();
    let owner = token::TokenDraft::plain("ci", Role::Owner);
    token::create(&mut store, world, owner).ok().unwrap();
    let client = token::TokenDraft::plain("portal", Role::Client);
    token::create(&mut store, world, client).ok().unwrap();
    node::enroll(&mut store, world, "edge-1").ok().unwrap();
    let hook = webhook::WebhookDraft {
        name: "siem".to_owned(),
        url: "https://siem.example.com/keystile".to_owned(),
        events: vec!["key.*".to_owned()],
        secret: None,
    };
    webhook::create(&mut store, world, hook).ok().unwrap();
    key::issue(
        &mut store,
        world,
        "acme",
        key::KeyDraft::default(),
        1,
        |_| {},
    )
    .ok()
    .unwrap();
    while webhook::collect(&mut store, world).unwrap().more {}
    store.write(world, |tx| by_hand(tx, ids[4])).unwrap();
    store
        .with_made_usage(|_, usage| usage.write(|tx| counted(tx, ids[5])))
        .unwrap();
}

/// What only a running server writes.
fn by_hand(tx: &mut keystile_store::Tx<'_>, id: KeyId) -> Result<()> {
    tx.set_warning(id, 9, 7)?;
    tx.insert_handover(id, 8)?;
    tx.keep_envoy(&KnownEnvoy {
        node: "edge-1".to_owned(),
        proved: true,
        ..KnownEnvoy::default()
    })?;
    tx.insert_lost_key(&LostKey {
        id,
        client: "acme".to_owned(),
        revoked: true,
    })?;
    let replay = Replay {
        request: [1; 32],
        status: 200,
        body: b"{}".to_vec(),
        created: 5,
    };
    tx.insert_replay("token ci", "k", &replay, 0)?;
    let tried = DeliveryAttempt {
        seq: 3,
        action: "key.issue".to_owned(),
        attempt: 1,
        at: 5,
        took_ms: 12,
        status: Some(500),
        failure: Some("it answered 500".to_owned()),
        next: None,
    };
    for hook in tx.webhooks()? {
        tx.insert_delivery(hook.number, &tried)?;
    }
    tx.set_base(b"manifest")
}

fn counted(tx: &mut keystile_store::UsageTx<'_>, id: KeyId) -> Result<()> {
    tx.begin(1)?;
    let source = tx.source("edge-1", u64::MAX, 2)?;
    tx.set_counted(source, 1, u64::MAX, (3, u64::MAX), 4)?;
    let cell = Cell {
        client: 1,
        key: tx.key_number(id, 1)?,
        route: tx.route("/v1")?,
        outcome: tx.outcome("expired")?,
    };
    let seen = KeySeen {
        last: 5,
        address: Some("10.0.0.1"),
        agent: None,
    };
    tx.key_seen(cell.key, seen)?;
    tx.network_seen(cell.key, "10.0.0.0/24", 5, 9)?;
    for step in Step::ALL {
        tx.add_client(step, 6, cell, 7)?;
        tx.add_key(step, 6, cell, 7)?;
    }
    tx.add_lost(1, 2, 3)?;
    tx.add_quota(id, 60, source, 4)?;
    tx.add_anomaly(cell.key, "burst", 86_400, "{}").map(drop)
}

fn keyset(store: &mut Store) -> Vec<u8> {
    let ready = store.read(publish::unrenewed).ok().unwrap();
    ready.seal_raw(1)
}

#[test]
fn a_copy_has_all_that_the_store_has_whatever_kinds_they_are() {
    for (_one, from) in places() {
        filled(&from);
        let mut store = from.open().ok().unwrap();
        let (dump, bytes) = (store.dump().unwrap(), keyset(&mut store));
        for (table, rows) in &dump {
            assert!(!rows.is_empty(), "there is nothing in `{table}` to copy");
        }
        for (_two, to) in places() {
            let mut seen = 0;
            let world = &system::local();
            let copied = from.copy_store(world, &to, &mut |_, rows| seen += rows);
            let copied = copied.unwrap_or_else(|e| panic!("{e}"));
            assert!(seen > 100, "{seen}");
            let mut copy = to.open().ok().unwrap();
            assert_eq!(keyset(&mut copy), bytes);
            let last = crate::audit::verify(&mut copy, None).unwrap().head.seq;
            assert_eq!(last, copied.head.seq + 1, "and the record of the copy");
            let mut found = copy.dump().unwrap();
            for own in ["meta", "audit", "audit_day"] {
                found.remove(own);
            }
            for (table, rows) in found {
                assert_eq!(Some(&rows), dump.get(&table), "{table}");
            }
            // It goes on where the other one ended.
            let draft = client::ClientDraft::named("pia");
            assert_eq!(client::create(&mut copy, world, draft).unwrap().number, 2);
            assert!(from.copy_store(world, &to, &mut |_, _| {}).is_err());
        }
    }
}

/// What somebody else writes meanwhile, the copy would not know of.
#[test]
fn a_copy_of_a_store_that_changes_leaves_nothing_and_the_next_one_works() {
    let mut named = 0..;
    for (_one, from) in places() {
        filled(&from);
        for (_two, to) in places() {
            let world = &system::local();
            let mut changes = 1;
            let done = from.copy_store(world, &to, &mut |_, rows| {
                if rows > 0 && changes > 0 {
                    changes -= 1;
                    let mut beside = from.open().ok().unwrap();
                    let name = format!("meanwhile-{}", named.next().unwrap());
                    client::create(&mut beside, world, client::ClientDraft::named(&name)).unwrap();
                }
            });
            assert_eq!(changes, 0);
            assert!(done.err().unwrap().is(Code::Interrupted));
            assert!(!to.exists().unwrap());
            assert!(from.copy_store(world, &to, &mut |_, _| {}).is_ok());
        }
    }
}

#[test]
fn a_log_that_is_broken_is_not_copied() {
    let (_one, from) = bench::home_in_folder("version: 1\n", &["acme"]);
    from.open()
        .ok()
        .unwrap()
        .batch("DELETE FROM audit WHERE seq = 1");
    for (_two, to) in places() {
        let done = from.copy_store(&system::local(), &to, &mut |_, _| {});
        assert!(done.err().unwrap().is(Code::AuditBroken));
        assert!(!to.exists().unwrap());
    }
}
