//! The store's file as a whole: copied while it is in use, and re-encrypted.

use crate::trouble::Sql as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::OpenFlags;
use rusqlite::backup::{Backup, StepResult};

use super::Store;
use super::trouble::PATIENCE;
use crate::master_key::MasterKey;
use keystile_model::error::{Code, Result, refuse};

impl Store {
    /// Copies the store consistently into an empty file that is encrypted with the same key. Others
    /// may read and write meanwhile.
    ///
    /// # Errors
    /// Those of the database.
    pub fn copy_to(&self, file: &Path, key: &MasterKey) -> Result<()> {
        let mut copy = Self::connect(file, key, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let pause = Duration::from_millis(50);
        {
            let backup = Backup::new(&self.db, &mut copy.db).sql()?;
            let mut tries = PATIENCE.as_millis() / pause.as_millis();
            // All pages in one step, so that no writer comes between.
            while backup.step(-1).sql()? != StepResult::Done {
                tries = tries.checked_sub(1).ok_or_else(|| {
                    refuse(
                        Code::StoreBusy,
                        "the store was busy all the time",
                        "nothing was written; try again",
                    )
                })?;
                std::thread::sleep(pause);
            }
        }
        // One file, and no log beside it.
        copy.db
            .pragma_update(None, "journal_mode", "DELETE")
            .sql()?;
        copy.close()
    }

    /// Opens a copy in its final place.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open_copy(file: &Path, key: &MasterKey) -> Result<Self> {
        let store = Self::open(file, key)?;
        store.db.pragma_update(None, "journal_mode", "WAL").sql()?;
        Ok(store)
    }

    /// Encrypts the store with another key: all of it or, if interrupted, nothing. Open connections
    /// with the old key can no longer read it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn rekey(&mut self, key: &MasterKey) -> Result<()> {
        self.db
            .pragma_update(None, "rekey", key.raw_key().as_str())
            .sql()?;
        // Out of the write-ahead log, so that no page remains under the old key. A reader can delay
        // that; it is then done when the next one closes the store.
        self.db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .sql()?;
        Ok(())
    }
}
