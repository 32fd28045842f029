//! Usage in a separate database beside the store, so that a flood of counts never delays a
//! revocation. Encrypted with a key derived from a secret in the store, so that a new master key
//! for the store does not require changing a second file at the same time.

use crate::trouble::Sql as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keystile_core::key::KeyId;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::schema::{self, Alone};
use super::scope::Scope;
use super::{Store, Tx};
use crate::master_key as seal;
use keystile_model::error::{Act, Code, Kind, Result, Trouble, refuse};

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
    tx: Scope<'s>,
}

impl UsageKey {
    /// From a secret that only this store has, and that never changes.
    pub(super) fn of(secret: &[u8]) -> Self {
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

impl Store {
    /// The file that holds usage.
    pub fn usage_file(&self) -> PathBuf {
        self.path.with_file_name("usage.db")
    }

    /// Calls `f` with store and usage, which is empty if nothing was counted yet.
    ///
    /// # Errors
    /// Those of `f`, or usage cannot be opened.
    pub fn with_usage<T>(
        &mut self,
        f: impl FnOnce(&mut Self, &mut UsageStore) -> Result<T>,
    ) -> Result<T> {
        if self.usage.is_none() && !self.usage_file().exists() {
            return f(self, &mut UsageStore::nothing()?);
        }
        self.with_made_usage(f)
    }

    /// The same for writing: creates usage if necessary.
    ///
    /// # Errors
    /// Those of `f`, or usage cannot be opened or made.
    pub fn with_made_usage<T>(
        &mut self,
        f: impl FnOnce(&mut Self, &mut UsageStore) -> Result<T>,
    ) -> Result<T> {
        let mut usage = match self.usage.take() {
            Some(usage) => usage,
            None => {
                let file = self.usage_file();
                let (key, alone) = (self.usage_key()?, self.alone.as_ref());
                UsageStore::open(&file, &key, alone).map_err(|e| e.at(file.display()))?
            }
        };
        let out = f(self, &mut usage);
        self.usage = Some(usage);
        out
    }

    /// Copies usage consistently into an empty file; gives whether there is any.
    ///
    /// # Errors
    /// Those of the database.
    pub fn copy_usage_to(&mut self, file: &Path) -> Result<bool> {
        if !self.usage_file().exists() {
            return Ok(false);
        }
        let key = self.usage_key()?;
        self.with_made_usage(|_, usage| usage.copy_to(file, &key))?;
        Ok(true)
    }

    /// Reads every page of usage, if there is any, and checks it.
    ///
    /// # Errors
    /// What is damaged.
    pub fn check_usage(&mut self) -> Result<()> {
        let file = self.usage_file();
        if !file.exists() {
            return Ok(());
        }
        let damaged = |how: &str| {
            refuse(
                Code::UsageDamaged,
                format_args!("the counts of usage, `usage.db`, are damaged: {how}"),
                "the store and its audit log are whole; stop the server, move `usage.db` and what begins with its name out of the folder, and start it again: counting begins anew",
            )
        };
        self.with_made_usage(|_, usage| super::whole(&usage.db, &file, damaged))
            .map_err(|e| match e.kind() {
                Kind::Store(Trouble::Damaged) if !e.is(Code::UsageDamaged) => {
                    damaged("it cannot be read")
                }
                _ => e,
            })
    }

    /// Whether a file holds usage of this store.
    pub fn is_usage(&mut self, file: &Path) -> Result<bool> {
        let key = self.usage_key()?;
        Ok(UsageStore::open(file, &key, Some(&schema::nobody_else())).is_ok())
    }

    /// Keys that a usage file counted as let through but that the store does not know, and the
    /// highest client number in it. From now on those keys belong to nobody.
    ///
    /// # Errors
    /// Those of the store, or the file is no usage of it.
    pub fn used_and_unknown(&mut self, file: &Path) -> Result<(Vec<KeyId>, u32)> {
        let (key, alone) = (self.usage_key()?, schema::nobody_else());
        let mut usage =
            UsageStore::open(file, &key, Some(&alone)).map_err(|e| e.at(file.display()))?;
        let (used, last) = usage.read(|tx| Ok((tx.used_keys()?, tx.last_client()?)))?;
        let unknown = self.read(|tx| {
            let mut unknown = Vec::new();
            for id in used {
                if !tx.has_key(id)? {
                    unknown.push(id);
                }
            }
            Ok(unknown)
        })?;
        usage.write(|tx| unknown.iter().try_for_each(|id| tx.disown(*id)))?;
        usage
            .db
            .close()
            .map_err(|(_, e)| crate::trouble::trouble(e))?;
        Ok((unknown, last))
    }

    fn usage_key(&mut self) -> Result<UsageKey> {
        self.read(|tx| tx.usage_key())?.ok_or_else(|| {
            refuse(
                Code::NotReady,
                "usage cannot be encrypted: the store has no secret of its own yet",
                keystile_model::next![
                    "change anything in the store, such as with ",
                    Act::KeysetRenew,
                    ", and try again"
                ],
            )
        })
    }
}

impl Tx<'_> {
    fn usage_key(&self) -> Result<Option<UsageKey>> {
        let secret: Option<Vec<u8>> = self
            .tx
            .query_row("SELECT audit_secret FROM meta", [], |r| r.get(0))
            .sql()?;
        Ok(secret.map(|s| UsageKey::of(&Zeroizing::new(s))))
    }
}

impl UsageStore {
    fn open(path: &Path, key: &UsageKey, alone: Option<&Alone>) -> Result<Self> {
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
    fn nothing() -> Result<Self> {
        let mut usage = Self {
            db: Connection::open_in_memory().sql()?,
        };
        schema::update(&mut usage.db, USAGE, &MIGRATIONS, None)?;
        Ok(usage)
    }

    /// Waits longer for others than a server's operations do; used for counting.
    pub fn be_patient(&mut self) -> Result<()> {
        self.db.busy_timeout(super::PATIENCE).sql()
    }

    /// Reads consistently.
    ///
    /// # Errors
    /// Those of `f`, and of the database.
    pub fn read<T>(&mut self, f: impl FnOnce(&UsageTx<'_>) -> Result<T>) -> Result<T> {
        let tx = Scope::begin(&self.db, TransactionBehavior::Deferred, false).sql()?;
        schema::unchanged(&tx, USAGE, &MIGRATIONS)?;
        f(&UsageTx { tx })
    }

    /// Changes, all or nothing.
    ///
    /// # Errors
    /// Those of `f`, and of the database.
    pub fn write<T>(&mut self, f: impl FnOnce(&mut UsageTx<'_>) -> Result<T>) -> Result<T> {
        let tx = Scope::begin(&self.db, TransactionBehavior::Immediate, false).sql()?;
        schema::unchanged(&tx, USAGE, &MIGRATIONS)?;
        let mut tx = UsageTx { tx };
        let out = f(&mut tx)?;
        tx.tx.commit().sql()?;
        Ok(out)
    }

    fn copy_to(&self, file: &Path, key: &UsageKey) -> Result<()> {
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
