//! Usage in a separate database beside the store, so that a flood of counts never delays a
//! revocation. Encrypted with a key derived from a secret in the store, so that a new master key
//! for the store does not require changing a second file at the same time.

use crate::trouble::Sql as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::schema::{self, ExclusiveHold};
use super::scope::TransactionScope;
use crate::master_key as seal;
use keystile_model::error::{Code, Result, refuse};

mod add;
mod facts;
mod keep;
mod read;
mod step;
mod unknown;

pub use add::{Cell, KeySeen};
pub use facts::KeyFacts;
pub use keep::{Anomaly, Untold};
pub use read::{Dimension, Grouped, These, Whose};
pub use step::Step;

/// As [`super::MIGRATIONS`].
const MIGRATIONS: [&str; 2] = [include_str!("usage.sql"), include_str!("usage_2.sql")];

/// The name for messages.
const USAGE: &str = "usage";

/// How long a server's other work waits for a counting transaction. Short, because holding the
/// store's only writer delays revocations.
const PATIENCE: Duration = Duration::from_secs(2);

/// The key that usage is encrypted with. No `Debug`, no `Display`; wiped when dropped.
pub(super) struct UsageKey(Zeroizing<[u8; 32]>);

/// An open usage database.
pub struct UsageStore {
    db: Connection,
}

/// A transaction of it: a consistent view for reading, all or nothing for writing.
pub struct UsageTx<'s> {
    tx: TransactionScope<'s>,
}

impl UsageKey {
    /// From a secret that only this store has, and that never changes.
    pub(super) fn from_secret(secret: &[u8]) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(
            &Sha256::new()
                .chain_update(b"keystile usage database v1\n")
                .chain_update(secret)
                .finalize(),
        );
        Self(key)
    }

    /// SQLCipher's raw key: `x'…'`. A secret.
    fn raw(&self) -> Zeroizing<String> {
        seal::raw_key(&self.0)
    }
}

impl UsageStore {
    pub(super) fn open(path: &Path, key: &UsageKey, alone: Option<&ExclusiveHold>) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let db = connect(path, key, flags)?;
        db.pragma_update(None, "journal_mode", "WAL").sql()?;
        let mut usage = Self { db };
        schema::update(&mut usage.db, USAGE, &MIGRATIONS, alone)?;
        Ok(usage)
    }

    /// Of a store that has counted nothing.
    pub(super) fn nothing() -> Result<Self> {
        let mut usage = Self {
            db: Connection::open_in_memory().sql()?,
        };
        schema::update(&mut usage.db, USAGE, &MIGRATIONS, None)?;
        Ok(usage)
    }

    /// Waits longer for others than a server's operations do; used for counting.
    pub fn be_patient(&mut self) -> Result<()> {
        self.db.busy_timeout(crate::trouble::PATIENCE).sql()
    }

    /// Reads consistently.
    ///
    /// # Errors
    /// Those of `f`, and of the database.
    pub fn read<T>(&mut self, f: impl FnOnce(&UsageTx<'_>) -> Result<T>) -> Result<T> {
        let tx = TransactionScope::begin(&self.db, TransactionBehavior::Deferred, false).sql()?;
        schema::unchanged(&tx, USAGE, &MIGRATIONS)?;
        f(&UsageTx { tx })
    }

    /// Changes, all or nothing.
    ///
    /// # Errors
    /// Those of `f`, and of the database.
    pub fn write<T>(&mut self, f: impl FnOnce(&mut UsageTx<'_>) -> Result<T>) -> Result<T> {
        let tx = TransactionScope::begin(&self.db, TransactionBehavior::Immediate, false).sql()?;
        schema::unchanged(&tx, USAGE, &MIGRATIONS)?;
        let mut tx = UsageTx { tx };
        let out = f(&mut tx)?;
        tx.tx.commit().sql()?;
        Ok(out)
    }

    pub(super) fn copy_to(&self, file: &Path, key: &UsageKey) -> Result<()> {
        let mut copy = connect(file, key, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        {
            let backup = Backup::new(&self.db, &mut copy).sql()?;
            // All pages in one step: in WAL mode that stops nobody from counting.
            if backup.step(-1).sql()? != StepResult::Done {
                return Err(refuse(
                    Code::StoreBusy,
                    "usage was busy",
                    "nothing was written; try again",
                ));
            }
        }
        // One file, and no log beside it.
        copy.pragma_update(None, "journal_mode", "DELETE").sql()?;
        let sound: String = copy
            .query_row("PRAGMA quick_check(1)", [], |r| r.get(0))
            .sql()?;
        copy.close().map_err(|(_, e)| crate::trouble::trouble(e))?;
        match sound.as_str() {
            "ok" => Ok(()),
            wrong => Err(refuse(
                Code::UsageDamaged,
                format_args!("usage is damaged: {wrong}"),
                "move `usage.db` away to count anew, and back up again",
            )),
        }
    }

    pub(super) fn close(self) -> Result<()> {
        self.db.close().map_err(|(_, e)| crate::trouble::trouble(e))
    }

    #[doc(hidden)]
    pub fn sql(&self) -> &Connection {
        &self.db
    }
}

fn connect(path: &Path, key: &UsageKey, flags: OpenFlags) -> Result<Connection> {
    let db = Connection::open_with_flags(path, flags).sql()?;
    db.pragma_update(None, "cipher_log_level", "NONE").sql()?;
    db.pragma_update(None, "key", key.raw().as_str()).sql()?;
    db.busy_timeout(PATIENCE).sql()?;
    // FULL: a batch is acknowledged only when it is on disk, because nobody else has it after that.
    db.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000;",
    )
    .sql()?;
    db.set_prepared_statement_cache_capacity(64);
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .sql()?;
    Ok(db)
}
