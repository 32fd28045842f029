//! Several changes as one, and a glance at what a change would write.

use super::trouble::Sql as _;
use keystile_model::error::{Kind, Result};

use super::Store;

impl Store {
    /// Combines several changes: everything that `f` writes, in any number of transactions, is
    /// committed when it is done, or nothing is.
    ///
    /// # Errors
    /// Those of `f`, and of the store.
    pub fn together<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.glancing {
            return f(self);
        }
        self.db.execute_batch("BEGIN IMMEDIATE").sql()?;
        let joined = Joined { store: self };
        joined.store.joined = true;
        let out = f(&mut *joined.store)?;
        joined.store.db.execute_batch("COMMIT").sql()?;
        drop(joined);
        self.note();
        Ok(out)
    }

    /// The result of a change that needs no writing, because it is already done or refused. `None`
    /// if it would write. Does not block writers.
    ///
    /// # Errors
    /// Those of `f`, except those of the store, which the write will encounter.
    pub fn glance<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        self.db.pragma_update(None, "query_only", true).sql()?;
        let glancing = Glancing { store: self };
        glancing.store.glancing = true;
        let out = f(&mut *glancing.store);
        drop(glancing);
        match out {
            Ok(out) => Ok(Some(out)),
            Err(e) if matches!(e.kind(), Kind::Store(_) | Kind::Unavailable) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// May write again when it is dropped, after a panic too.
struct Glancing<'s> {
    pub(super) store: &'s mut Store,
}

impl Drop for Glancing<'_> {
    fn drop(&mut self) {
        self.store.glancing = false;
        // A connection that stays read-only refuses to write and is not reopened; but this fails
        // only if nothing works any more.
        let _ = self.store.db.pragma_update(None, "query_only", false);
    }
}

/// Rolls back everything unless it was committed, even after a panic.
struct Joined<'s> {
    pub(super) store: &'s mut Store,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.store.joined = false;
        if !self.store.db.is_autocommit() {
            // What cannot be rolled back now is rolled back when the connection closes.
            let _ = self.store.db.execute_batch("ROLLBACK");
        }
    }
}
