//! The store's file as a whole: copied while it is in use, and re-encrypted.

use std::path::Path;

use super::Store;
use super::sql::sqlite::{FileMode, PAUSE};
use super::trouble::PATIENCE;
use crate::master_key::MasterKey;
use keystile_model::error::Result;

/// How often to try while others write.
const TRIES: u64 = PATIENCE.as_millis() as u64 / PAUSE.as_millis() as u64;

impl Store {
    /// Copies the store consistently into an empty file that is encrypted with the same key. Others
    /// may read and write meanwhile.
    ///
    /// # Errors
    /// Those of the database.
    pub fn copy_to(&self, file: &Path, key: &MasterKey) -> Result<()> {
        let mut copy = Self::connect(file, key, FileMode::Existing)?;
        self.db.file()?.copy_to(copy.db.file_mut()?, TRIES)?;
        copy.close()
    }

    /// Opens a copy in its final place.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open_copy(file: &Path, key: &MasterKey) -> Result<Self> {
        let store = Self::open(file, key)?;
        store.db.file()?.write_ahead()?;
        Ok(store)
    }

    /// Encrypts the store with another key: all of it or, if interrupted, nothing. Open connections
    /// with the old key can no longer read it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn rekey(&mut self, key: &MasterKey) -> Result<()> {
        match self.seal.clone() {
            Some(seal) => self.wrap(&seal, key),
            None => self.db.file()?.rekey(key.raw_key().as_str()),
        }
    }
}
