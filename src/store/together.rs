//! Several changes as one, and a glance at what a change would write.

use super::trouble::Sql as _;
use keystile_model::error::{Kind, Result};

use super::Store;

impl Store {
    /// Makes several changes one: all that `f` writes, in whatever transactions, is there
    /// when it is done, or nothing.
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

    /// What a change comes to if there is nothing to write for it: it is done already, or it is
    /// refused. `None` if it would write. Nobody is kept from writing.
    ///
    /// # Errors
    /// Those of `f`, but for those of the store: whoever writes will meet them.
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
        // A connection that stays read-only refuses to write, and is opened again by nobody; but
        // this fails only where nothing works any more.
        let _ = self.store.db.pragma_update(None, "query_only", false);
    }
}

/// Takes everything back unless it was committed, after a panic too.
struct Joined<'s> {
    pub(super) store: &'s mut Store,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.store.joined = false;
        if !self.store.db.is_autocommit() {
            // What cannot be taken back now is when the connection closes.
            let _ = self.store.db.execute_batch("ROLLBACK");
        }
    }
}
