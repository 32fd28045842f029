//! Numbers over the whole store, each read off an index.

use keystile::key::KeyId;
use rusqlite::params;

use super::{Tx, column};
use crate::error::Result;
use crate::record::Client;

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Living clients.
    pub clients: u64,
    /// Keys that are not revoked.
    pub keys: u64,
}

/// When a key ends; written as its index is, or that is not used.
const ENDS: &str = "min(coalesce(expires, overlap_end), coalesce(overlap_end, expires))";
const ENDING: &str = "revoked IS NULL AND coalesce(expires, overlap_end) IS NOT NULL";
/// Seconds and milliseconds of a day.
const DAY: u64 = 86_400;
const DAY_MS: u64 = DAY * 1000;

impl Tx<'_> {
    /// How much there is. All keys are counted by the pages of an index, without a look at
    /// each; those that are revoked are few.
    pub fn numbers(&self) -> Result<Numbers> {
        let sql = "SELECT (SELECT count(*) FROM client WHERE deleted IS NULL),
            (SELECT count(*) FROM key),
            (SELECT count(*) FROM key INDEXED BY key_revoked WHERE revoked IS NOT NULL)";
        Ok(self.tx.prepare_cached(sql)?.query_row([], |r| {
            let (all, revoked) = (column::unsigned(r, 1)?, column::unsigned(r, 2)?);
            Ok(Numbers {
                clients: column::unsigned(r, 0)?,
                keys: all.saturating_sub(revoked),
            })
        })?)
    }

    /// The keys that end first, from an instant on and before another one, in seconds.
    pub fn next_to_end(&self, from: u64, until: u64, most: u32) -> Result<Vec<KeyId>> {
        let sql = format!(
            "SELECT id FROM key INDEXED BY key_ends WHERE {ENDING} AND {ENDS} > ?1 AND {ENDS} <= ?2 ORDER BY {ENDS} LIMIT ?3"
        );
        let mut statement = self.tx.prepare_cached(&sql)?;
        let rows = statement.query_map(
            params![column::signed(from), column::signed(until), most],
            |r| column::id(r, 0),
        )?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// How many keys end on each of so many days from an instant on. A range of the index a
    /// day: grouping would sort them all.
    pub fn ends_by_day(&self, from: u64, days: u64) -> Result<Vec<u64>> {
        let sql = format!(
            "SELECT count(*) FROM key INDEXED BY key_ends
             WHERE {ENDING} AND {ENDS} > ?1 AND {ENDS} <= ?2"
        );
        self.by_day(&sql, from, DAY, days)
    }

    /// How many audit records there are of each of so many days since a midnight, in
    /// milliseconds: of all, or only of what was refused.
    pub fn audit_by_day(&self, since_ms: u64, days: u64, refused: bool) -> Result<Vec<u64>> {
        let sql = match refused {
            false => {
                "SELECT count(*) FROM audit INDEXED BY audit_at WHERE at_ms >= ?1 AND at_ms < ?2"
            }
            true => {
                "SELECT count(*) FROM audit INDEXED BY audit_refused
                 WHERE outcome = 'refused' AND at_ms >= ?1 AND at_ms < ?2"
            }
        };
        self.by_day(sql, since_ms, DAY_MS, days)
    }

    fn by_day(&self, sql: &str, from: u64, day: u64, days: u64) -> Result<Vec<u64>> {
        let mut statement = self.tx.prepare_cached(sql)?;
        let mut out = Vec::new();
        for n in 0..days {
            let start = from.saturating_add(n.saturating_mul(day));
            let range = params![
                column::signed(start),
                column::signed(start.saturating_add(day))
            ];
            out.push(statement.query_row(range, |r| column::unsigned(r, 0))?);
        }
        Ok(out)
    }

    /// Living clients by name, those after `cursor`, whose name or description holds
    /// `search`, on a plan if it is given; each with the number of its keys that are not
    /// revoked.
    pub fn clients_after(
        &self,
        cursor: &str,
        search: &str,
        plan: Option<&str>,
        most: u32,
    ) -> Result<Vec<(Client, u64)>> {
        let sql = format!(
            "SELECT {}, (SELECT count(*) FROM key INDEXED BY key_living
                         WHERE key.client = client.number AND revoked IS NULL)
             FROM client WHERE deleted IS NULL AND name > ?1
               AND (?2 = '' OR instr(lower(name), lower(?2)) OR instr(lower(description), lower(?2)))
               AND (?3 IS NULL OR plan = ?3)
             ORDER BY name LIMIT ?4",
            super::client::COLUMNS
        );
        let mut statement = self.tx.prepare_cached(&sql)?;
        let rows = statement.query_map(params![cursor, search, plan, most], |r| {
            Ok((super::client::read(r)?, column::unsigned(r, 6)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
