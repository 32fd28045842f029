//! Keys in use that the store does not know: after a restore, those that were issued since
//! the backup.

use crate::sql::params;
use keystile_core::key::KeyId;

use super::super::column;
use super::UsageTx;
use keystile_model::error::Result;

impl UsageTx<'_> {
    /// Every key that was let through at some time.
    pub fn used_keys(&self) -> Result<Vec<KeyId>> {
        self.tx
            .all("SELECT id FROM key WHERE last_used IS NOT NULL", &[], |r| {
                column::id(r, 0)
            })
    }

    /// The highest client number for which anything was counted.
    pub fn last_client(&self) -> Result<u32> {
        self.tx.one(
            "SELECT max(0, coalesce(max(client), 0)) FROM key",
            &[],
            |r| column::number(r, 0),
        )
    }

    /// Makes a key belong to nobody.
    pub fn disown(&mut self, id: KeyId) -> Result<()> {
        self.tx.execute(
            "UPDATE key SET client = -1 WHERE id = ?",
            params![column::signed(id.as_u64())],
        )?;
        Ok(())
    }

    /// Keys that were let through but are unknown, with the time in seconds: latest first, used no
    /// later than `until`.
    pub fn unknown_keys(&self, until: u64, most: u32) -> Result<Vec<(KeyId, u64)>> {
        self.tx.all(
            "SELECT id, last_used FROM key
             WHERE client = -1 AND last_used <= ? ORDER BY last_used DESC, id LIMIT ?",
            params![column::signed(until), most],
            |r| Ok((column::id(r, 0)?, column::unsigned(r, 1)?)),
        )
    }
}
