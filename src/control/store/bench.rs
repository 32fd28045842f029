//! A store for tests.

use std::path::PathBuf;

use super::*;
use crate::audit::{Broken, Chain};
use crate::policy_file;
use crate::registry::client;
use crate::registry::key;
use crate::registry::signing;
use crate::system;

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
        let draft = client::Draft::named(name);
        client::create(&mut self.store, &system::at(NOON), draft).unwrap();
    }

    /// Issues keys of `acme`.
    pub fn issue(&mut self, world: &World, n: u32) -> Vec<key::Issued> {
        key::issue(
            &mut self.store,
            world,
            "acme",
            key::Draft::default(),
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
                        refuse(b, "")
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

    /// Does what no function of ours does.
    pub fn sql(&self, sql: &str) {
        let changed = self.store.db.execute(sql, []).unwrap();
        assert!(changed > 0, "{sql}");
    }
}

/// How a database goes about a query with these values; those that are not given are null.
pub fn plan(db: &Connection, sql: &str, values: &[&dyn rusqlite::ToSql]) -> String {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    for (value, place) in values.iter().zip(1..) {
        statement.raw_bind_parameter(place, value).unwrap();
    }
    let mut rows = statement.raw_query();
    let mut lines: Vec<String> = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        lines.push(row.get(3).unwrap());
    }
    lines.join("; ")
}
