//! Usage in a separate database beside the store, so that a flood of counts never delays a
//! revocation. Encrypted with a key derived from a secret in the store, so that a new master key
//! for the store does not require changing a second file at the same time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::schema::{self, ExclusiveHold, Scripts};
use super::scope::TransactionScope;
use super::sql::postgres::{DatabaseAddress, Part, PostgresDatabase};
use super::sql::sqlite::{FileMode, Settings, SqliteDatabase};
use super::sql::{Database, TransactionAccess};
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
pub use read::{Dimension, Grouped, OnlyThese, These, Whose};
pub use step::Step;

/// As [`super::SCRIPTS`].
pub(super) const SCRIPTS: Scripts = Scripts {
    sqlite: &[
        include_str!("usage.sql"),
        include_str!("usage_2.sql"),
        include_str!("oldest.sql"),
    ],
    postgres: &[
        include_str!("postgres/usage.sql"),
        include_str!("postgres/oldest.sql"),
    ],
    oldest: 3,
};

/// The name for messages.
pub const USAGE: &str = "usage";

/// How long a server's other work waits for a counting transaction. Short, because holding the
/// store's only writer delays revocations.
const PATIENCE: Duration = Duration::from_secs(2);

/// The key that usage is encrypted with. No `Debug`, no `Display`; wiped when dropped.
pub(super) struct UsageKey(Zeroizing<[u8; 32]>);

/// An open usage database.
pub struct UsageStore {
    pub(super) db: Database,
}

/// A transaction of it: a consistent view for reading, all or nothing for writing.
pub struct UsageTx<'s> {
    pub(super) tx: TransactionScope<'s>,
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
        let db = connect(path, key, FileMode::Made)?;
        db.write_ahead()?;
        Self::with(Database::Sqlite(db), alone)
    }

    /// Of a store in a database.
    pub(super) fn open_in(
        address: &Arc<DatabaseAddress>,
        alone: Option<&ExclusiveHold>,
    ) -> Result<Self> {
        let db = PostgresDatabase::open(address, Part::Usage)?;
        Self::with(Database::Postgres(db.into()), alone)
    }

    /// Of a store that has counted nothing.
    pub(super) fn nothing() -> Result<Self> {
        Self::with(Database::Sqlite(SqliteDatabase::in_memory()?), None)
    }

    fn with(db: Database, alone: Option<&ExclusiveHold>) -> Result<Self> {
        schema::update(&db, USAGE, &SCRIPTS, alone)?;
        Ok(Self { db })
    }

    /// Waits longer for others than a server's operations do; used for counting.
    pub fn be_patient(&mut self) -> Result<()> {
        self.db.wait_for_others(crate::trouble::PATIENCE)
    }

    /// Reads consistently.
    ///
    /// # Errors
    /// Those of `f`, and of the database.
    pub fn read<T>(&mut self, f: impl FnOnce(&UsageTx<'_>) -> Result<T>) -> Result<T> {
        let tx = TransactionScope::begin(&self.db, TransactionAccess::Read, false)?;
        schema::unchanged(&tx, USAGE, &SCRIPTS)?;
        f(&UsageTx { tx })
    }

    /// Changes, all or nothing.
    ///
    /// # Errors
    /// Those of `f`, and of the database.
    pub fn write<T>(&mut self, f: impl FnOnce(&mut UsageTx<'_>) -> Result<T>) -> Result<T> {
        let tx = TransactionScope::begin(&self.db, TransactionAccess::Write, false)?;
        schema::unchanged(&tx, USAGE, &SCRIPTS)?;
        let mut tx = UsageTx { tx };
        let out = f(&mut tx)?;
        tx.tx.commit()?;
        Ok(out)
    }

    pub(super) fn copy_to(&self, file: &Path, key: &UsageKey) -> Result<()> {
        let mut copy = connect(file, key, FileMode::Existing)?;
        // In WAL mode, that stops nobody from counting.
        self.file()?.copy_to(&mut copy, 0)?;
        copy.check(file, |wrong| {
            refuse(
                Code::UsageDamaged,
                format_args!("usage is damaged: {wrong}"),
                "move `usage.db` away to count anew, and back up again",
            )
        })?;
        Database::Sqlite(copy).close()
    }

    pub(super) fn close(self) -> Result<()> {
        self.db.close()
    }

    /// The file.
    pub(super) fn file(&self) -> Result<&SqliteDatabase> {
        self.db.file()
    }

    #[doc(hidden)]
    pub fn sql(&self) -> &rusqlite::Connection {
        self.db.raw()
    }
}

/// FULL: a batch is acknowledged only when it is on disk, because nobody else has it after that.
const SETTINGS: Settings = Settings {
    patience: PATIENCE,
    pragmas: "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000;",
    statements: 64,
};

fn connect(path: &Path, key: &UsageKey, mode: FileMode) -> Result<SqliteDatabase> {
    SqliteDatabase::open(path, key.raw().as_str(), mode, &SETTINGS)
}
