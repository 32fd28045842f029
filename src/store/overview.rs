//! Figures for the whole store, each read from an index.

use crate::sql::params;
use keystile_core::key::KeyId;

use super::{Tx, column};
use keystile_model::error::Result;
use keystile_model::record::Client;

/// The size of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreNumbers {
    /// Existing clients.
    pub clients: u64,
    /// Keys that are not revoked.
    pub keys: u64,
}

/// When a key expires; written exactly like its index, which is not used otherwise.
pub(crate) const EXPIRES: &str =
    "min(coalesce(expires, overlap_end), coalesce(overlap_end, expires))";
/// Which keys are in that index.
pub(crate) const EXPIRING: &str = "revoked IS NULL AND coalesce(expires, overlap_end) IS NOT NULL";
/// Which keys never expire, as their index has it.
pub(crate) const ENDLESS: &str = "revoked IS NULL AND coalesce(expires, overlap_end) IS NULL";
/// Seconds of a day.
const DAY: u64 = 86_400;

impl Tx<'_> {
    /// The size of the store. All keys are counted by the pages of an index, without a look at
    /// each; those that are revoked are few.
    pub fn numbers(&self) -> Result<StoreNumbers> {
        let sql = "SELECT (SELECT count(*) FROM client WHERE deleted IS NULL),
            (SELECT count(*) FROM key),
            (SELECT count(*) FROM key INDEXED BY key_revoked WHERE revoked IS NOT NULL)";
        self.tx.one(sql, &[], |r| {
            let (all, revoked) = (column::unsigned(r, 1)?, column::unsigned(r, 2)?);
            Ok(StoreNumbers {
                clients: column::unsigned(r, 0)?,
                keys: all.saturating_sub(revoked),
            })
        })
    }

    /// The first keys to expire between two times, in seconds.
    pub fn next_to_expire(&self, from: u64, until: u64, most: u32) -> Result<Vec<KeyId>> {
        let sql = format!(
            "SELECT id FROM key INDEXED BY key_ends WHERE {EXPIRING} AND {EXPIRES} > ?1 AND {EXPIRES} <= ?2 ORDER BY {EXPIRES} LIMIT ?3"
        );
        self.tx.all(
            &sql,
            params![column::signed(from), column::signed(until), most],
            |r| column::id(r, 0),
        )
    }

    /// How many keys expire on each of this many days from a time on. One index range per day,
    /// because grouping would sort them all.
    pub fn expiring_by_day(&self, from: u64, days: u64) -> Result<Vec<u64>> {
        let sql = format!(
            "SELECT count(*) FROM key INDEXED BY key_ends
             WHERE {EXPIRING} AND {EXPIRES} > ?1 AND {EXPIRES} <= ?2"
        );
        let day = |n: u64| {
            let start = from.saturating_add(n.saturating_mul(DAY));
            let end = start.saturating_add(DAY);
            self.tx.one(
                &sql,
                params![column::signed(start), column::signed(end)],
                |r| column::unsigned(r, 0),
            )
        };
        (0..days).map(day).collect()
    }

    /// How much was done and refused on each of this many days from one on; days since the epoch.
    pub fn audit_by_day(&self, first: u64, days: u64) -> Result<Vec<(u64, u64)>> {
        self.write_audit()?;
        let sql = "SELECT done, refused FROM audit_day WHERE day = ?";
        let day = |day: u64| {
            let found = self.tx.optional(sql, params![column::signed(day)], |r| {
                Ok((column::unsigned(r, 0)?, column::unsigned(r, 1)?))
            })?;
            Ok(found.unwrap_or_default())
        };
        (first..first.saturating_add(days)).map(day).collect()
    }

    /// Existing clients by name, after `cursor`, until `each` gives false.
    pub fn clients_after(
        &self,
        cursor: &str,
        mut each: impl FnMut(Client) -> Result<bool>,
    ) -> Result<()> {
        let sql = format!(
            "SELECT {} FROM client WHERE deleted IS NULL AND name > ?1 ORDER BY name",
            super::client::COLUMNS
        );
        self.tx
            .each(&sql, params![cursor], |row| each(super::client::read(row)?))
    }

    /// How many keys of a client are not revoked.
    pub fn living_keys(&self, client: u32) -> Result<u64> {
        let sql = "SELECT count(*) FROM key INDEXED BY key_living
            WHERE client = ? AND revoked IS NULL";
        self.tx
            .one(sql, params![client], |r| column::unsigned(r, 0))
    }
}
