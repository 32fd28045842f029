//! Keys in use that the store does not know: after a restore, those that were issued since
//! the backup.

use crate::trouble::Sql as _;
use keystile_core::key::KeyId;
use rusqlite::params;

use super::super::column;
use super::UsageTx;
use keystile_model::error::Result;

impl UsageTx<'_> {
    /// Every key that was let through at some time.
    pub fn used_keys(&self) -> Result<Vec<KeyId>> {
        let mut statement = self
            .tx
            .prepare("SELECT id FROM key WHERE last_used IS NOT NULL")
            .sql()?;
        let rows = statement.query_map([], |r| column::id(r, 0)).sql()?;
        rows.collect::<rusqlite::Result<_>>().sql()
    }

    /// The highest client number for which anything was counted.
    pub fn last_client(&self) -> Result<u32> {
        self.tx
            .query_row(
                "SELECT max(0, coalesce(max(client), 0)) FROM key",
                [],
                |r| column::number(r, 0),
            )
            .sql()
    }

    /// Makes a key belong to nobody.
    pub fn disown(&mut self, id: KeyId) -> Result<()> {
        self.tx
            .prepare_cached("UPDATE key SET client = -1 WHERE id = ?")
            .sql()?
            .execute([column::signed(id.as_u64())])
            .sql()?;
        Ok(())
    }

    /// Keys that were let through but are unknown, with the time in seconds: latest first, used no
    /// later than `until`.
    pub fn unknown_keys(&self, until: u64, most: u32) -> Result<Vec<(KeyId, u64)>> {
        let mut statement = self
            .tx
            .prepare_cached(
                "SELECT id, last_used FROM key
             WHERE client = -1 AND last_used <= ? ORDER BY last_used DESC, id LIMIT ?",
            )
            .sql()?;
        let rows = statement
            .query_map(params![column::signed(until), most], |r| {
                Ok((column::id(r, 0)?, column::unsigned(r, 1)?))
            })
            .sql()?;
        rows.collect::<rusqlite::Result<_>>().sql()
    }
}
