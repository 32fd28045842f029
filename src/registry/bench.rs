//! A store for tests.
//!
//! Always compiled: a feature for it would build every crate above this one twice.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    missing_docs
)]

use keystile_system as system;
use std::path::PathBuf;

use crate::client;
use crate::home::Home;
use crate::key;
use crate::signing;
use keystile_core::keyset::StoreId;
use keystile_model::audit::{Broken, Chain};
use keystile_model::error::{Code, refuse};
use keystile_model::world::World;
use keystile_policy::file as policy_file;
use keystile_store::Store;
use keystile_store::master_key::MasterKey;

/// When it was made, in seconds.
pub const NOON: u64 = 1_800_000_000;

/// A store with a policy, a signing key and a client, made at `NOON`.
pub struct Bench {
    /// The store.
    pub store: Store,
    /// What it is encrypted with.
    pub key: MasterKey,
    /// Its file.
    pub path: PathBuf,
    /// Its folder.
    pub folder: tempfile::TempDir,
}

impl Bench {
    /// With the client `acme` in it.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let world = system::at(NOON);
        let key = MasterKey::generate(world.entropy).ok().unwrap();
        let mut store = Store::create(&path, &key, StoreId([7; 8])).ok().unwrap();
        store
            .write(&world, |tx| {
                tx.insert_policy(policy_file::DEFAULT, NOON)?;
                signing::insert(tx, &world).map(drop)
            })
            .unwrap();
        let mut bench = Self {
            store,
            key,
            path,
            folder,
        };
        bench.client("acme");
        bench
    }

    /// Makes a client.
    pub fn client(&mut self, name: &str) {
        let draft = client::ClientDraft::named(name);
        client::create(&mut self.store, &system::at(NOON), draft).unwrap();
    }

    /// Issues keys of `acme`.
    pub fn issue(&mut self, world: &World, n: u32) -> Vec<key::Issued> {
        key::issue(
            &mut self.store,
            world,
            "acme",
            key::KeyDraft::default(),
            n,
            |_| {},
        )
        .ok()
        .unwrap()
        .0
    }

    /// The version of the keyset.
    pub fn version(&mut self) -> u64 {
        self.store.read(|tx| Ok(tx.meta().version)).unwrap()
    }

    /// Follows the audit log.
    pub fn verify(&mut self) -> std::result::Result<(), Broken> {
        let mut found = Ok(());
        self.store
            .read(|tx| {
                let mut chain = Chain::new(tx.meta().start);
                let followed = tx.each_audit(|r| {
                    chain.follow(&r).map_err(|b| {
                        found = Err(b);
                        refuse(Code::AuditBroken, b, keystile_model::refusal::Next::NONE)
                    })
                });
                if followed.is_ok() {
                    found = chain.end(tx.meta().head);
                }
                Ok(())
            })
            .unwrap();
        found
    }

    /// Runs SQL for which there is no function.
    pub fn sql(&self, sql: &str) {
        let changed = self.store.execute(sql);
        assert!(changed > 0, "{sql}");
    }
}

/// A home with a store of this policy, a signing key and clients of these names, in a folder
/// that is removed with it.
pub fn home(policy: &str, clients: &[&str]) -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path().to_owned(), None);
    let world = system::local();
    home.create(&world, |store| {
        store.write(&world, |tx| {
            tx.insert_policy(policy, world.now.seconds())?;
            signing::insert(tx, &world).map(drop)
        })?;
        for name in clients {
            client::create(store, &world, client::ClientDraft::named(name))?;
        }
        Ok(())
    })
    .unwrap();
    (folder, home)
}
