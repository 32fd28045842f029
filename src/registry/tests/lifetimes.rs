//! The longest life that the policy gives keys.

use crate::bench::home;
use crate::client;
use crate::import::{ImportOptions, Line, import};
use crate::key::{self, KeyDraft, KeyPatch};
use crate::rotation::{self, RotationOptions};
use keystile_model::error::{Code, Error};
use keystile_model::record::Key;
use keystile_model::world::World;
use keystile_store::Store;
use keystile_system as system;

const DAY: u64 = 86_400;

const POLICY: &str = r#"
version: 1
environments: [live, test]
publishable: { scopes: [read] }
max_lifetime: { any: 100d, publishable: 50d, environments: { test: 10d } }
plans:
  short: { limits: [{ requests: 1, per: 1s }], max_lifetime: 5d }
  plain: { limits: [{ requests: 1, per: 1s }] }
routes:
  - { path: "/{*rest}", scopes: [read] }
"#;

struct Shop {
    store: Store,
    _folder: tempfile::TempDir,
    now: u64,
}

impl Shop {
    fn new(policy: &str) -> Self {
        let (folder, home) = home(policy, &["acme"]);
        Self {
            store: home.open().unwrap(),
            _folder: folder,
            now: system::local().now.seconds(),
        }
    }

    fn world(&self) -> World {
        system::at(self.now)
    }

    fn issue(&mut self, change: impl FnOnce(&mut KeyDraft)) -> Result<Key, Error> {
        let mut draft = KeyDraft::default();
        change(&mut draft);
        let world = self.world();
        let (mut made, _) = key::issue(&mut self.store, &world, "acme", draft, 1, |_| {})?;
        Ok(made.remove(0).key)
    }
}

fn is_too_long(refused: Result<Key, Error>) -> bool {
    refused.is_err_and(|e| e.is(Code::BeyondMaxLifetime))
}

#[test]
fn a_new_key_ends_within_the_shortest_life_that_is_about_it() {
    let mut shop = Shop::new(POLICY);
    let now = shop.now;
    type Case = (u64, fn(&mut KeyDraft));
    let table: [Case; 5] = [
        (100, |_| {}),
        (10, |d| d.environment = Some("test".parse().unwrap())),
        (5, |d| d.plan = Some("short".into())),
        (100, |d| d.plan = Some("plain".into())),
        (50, |d| {
            d.publishable = true;
            d.scopes = vec!["read".into()];
            d.origins = vec!["https://example.com".into()];
        }),
    ];
    for (days, kind) in table {
        let ending = |end: Option<u64>| {
            move |d: &mut KeyDraft| {
                kind(d);
                d.expires = end;
            }
        };
        let made = shop.issue(ending(Some(now + days * DAY)));
        assert!(
            made.is_ok(),
            "{days}: {:?}",
            made.err().map(|e| e.to_string())
        );
        assert!(
            is_too_long(shop.issue(ending(Some(now + days * DAY + 1)))),
            "{days}"
        );
        assert!(is_too_long(shop.issue(ending(None))), "{days}");
    }
}

#[test]
fn the_plan_of_a_client_bounds_the_life_of_its_new_keys() {
    let mut shop = Shop::new(POLICY);
    let world = shop.world();
    let draft = client::ClientDraft {
        plan: Some("short".into()),
        ..client::ClientDraft::named("brief")
    };
    client::create(&mut shop.store, &world, draft).unwrap();
    let draft = |days: u64| KeyDraft {
        expires: Some(shop.now + days * DAY),
        ..KeyDraft::default()
    };
    let [long, short] = [6, 5].map(draft);
    assert!(key::issue(&mut shop.store, &world, "brief", long, 1, |_| {}).is_err());
    assert!(key::issue(&mut shop.store, &world, "brief", short, 1, |_| {}).is_ok());
}

#[test]
fn an_end_is_moved_within_the_life_of_the_key_and_what_is_not_changed_stays() {
    let mut shop = Shop::new(POLICY);
    let (born, world) = (shop.now, shop.world());
    let made = shop.issue(|d| d.expires = Some(born + 90 * DAY)).unwrap();
    shop.now += 50 * DAY;
    let later = shop.world();
    let update = |store: &mut Store, world: &World, expires| {
        let patch = KeyPatch {
            expires: Some(expires),
            ..KeyPatch::default()
        };
        key::update(store, world, made.id, patch)
    };
    assert!(update(&mut shop.store, &later, Some(born + 100 * DAY)).is_ok());
    // Counted from its issue: otherwise it could be moved for ever.
    assert!(is_too_long(update(
        &mut shop.store,
        &later,
        Some(born + 101 * DAY)
    )));
    assert!(is_too_long(update(&mut shop.store, &later, None)));

    // A key from before there was such a rule keeps its end when something else changes.
    let mut old = Shop::new("version: 1\nroutes: []\n");
    let endless = old.issue(|_| {}).unwrap();
    old.store
        .write(&world, |tx| tx.insert_policy(POLICY, 0).map(drop))
        .unwrap();
    let named = KeyPatch {
        name: Some("mine".into()),
        ..KeyPatch::default()
    };
    assert!(key::update(&mut old.store, &later, endless.id, named).is_ok());
    // Its successor has one.
    let (next, _) = key::rotate(&mut old.store, &later, endless.id, 60, None)
        .ok()
        .unwrap();
    assert_eq!(next.key.rules.expires, Some(shop.now + 100 * DAY));
}

#[test]
fn who_rotates_many_keys_makes_none_that_lives_too_long() {
    struct Taken(Vec<Key>);
    impl rotation::Receive for Taken {
        fn take(&mut self, some: &[rotation::RotatedKey]) -> Result<(), Error> {
            self.0.extend(some.iter().map(|r| r.new.key.clone()));
            Ok(())
        }

        fn settle(&mut self) {}
    }
    let mut shop = Shop::new("version: 1\nroutes: []\n");
    let world = shop.world();
    let endless = shop.issue(|_| {}).unwrap();
    shop.store
        .write(&world, |tx| tx.insert_policy(POLICY, 0).map(drop))
        .unwrap();
    let how = RotationOptions {
        grace: &|_| 60,
        renew: true,
    };
    let mut taken = Taken(Vec::new());
    rotation::rotate_all(&mut shop.store, &world, vec![endless.id], &how, &mut taken).unwrap();
    assert_eq!(taken.0[0].rules.expires, Some(shop.now + 100 * DAY));
}

#[test]
fn a_key_from_elsewhere_ends_in_time_or_is_not_imported() {
    let mut shop = Shop::new(POLICY);
    let world = shop.world();
    let mut imported = |n: u8, expires: &str| {
        let mut line = Line {
            client: "acme".to_owned(),
            sha256: format!("{n:064x}"),
            ..Line::default()
        };
        if !expires.is_empty() {
            line.properties.insert("expires", vec![expires.to_owned()]);
        }
        let how = ImportOptions {
            create_clients: false,
            any_scope: false,
            dry_run: false,
        };
        import(
            &mut shop.store,
            &world,
            vec![("keys.csv:1".to_owned(), line)],
            how,
        )
    };
    assert!(imported(1, "100d").is_ok());
    for too_long in ["101d", ""] {
        let refused = imported(2, too_long).err().unwrap();
        assert!(refused.to_string().contains("may live for"), "{refused}");
    }
}
