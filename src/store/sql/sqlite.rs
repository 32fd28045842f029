//! SQLite, in a file that SQLCipher encrypts with AES-256.

use std::path::Path;
use std::time::Duration;

use keystile_model::error::{Code, Error, Result, refuse};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, OpenFlags, ToSql, params_from_iter};

use super::access::TransactionAccess;
use super::row::SqlRow;
use super::sqlite_columns::trouble;
use super::value::Value;

/// How long to wait before trying again to copy a file that is in use.
pub const PAUSE: Duration = Duration::from_millis(50);

/// An open file.
pub struct SqliteDatabase(rusqlite::Connection);

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMode {
    /// There is one.
    Existing,
    /// It is made if there is none.
    Made,
}

/// How a database uses its file.
pub struct Settings {
    /// How long to wait for another process's transaction.
    pub patience: Duration,
    /// SQL that is run first.
    pub pragmas: &'static str,
    /// Statements that are kept.
    pub statements: usize,
}

impl SqliteDatabase {
    /// Opens a file. `raw_key` is SQLCipher's form of a key: `x'…'`.
    ///
    /// # Errors
    /// If it cannot be opened, or decrypted with this key.
    pub fn open(path: &Path, raw_key: &str, mode: FileMode, settings: &Settings) -> Result<Self> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        if mode == FileMode::Made {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let db = rusqlite::Connection::open_with_flags(path, flags).map_err(trouble)?;
        let open = || -> rusqlite::Result<()> {
            // SQLCipher would print to stderr what we report in our own words.
            db.pragma_update(None, "cipher_log_level", "NONE")?;
            db.pragma_update(None, "key", raw_key)?;
            db.busy_timeout(settings.patience)?;
            db.execute_batch(settings.pragmas)?;
            db.set_prepared_statement_cache_capacity(settings.statements);
            // The first page that is read shows whether the key fits.
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        };
        open().map_err(trouble)?;
        Ok(Self(db))
    }

    /// A database that is kept nowhere.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn in_memory() -> Result<Self> {
        let db = rusqlite::Connection::open_in_memory().map_err(trouble)?;
        Ok(Self(db))
    }

    /// Has writers and readers not wait for one another, from now on.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn write_ahead(&self) -> Result<()> {
        let set = self.0.pragma_update(None, "journal_mode", "WAL");
        set.map_err(trouble)
    }

    pub(super) fn wait_for_others(&self, patience: Duration) -> Result<()> {
        self.0.busy_timeout(patience).map_err(trouble)
    }

    /// Copies everything consistently into an empty file, without a log beside it. Others may read
    /// and write meanwhile. `tries` is how often to try while others write.
    ///
    /// # Errors
    /// Those of SQLite, or others wrote all the time.
    pub fn copy_to(&self, copy: &mut Self, tries: u64) -> Result<()> {
        {
            let backup = Backup::new(&self.0, &mut copy.0).map_err(trouble)?;
            let mut tries = tries;
            // All pages in one step, so that no writer comes between.
            while backup.step(-1).map_err(trouble)? != StepResult::Done {
                tries = tries.checked_sub(1).ok_or_else(|| {
                    refuse(
                        Code::StoreBusy,
                        "the store was busy for too long",
                        "nothing was written; try again",
                    )
                })?;
                std::thread::sleep(PAUSE);
            }
        }
        let set = copy.0.pragma_update(None, "journal_mode", "DELETE");
        set.map_err(trouble)
    }

    /// Encrypts the file with another key: all of it or, if interrupted, nothing.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn rekey(&self, raw_key: &str) -> Result<()> {
        let change = || -> rusqlite::Result<()> {
            self.0.pragma_update(None, "rekey", raw_key)?;
            // Out of the write-ahead log, so that no page remains under the old key. A reader can
            // delay that; it is then done when the next one closes the store.
            self.0
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        };
        change().map_err(trouble)
    }

    /// Reads every page and checks it; `damaged` says what is wrong.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, path: &Path, damaged: impl Fn(&str) -> Error) -> Result<()> {
        // Pages of the file, including free ones, bypassing SQLite. While there is a write-ahead
        // log, the present state of a page may only be there, or on its way into the file.
        if let Some(wrong) = self
            .complaint("cipher_integrity_check")
            .map_err(trouble)?
            .filter(|_| !has_log(path))
        {
            return Err(damaged(&wrong));
        }
        // Pages in use, in a consistent state: read again, and each authenticated.
        self.batch("PRAGMA shrink_memory")?;
        match self.complaint("quick_check") {
            Ok(None) => Ok(()),
            Ok(Some(wrong)) => Err(damaged(&wrong)),
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
                Err(damaged("a page of it is not as it was written"))
            }
            Err(e) => Err(trouble(e)),
        }
    }

    /// The first problem that one of SQLite's checks reports.
    fn complaint(&self, pragma: &str) -> rusqlite::Result<Option<String>> {
        let mut statement = self.0.prepare(&format!("PRAGMA {pragma}"))?;
        let mut rows = statement.query_map([], |r| r.get::<_, String>(0))?;
        rows.find(|line| line.as_ref().is_ok_and(|l| l != "ok") || line.is_err())
            .transpose()
    }

    /// SQLite itself, for tests.
    pub fn raw(&self) -> &rusqlite::Connection {
        &self.0
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        let run = || {
            self.0
                .prepare_cached(sql)?
                .execute(params_from_iter(values))
        };
        Ok(run().map_err(trouble)? as u64)
    }

    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        self.0.execute_batch(sql).map_err(trouble)
    }

    pub(super) fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&SqlRow<'_>) -> Result<bool>,
    ) -> Result<()> {
        let mut statement = self.0.prepare_cached(sql).map_err(trouble)?;
        let mut rows = statement.query(params_from_iter(values)).map_err(trouble)?;
        while let Some(row) = rows.next().map_err(trouble)? {
            if !each(&SqlRow::Sqlite(row))? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn begin(&self, access: TransactionAccess) -> Result<()> {
        self.batch(match access {
            TransactionAccess::Read => "BEGIN",
            TransactionAccess::Write | TransactionAccess::Make => "BEGIN IMMEDIATE",
        })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.0.is_autocommit()
    }

    pub(super) fn schema_version(&self) -> Result<usize> {
        let read = || -> rusqlite::Result<i64> {
            let mut statement = self.0.prepare_cached("PRAGMA user_version")?;
            statement.query_row([], |r| r.get(0))
        };
        Ok(usize::try_from(read().map_err(trouble)?).unwrap_or(usize::MAX))
    }

    pub(super) fn set_schema_version(&self, version: usize) -> Result<()> {
        let set = self.0.pragma_update(None, "user_version", version as i64);
        set.map_err(trouble)
    }

    pub(super) fn only_read(&self, only: bool) -> Result<()> {
        let set = self.0.pragma_update(None, "query_only", only);
        set.map_err(trouble)
    }

    pub(super) fn close(self) -> Result<()> {
        self.0.close().map_err(|(_, e)| trouble(e))
    }
}

/// Whether there is anything in the write-ahead log of a file.
pub fn has_log(path: &Path) -> bool {
    let mut log = path.to_owned().into_os_string();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|m| m.len() > 0)
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null(_) => ValueRef::Null,
            Value::Integer(n) => ValueRef::Integer(*n),
            Value::Boolean(b) => ValueRef::Integer(i64::from(*b)),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
