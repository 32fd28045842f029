//! The store: one SQLite file, encrypted by SQLCipher with AES-256.
//!
//! The only place that speaks SQL. [`Store`] opens transactions, [`Tx`] holds what can
//! be asked and done inside one, in the words of the domain; no type of the database
//! leaves. A second database (PostgreSQL) is a second `Tx`.

use std::path::Path;
use std::time::Duration;

use keystile::keyset::StoreId;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};
use serde_json::Value;

use crate::audit::{Head, Link, Record};
use crate::error::{Error, Result, refuse};
use crate::seal::MasterKey;
use crate::world::World;

mod audit;
mod client;
mod column;
mod key;
mod policy;

/// How long one process waits for another one's transaction.
const PATIENCE: Duration = Duration::from_secs(30);

/// One script for each version of the schema, the oldest first. Never change one that
/// was released: add another.
const MIGRATIONS: [&str; 1] = [include_str!("store.sql")];

/// An open store.
pub struct Store {
    db: Connection,
}

/// What the store knows about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Names the store in keysets and buckets.
    pub store: StoreId,
    /// Version of the keyset.
    pub version: u64,
    /// Seconds.
    pub issued_at: u64,
    /// End of the audit log.
    pub head: Head,
}

/// A transaction: a view of one moment for reading, all or nothing for writing.
pub struct Tx<'s> {
    tx: Transaction<'s>,
    meta: Meta,
    /// The keyset differs from the one of `meta.version`.
    changed: bool,
}

impl Store {
    /// Makes a store at a path where there is nothing.
    pub fn create(path: &Path, key: &MasterKey, id: StoreId) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut store = Self::connect(path, key, flags)?;
        store.db.pragma_update(None, "journal_mode", "WAL")?;
        store.migrate()?;
        store.db.execute(
            "INSERT INTO meta VALUES (1, ?, 0, 0, 0, ?)",
            params![id.0, Link::GENESIS.0],
        )?;
        Ok(store)
    }

    /// Opens an existing store.
    pub fn open(path: &Path, key: &MasterKey) -> Result<Self> {
        let mut store = Self::connect(path, key, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        if store.schema()? == 0 {
            // An empty file is an empty database to SQLite, and none of ours.
            return Err(damaged("it is empty"));
        }
        store.migrate()?;
        Ok(store)
    }

    /// Reads every page of the file and checks it.
    pub fn check(&mut self) -> Result<()> {
        for pragma in ["cipher_integrity_check", "quick_check"] {
            let mut statement = self.db.prepare(&format!("PRAGMA {pragma}"))?;
            let rows = statement.query_map([], |r| r.get::<_, String>(0))?;
            for line in rows {
                let line = line?;
                if line != "ok" {
                    return Err(damaged(&line));
                }
            }
        }
        Ok(())
    }

    fn connect(path: &Path, key: &MasterKey, flags: OpenFlags) -> Result<Self> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let db = Connection::open_with_flags(path, flags)?;
        // SQLCipher would tell stderr what we tell the user in our own words.
        db.pragma_update(None, "cipher_log_level", "NONE")?;
        db.pragma_update(None, "key", key.raw_key().as_str())?;
        db.busy_timeout(PATIENCE)?;
        // FULL: what was committed survives a power failure, in WAL mode too. Ids and
        // digests are random, so bulk work touches pages all over the file: with a small
        // cache each would be encrypted many times over. 128 MiB at most, as needed.
        db.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -131072;",
        )?;
        // The first page that is read tells whether the master key fits.
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(Self { db })
    }

    /// How many of [`MIGRATIONS`] it has seen.
    fn schema(&self) -> Result<usize> {
        let n: i64 = self
            .db
            .pragma_query_value(None, "user_version", |r| r.get(0))?;
        Ok(usize::try_from(n).unwrap_or(usize::MAX))
    }

    fn migrate(&mut self) -> Result<()> {
        match MIGRATIONS.len().checked_sub(self.schema()?) {
            Some(0) => return Ok(()),
            Some(_) => {}
            None => {
                return Err(refuse(
                    "the store was written by a newer keystilectl",
                    "use that one, or update this one",
                ));
            }
        }
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Read again: another process may have done it meanwhile.
        let seen: i64 = tx.pragma_query_value(None, "user_version", |r| r.get(0))?;
        let seen = usize::try_from(seen).unwrap_or(usize::MAX);
        for script in MIGRATIONS.iter().skip(seen) {
            tx.execute_batch(script)?;
        }
        tx.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
        tx.commit()?;
        Ok(())
    }

    /// Puts all that was written into the one file and closes it.
    pub fn close(self) -> Result<()> {
        self.db.close().map_err(|(_, e)| e.into())
    }

    /// Reads, all from one moment.
    pub fn read<T>(&mut self, f: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        let tx = self.begin(TransactionBehavior::Deferred)?;
        f(&tx)
    }

    /// Changes, all or nothing. The keyset's version rises with the change that called
    /// [`Tx::keyset_changed`]; the last audit record is remembered.
    pub fn write<T>(
        &mut self,
        world: &World,
        f: impl FnOnce(&mut Tx<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut tx = self.begin(TransactionBehavior::Immediate)?;
        let out = f(&mut tx)?;
        tx.commit(world)?;
        Ok(out)
    }

    fn begin(&mut self, behavior: TransactionBehavior) -> Result<Tx<'_>> {
        let tx = self.db.transaction_with_behavior(behavior)?;
        let meta = tx.query_row(
            "SELECT store, version, issued_at, audit_seq, audit_hash FROM meta",
            [],
            |r| {
                Ok(Meta {
                    store: StoreId(r.get(0)?),
                    version: column::unsigned(r, 1)?,
                    issued_at: column::unsigned(r, 2)?,
                    head: Head {
                        seq: column::unsigned(r, 3)?,
                        link: Link(r.get(4)?),
                    },
                })
            },
        )?;
        Ok(Tx {
            tx,
            meta,
            changed: false,
        })
    }
}

impl Tx<'_> {
    /// What the store knows about itself; before this transaction's own change.
    pub fn meta(&self) -> Meta {
        self.meta
    }

    /// The keyset will not be the same after this transaction.
    pub fn keyset_changed(&mut self) {
        self.changed = true;
    }

    /// Writes an audit record. Every operation that changes anything calls this.
    pub fn audit(
        &mut self,
        world: &World,
        action: &str,
        subject: &str,
        before: Option<&Value>,
        after: Option<&Value>,
    ) -> Result<()> {
        let text = |v: Option<&Value>| v.map(ToString::to_string).unwrap_or_default();
        let mut record = Record {
            seq: self.meta.head.seq + 1,
            at: world.now,
            actor: world.actor.clone(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            before: text(before),
            after: text(after),
            prev: self.meta.head.link,
            hash: Link::GENESIS,
        };
        record.hash = record.expected();
        self.insert_audit(&record)?;
        self.meta.head = Head {
            seq: record.seq,
            link: record.hash,
        };
        Ok(())
    }

    fn commit(mut self, world: &World) -> Result<()> {
        if self.changed {
            // Strictly rising, and above all that a restored backup has ever issued.
            self.meta.version = world.now.ms().max(self.meta.version + 1);
            self.meta.issued_at = world.now.seconds();
        }
        let Meta {
            version,
            issued_at,
            head,
            ..
        } = self.meta;
        self.tx.execute(
            "UPDATE meta SET version = ?, issued_at = ?, audit_seq = ?, audit_hash = ?",
            params![
                column::signed(version),
                column::signed(issued_at),
                column::signed(head.seq),
                head.link.0
            ],
        )?;
        self.tx.commit()?;
        Ok(())
    }
}

fn damaged(how: &str) -> Error {
    refuse(
        format_args!("the store is damaged: {how}"),
        "nothing was changed; restore the folder from a backup",
    )
}

/// The database's own words, turned into ours. Where the store stands is added by
/// [`crate::home`].
impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => refuse(
                "the store cannot be decrypted",
                "the master key is another one, or the file is damaged",
            ),
            Some(ErrorCode::DatabaseCorrupt) => damaged("a page of it is not as it was written"),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => refuse(
                format_args!(
                    "another process has been writing to the store for {} s",
                    PATIENCE.as_secs()
                ),
                "nothing was changed; try again when it is done",
            ),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                refuse(
                    "the store cannot be written",
                    "check owner and mode of the folder and its files, and that the disk is not mounted read-only",
                )
            }
            Some(
                ErrorCode::DiskFull
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::SystemIoFailure,
            ) => refuse(
                format_args!("the disk under the store does not answer as it should ({e})"),
                "nothing was changed; free some space and check the disk",
            ),
            _ => refuse(
                format_args!("the store does not work as it should ({e})"),
                "nothing was changed; if it stays, restore the folder from a backup",
            ),
        }
    }
}

#[cfg(test)]
mod tests;
