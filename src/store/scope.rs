//! Transactions, which may be nested.

use std::ops::Deref;

use rusqlite::{Connection, Result, TransactionBehavior};

/// A transaction of the database, or a nested part of one. Rolled back unless committed.
pub struct TransactionScope<'s> {
    db: &'s Connection,
    inner: bool,
    open: bool,
}

impl<'s> TransactionScope<'s> {
    /// Begins one; nested in the running one if `inner`.
    pub fn begin(db: &'s Connection, behavior: TransactionBehavior, inner: bool) -> Result<Self> {
        db.execute_batch(match (inner, behavior) {
            (true, _) => "SAVEPOINT part",
            (false, TransactionBehavior::Immediate) => "BEGIN IMMEDIATE",
            (false, _) => "BEGIN",
        })?;
        Ok(Self {
            db,
            inner,
            open: true,
        })
    }

    /// Commits it; if nested, together with the outer one.
    pub fn commit(mut self) -> Result<()> {
        self.db
            .execute_batch(if self.inner { "RELEASE part" } else { "COMMIT" })?;
        self.open = false;
        Ok(())
    }
}

impl Deref for TransactionScope<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.db
    }
}

impl Drop for TransactionScope<'_> {
    fn drop(&mut self) {
        if self.open && !self.db.is_autocommit() {
            // What cannot be rolled back now is rolled back when the connection closes.
            let _ = self.db.execute_batch(if self.inner {
                "ROLLBACK TO part; RELEASE part"
            } else {
                "ROLLBACK"
            });
        }
    }
}
