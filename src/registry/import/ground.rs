//! Where an import writes: into the store, or nowhere. A dry run does not block writers.

use std::ops::Deref;

use crate::client::{self, ClientDraft};
use crate::policy;
use keystile_model::error::Result;
use keystile_model::record::{Client, Key};
use keystile_model::world::World;
use keystile_policy::file::PolicyFile;
use keystile_store::{Store, Tx};

/// The target of an import.
pub enum Ground<'a, 's> {
    /// The result of forgetting.
    Store(&'a mut Tx<'s>),
    /// Only checked.
    Nowhere(&'a Tx<'s>),
}

impl<'s> Deref for Ground<'_, 's> {
    type Target = Tx<'s>;

    fn deref(&self) -> &Tx<'s> {
        match self {
            Self::Store(tx) => tx,
            Self::Nowhere(tx) => tx,
        }
    }
}

impl Ground<'_, '_> {
    /// Performs it, or only checks it in a `dry_run`.
    pub fn run<T>(
        store: &mut Store,
        world: &World,
        dry_run: bool,
        f: impl FnOnce(Ground<'_, '_>) -> Result<T>,
    ) -> Result<T> {
        match dry_run {
            true => store.read(|tx| f(Ground::Nowhere(tx))),
            false => store.write(world, |tx| f(Ground::Store(tx))),
        }
    }

    /// Makes a client; its plan has been checked.
    pub fn add_client(&mut self, world: &World, draft: ClientDraft) -> Result<Client> {
        match self {
            Self::Store(tx) => client::insert(tx, world, draft),
            Self::Nowhere(tx) => client::checked(tx, world, draft),
        }
    }

    /// Imports a key.
    pub fn add_key(&mut self, world: &World, key: &Key) -> Result<()> {
        if let Self::Store(tx) = self {
            tx.insert_key(key)?;
            tx.audit_key(world, "key.import", key, String::new(), key.audit_text())?;
        }
        Ok(())
    }

    /// Puts a policy in force.
    pub fn apply(&mut self, world: &World, file: &PolicyFile) -> Result<()> {
        match self {
            Self::Store(tx) => policy::apply_in(tx, world, file).map(drop),
            Self::Nowhere(tx) => policy::check(tx, file).map(drop),
        }
    }

    /// Notes that the keyset has changed.
    pub fn keyset_changed(&mut self) {
        if let Self::Store(tx) = self {
            tx.keyset_changed();
        }
    }
}
