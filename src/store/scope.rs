//! Transactions, which may be nested.

use std::ops::Deref;

use keystile_model::error::Result;

use crate::sql::{Database, TransactionAccess};

/// A transaction of the database, or a nested part of one. Rolled back unless committed.
pub struct TransactionScope<'s> {
    db: &'s Database,
    inner: bool,
    open: bool,
}

impl<'s> TransactionScope<'s> {
    /// Begins one; nested in the running one if `inner`.
    pub fn begin(db: &'s Database, access: TransactionAccess, inner: bool) -> Result<Self> {
        match inner {
            true => db.begin_part()?,
            false => db.begin(access)?,
        }
        Ok(Self {
            db,
            inner,
            open: true,
        })
    }

    /// Commits it; if nested, together with the outer one.
    pub fn commit(mut self) -> Result<()> {
        match self.inner {
            true => self.db.commit_part()?,
            false => self.db.commit()?,
        }
        self.open = false;
        Ok(())
    }
}

impl Deref for TransactionScope<'_> {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.db
    }
}

impl Drop for TransactionScope<'_> {
    fn drop(&mut self) {
        match (self.open, self.inner) {
            (false, _) => {}
            (true, true) => self.db.roll_back_part(),
            (true, false) => self.db.roll_back(),
        }
    }
}
