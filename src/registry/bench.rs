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
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::client;
use crate::home::Home;
use crate::key;
use crate::signing;
use keystile_core::keyset::StoreId;
use keystile_model::audit::{Broken, Chain};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::world::World;
use keystile_policy::file as policy_file;
use keystile_store::bench::fresh_address;
use keystile_store::master_key::MasterKey;
use keystile_store::{DatabaseAddress, Store};

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
    /// The database that it is in, if it is in one.
    pub database: Option<Arc<DatabaseAddress>>,
}

/// The way to a store.
#[derive(Clone, Copy)]
pub struct Door<'b> {
    /// Its file, if it is in one.
    pub path: &'b Path,
    /// Its master key.
    pub key: &'b MasterKey,
    /// Its folder.
    pub folder: &'b Path,
    /// Its database, if it is in one.
    pub database: Option<&'b Arc<DatabaseAddress>>,
}

impl Door<'_> {
    /// Opens it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn open(self) -> Result<Store> {
        match self.database {
            None => Store::open(self.path, self.key),
            Some(address) => {
                let entropy = system::at(NOON).entropy;
                Store::open_in(address, self.folder, self.key, entropy, None)
            }
        }
    }
}

impl Bench {
    /// With the client `acme` in it; in a file or, beside `scripts/postgres`, in a database.
    pub fn new() -> Self {
        Self::on(fresh_address())
    }

    /// The same, in a file in any case.
    pub fn in_file() -> Self {
        Self::on(None)
    }

    fn on(database: Option<Arc<DatabaseAddress>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let world = system::at(NOON);
        let key = MasterKey::generate(world.entropy).ok().unwrap();
        let id = StoreId([7; 8]);
        let mut store = match &database {
            None => Store::create(&path, &key, id),
            Some(address) => {
                let entropy = world.entropy;
                Store::create_in(address, folder.path(), &key, id, entropy, |_| Ok(()))
                    .and_then(|()| Store::open_in(address, folder.path(), &key, entropy, None))
            }
        }
        .map_err(|e| e.to_string())
        .unwrap();
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
            database,
        };
        bench.client("acme");
        bench
    }

    /// The way to it.
    pub fn door(&self) -> Door<'_> {
        Door {
            path: &self.path,
            key: &self.key,
            folder: self.folder.path(),
            database: self.database.as_ref(),
        }
    }

    /// Opens the store once more.
    ///
    /// # Errors
    /// Those of the store.
    pub fn open(&self) -> Result<Store> {
        self.door().open()
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
/// that is removed with it; the store is in a database beside `scripts/postgres`.
pub fn home(policy: &str, clients: &[&str]) -> (tempfile::TempDir, Home) {
    home_on(fresh_address(), policy, clients)
}

/// The same, with the store in the folder in any case.
pub fn home_in_folder(policy: &str, clients: &[&str]) -> (tempfile::TempDir, Home) {
    home_on(None, policy, clients)
}

fn home_on(
    database: Option<Arc<DatabaseAddress>>,
    policy: &str,
    clients: &[&str],
) -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::new(folder.path().to_owned(), None);
    if let Some(address) = database {
        home = home.in_database(address);
    }
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
