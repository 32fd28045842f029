//! What the replicas of a server share besides the store's contents: who they are, what each
//! observes of its Envoys, sessions, and what slows down guessing. Nothing here waits for the
//! store's writers.

use std::sync::Arc;

use keystile_model::error::Result;

use crate::scope::TransactionScope;
use crate::sql::postgres::{DatabaseAddress, Part, PostgresDatabase};
use crate::sql::{Database, TransactionAccess, params};

pub mod fleet;
pub mod limit;
pub mod session;

pub use crate::sql::postgres::listen::ChangeListener;

/// The notification after a change of the store.
pub const STORE: &str = "store";
/// The notification after a change of what replicas observe.
pub const FLEET: &str = "fleet";

/// A connection for it.
pub struct SharedTables {
    db: Database,
}

impl SharedTables {
    /// Connects.
    ///
    /// # Errors
    /// Those of the database.
    pub fn open(address: &Arc<DatabaseAddress>) -> Result<Self> {
        let db = PostgresDatabase::open(address, Part::Store)?;
        Ok(Self {
            db: Database::Postgres(db.into()),
        })
    }

    /// All or nothing, beside others who do the same.
    fn change<T>(&mut self, f: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let tx = TransactionScope::begin(&self.db, TransactionAccess::Make, false)?;
        let out = f(&tx)?;
        tx.commit()?;
        Ok(out)
    }
}

/// Notifies everybody who listens, once the running transaction is committed.
pub(crate) fn tell(db: &Database, what: &str) -> Result<()> {
    if db.server().is_none() {
        return Ok(());
    }
    let sql = "SELECT CAST(pg_notify(current_schema, ?) AS TEXT)";
    db.optional(sql, params![what], |_| Ok(())).map(drop)
}

/// The database's clock, in milliseconds.
pub(crate) const CLOCK: &str =
    "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)";
