//! Several changes as one, and a glance at what a change would write.

use keystile_model::error::{Kind, Result};

use super::Store;
use super::sql::TransactionAccess;

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
        let out = self.all_or_nothing(TransactionAccess::Write, f)?;
        self.note();
        Ok(out)
    }

    /// The same, without a note of the audit log's end.
    pub(super) fn all_or_nothing<T>(
        &mut self,
        access: TransactionAccess,
        f: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.db.begin(access)?;
        let joined = Joined { store: self };
        joined.store.joined = true;
        let out = f(&mut *joined.store)?;
        joined.store.db.commit()?;
        Ok(out)
    }

    /// The result of a change that needs no writing, because it is already done or refused. `None`
    /// if it would write. Does not block writers.
    ///
    /// # Errors
    /// Those of `f`, except those of the store, which the write will encounter.
    pub fn glance<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        self.db.only_read(true)?;
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
        let _ = self.store.db.only_read(false);
    }
}

/// Rolls back everything unless it was committed, even after a panic.
struct Joined<'s> {
    pub(super) store: &'s mut Store,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.store.joined = false;
        self.store.db.roll_back();
    }
}
