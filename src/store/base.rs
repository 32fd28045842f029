//! The base that every replica publishes.

use keystile_model::error::Result;

use super::{Tx, column};
use crate::shared::CLOCK;
use crate::sql::params;

/// Distinguishes a base from others; none if there is none.
pub type BaseMark = Option<Vec<u8>>;

impl Tx<'_> {
    /// Which base is published, on this timeline.
    ///
    /// # Errors
    /// Those of the database.
    pub fn base_mark(&self) -> Result<BaseMark> {
        self.tx.one("SELECT base FROM meta", &[], |r| r.get(0))
    }

    /// Whether there are, or may be, other servers of this store.
    pub fn is_shared(&self) -> bool {
        self.tx.server().is_some()
    }

    /// The clock that all servers of the store share, in milliseconds; `None` for a file.
    ///
    /// # Errors
    /// Those of the database.
    pub fn clock(&self) -> Result<Option<u64>> {
        if !self.is_shared() {
            return Ok(None);
        }
        let sql = format!("SELECT {CLOCK}");
        let clock = self.tx.one(&sql, &[], |r| column::unsigned(r, 0))?;
        Ok(Some(clock))
    }

    /// The base that is published, sealed, if servers share it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn shared_base(&self) -> Result<Option<Vec<u8>>> {
        if !self.is_shared() {
            return Ok(None);
        }
        self.tx
            .optional("SELECT bytes FROM base", &[], |r| r.get(0))
    }

    /// Stores it for the other servers.
    ///
    /// # Errors
    /// Those of the database.
    pub fn share_base(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.is_shared() {
            return Ok(());
        }
        self.tx.execute(
            "INSERT INTO base VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET bytes = excluded.bytes",
            params![bytes],
        )?;
        Ok(())
    }

    /// A note that servers share.
    ///
    /// # Errors
    /// Those of the database.
    pub fn mark(&self, name: &str) -> Result<Option<String>> {
        let sql = "SELECT text FROM mark WHERE name = ?";
        self.tx.optional(sql, params![name], |r| r.get(0))
    }

    /// Stores one in place of another; gives false, and stores nothing, if there is a third.
    ///
    /// # Errors
    /// Those of the database.
    pub fn set_mark(&mut self, name: &str, over: Option<&str>, text: &str) -> Result<bool> {
        if self.mark(name)?.as_deref() != over {
            return Ok(false);
        }
        self.tx.execute(
            "INSERT INTO mark VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text",
            params![name, text],
        )?;
        Ok(true)
    }
}
