//! The store: a SQLite file, encrypted by SQLCipher with AES-256, and the usage beside it; or two
//! schemas of a PostgreSQL database, with sealed secrets.
//!
//! [`Store`] opens transactions; [`Tx`] has the queries and changes inside one, in terms of the
//! domain. This is the only crate that uses SQL, and no type of a database leaves it.
//!
//! [`sql`] is the one layer between the queries and a database: `Database` is an enum of the two
//! kinds, and each has a driver below it. Queries are written once, in what both kinds understand;
//! the driver of PostgreSQL numbers the values and leaves out hints. Tables and columns have the
//! same names in both ([`schema`] makes them). On PostgreSQL, every writer first locks the one row
//! of `meta`, so versions and audit records follow one another as with SQLite's one writer, and
//! what only reads does so in one snapshot. [`seal`] encrypts the secrets in rows there.
//!
//! Never decides who may do what, never reads a clock, and never writes an unencrypted page of a
//! file.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use keystile_core::keyset::StoreId;

use crate::master_key::MasterKey;
use keystile_model::audit::{Checkpoint, Head, Link};
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::world::World;

mod backup;
mod base;
#[doc(hidden)]
pub mod bench;
mod beside;
pub mod checkpoint;
mod client;
mod column;
mod copy;
mod database;
mod delivery;
mod derived;
mod envoy;
mod key;
mod living;
mod log;
pub mod master_key;
mod meta;
mod node;
mod outbox;
mod overview;
mod policy;
mod replay;
pub mod rows;
mod schema;
mod scope;
mod seal;
mod seen;
pub mod shared;
mod sql;
mod timeline;
mod together;
mod token;
mod transaction;
mod trouble;
pub mod turn;
mod usage;

pub use base::BaseMark;
pub use delivery::KEPT_DELIVERIES;
pub use envoy::{KnownDoubt, KnownEnvoy, KnownProcess, KnownProcesses};
pub use living::LivingKeys;
pub use log::{Deed, FoundRecords, Query};
pub use meta::{Meta, Timeline};
pub use node::EnrolledNode;
pub use outbox::DueMessage;
pub use replay::Replay;
pub use schema::ExclusiveHold;
pub use seen::SeenHead;
pub use sql::postgres::DatabaseAddress;
pub use timeline::LostKey;
pub use usage::*;

use schema::Scripts;
use scope::TransactionScope;
use seal::Seal;
use sql::sqlite::{FileMode, Settings, SqliteDatabase};
use sql::{Database, TransactionAccess, params};
pub use transaction::Tx;
use transaction::go_on;
use trouble::{PATIENCE, damaged};

/// What makes each version of the schema.
const SCRIPTS: Scripts = Scripts {
    sqlite: &[
        include_str!("store.sql"),
        include_str!("version_2.sql"),
        include_str!("version_3.sql"),
        include_str!("console.sql"),
        include_str!("version_5.sql"),
        include_str!("pages.sql"),
        include_str!("timeline.sql"),
        include_str!("node.sql"),
        include_str!("revision.sql"),
        include_str!("processes.sql"),
        include_str!("client_changed.sql"),
        include_str!("algorithm.sql"),
        include_str!("shared.sql"),
        include_str!("oldest.sql"),
        include_str!("listing.sql"),
        include_str!("delivery.sql"),
        include_str!("endless.sql"),
        #[cfg(feature = "successor")]
        "",
    ],
    postgres: &[
        include_str!("postgres/store.sql"),
        include_str!("algorithm.sql"),
        include_str!("postgres/shared.sql"),
        include_str!("postgres/oldest.sql"),
        include_str!("listing.sql"),
        include_str!("postgres/delivery.sql"),
        include_str!("endless.sql"),
        #[cfg(feature = "successor")]
        include_str!("postgres/successor.sql"),
    ],
    oldest: 16,
};

/// The name for messages.
const THE_STORE: &str = "the store";

/// FULL: what was committed survives a power failure, in WAL mode too. Ids and digests are random,
/// so bulk work touches pages all over the file: with a small cache each would be encrypted many
/// times over. 128 MiB at most, as needed.
const SETTINGS: Settings = Settings {
    patience: PATIENCE,
    pragmas: "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -131072;",
    statements: 64,
};

/// An open store.
pub struct Store {
    db: Database,
    path: PathBuf,
    /// Inside [`Store::together`].
    joined: bool,
    /// Inside [`Store::glance`].
    glancing: bool,
    /// Set when the current write is to be abandoned.
    stop: Arc<AtomicBool>,
    /// Takes the store exclusively for a schema update, if that is possible.
    alone: Option<ExclusiveHold>,
    /// Usage, once it has been opened.
    usage: Option<UsageStore>,
    /// How often the end of the audit log could not be written beside it.
    unnoted: u64,
    /// What this process has seen of it, if it is in a database.
    seen: Option<Arc<SeenHead>>,
    /// Seals secrets, unless the whole store is encrypted.
    seal: Option<Arc<Seal>>,
}

impl Store {
    /// Makes a store at a path where there is nothing.
    pub fn create(path: &Path, key: &MasterKey, id: StoreId) -> Result<Self> {
        let store = Self::connect(path, key, FileMode::Made)?;
        store.db.file()?.write_ahead()?;
        schema::update(&store.db, THE_STORE, &SCRIPTS, None)?;
        store.db.execute(
            "INSERT INTO meta (one, store, version, issued_at, audit_seq, audit_hash, timeline)
             VALUES (1, ?, 0, 0, 0, ?, randomblob(8))",
            params![id.0, Link::GENESIS.0],
        )?;
        Ok(store)
    }

    /// Opens a store that nobody else has open.
    pub fn open(path: &Path, key: &MasterKey) -> Result<Self> {
        Self::open_beside(path, key, Some(schema::nobody_else()))
    }

    /// Opens a store that others may have open. `alone` takes it exclusively if the schema has to
    /// be updated; without it, the schema is left as it is.
    pub fn open_beside(path: &Path, key: &MasterKey, alone: Option<ExclusiveHold>) -> Result<Self> {
        let mut store = Self::connect(path, key, FileMode::Existing)?;
        if store.db.schema_version()? == 0 {
            // An empty file is an empty database for SQLite, but not one of ours.
            return Err(damaged("it is empty"));
        }
        schema::update(&store.db, THE_STORE, &SCRIPTS, alone.as_ref())?;
        store.alone = alone;
        Ok(store)
    }

    /// Reads every page of the store and checks it. Others may write meanwhile.
    ///
    /// # Errors
    /// What is damaged.
    pub fn check(&mut self) -> Result<()> {
        match self.db.server() {
            // It checks its own pages.
            Some(_) => Ok(()),
            None => self.db.file()?.check(&self.path, damaged),
        }
    }

    fn connect(path: &Path, key: &MasterKey, mode: FileMode) -> Result<Self> {
        let db = SqliteDatabase::open(path, key.raw_key().as_str(), mode, &SETTINGS)?;
        Ok(Self::new(Database::Sqlite(db), path.to_owned()))
    }

    fn new(db: Database, path: PathBuf) -> Self {
        Self {
            db,
            path,
            joined: false,
            glancing: false,
            stop: Arc::default(),
            alone: Some(schema::nobody_else()),
            usage: None,
            unnoted: 0,
            seen: None,
            seal: None,
        }
    }

    /// Whether it can be read. Another process may have changed the master key; it must then be
    /// opened again.
    pub fn is_readable(&mut self) -> bool {
        self.read(|_| Ok(())).is_ok()
    }

    /// The same store, if it can be read.
    pub fn still_readable(mut self) -> Option<Self> {
        self.is_readable().then_some(self)
    }

    /// Moves everything that was written into the main file and closes it.
    pub fn close(self) -> Result<()> {
        self.db.close()
    }

    /// Reads consistently.
    pub fn read<T>(&mut self, f: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        let tx = self.begin(TransactionAccess::Read, 0)?;
        f(&tx)
    }

    /// Writes, all or nothing. The keyset's version increases if the change called
    /// [`Tx::keyset_changed`]; the last audit record is stored.
    pub fn write<T>(
        &mut self,
        world: &World,
        f: impl FnOnce(&mut Tx<'_>) -> Result<T>,
    ) -> Result<T> {
        if self.glancing {
            let mut tx = self.begin(TransactionAccess::Read, world.now.ms())?;
            let out = f(&mut tx)?;
            return match tx.is_untouched() {
                true => Ok(out),
                false => Err(only_glancing()),
            };
        }
        let mut tx = self.begin(TransactionAccess::Write, world.now.ms())?;
        let out = f(&mut tx)?;
        tx.commit(world)?;
        if !self.joined {
            self.note();
        }
        Ok(out)
    }

    /// While this is true, writes are refused and not committed.
    pub fn break_off_when(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    /// Fails if the work in progress is to be interrupted.
    ///
    /// # Errors
    /// If it is to be interrupted.
    pub fn go_on(&self) -> Result<()> {
        go_on(&self.stop)
    }

    fn begin(&mut self, access: TransactionAccess, now_ms: u64) -> Result<Tx<'_>> {
        let before = self.seen.as_ref().and_then(|seen| seen.head());
        let tx = TransactionScope::begin(&self.db, access, self.joined)?;
        schema::unchanged(&tx, THE_STORE, &SCRIPTS)?;
        let (meta, unsealed) = tx.one(
            "SELECT store, version, issued_at, audit_seq, audit_hash, audit_start, audit_start_hash,
               audit_secret IS NULL, timeline, began FROM meta",
            &[],
            |r| {
                let head = |seq: usize| -> Result<Head> {
                    Ok(Head {
                        seq: column::unsigned(r, seq)?,
                        link: Link(r.get(seq + 1)?),
                    })
                };
                let meta = Meta {
                    store: StoreId(r.get(0)?),
                    timeline: Timeline(r.get(8)?),
                    began: column::unsigned(r, 9)?,
                    version: column::unsigned(r, 1)?,
                    issued_at: column::unsigned(r, 2)?,
                    head: head(3)?,
                    start: head(5)?,
                };
                Ok((meta, r.get::<bool>(7)?))
            },
        )?;
        let tx = Tx {
            tx,
            meta,
            unsealed,
            // Strictly increasing, and above everything that a restored backup has ever issued.
            next: now_ms.max(meta.version.saturating_add(1)),
            changed: false,
            stop: Arc::clone(&self.stop),
            seal: self.seal.clone(),
            unwritten: RefCell::default(),
        };
        // Within a larger change, there is also what that has not committed.
        if let Some(seen) = self.seen.as_ref().filter(|_| !self.joined) {
            seen.check(&tx, before)?;
        }
        Ok(tx)
    }

    /// From now on, nothing is read or written that lacks what was seen.
    pub fn follow(&mut self, seen: Arc<SeenHead>) {
        self.seen = Some(seen);
    }

    /// Where the end of the audit log is kept outside of the store.
    pub fn head_file(&self) -> PathBuf {
        self.path.with_file_name("audit.head")
    }

    /// The end of the audit log as it was last noted outside of the store, if it was.
    ///
    /// # Errors
    /// If the file cannot be read, or holds something else.
    pub fn checkpoint_kept(&self) -> Result<Option<Checkpoint>> {
        checkpoint::kept(&self.head_file())
    }

    /// How often the end of the audit log could not be written beside it since the last call.
    pub fn take_unnoted(&mut self) -> u64 {
        std::mem::take(&mut self.unnoted)
    }

    /// Writes the end of the audit log beside the store, and its timeline, so that a truncated log is
    /// noticed. A failure here undoes nothing: the change has been made.
    pub fn note(&mut self) {
        let file = self.head_file();
        let noted = self.read(|tx| {
            // A checkpoint that the log does not contain is evidence, and stays.
            if let Some(kept) = checkpoint::kept(&file)?
                && tx.holds(&kept)?.is_some()
            {
                return Ok(());
            }
            match tx.checkpoint()? {
                Some(checkpoint) => {
                    checkpoint::keep(&file, &checkpoint)?;
                    checkpoint::keep_timeline(&file, tx.meta().timeline)
                }
                None => Ok(()),
            }
        });
        if let Err(e) = noted {
            self.unnoted += 1;
            tracing::warn!(error = %e, "the end of the audit log cannot be kept beside the store");
        }
    }
}

fn only_glancing() -> Error {
    refuse(
        Code::Interrupted,
        "there is something to write",
        "nothing was changed; try again",
    )
}
