//! Sessions of the console: of each, only the digest of its id is kept.

use keystile_model::error::Result;

use super::Shared;
use crate::column;
use crate::sql::{SqlRow, params};

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSession {
    /// Digest of its id.
    pub digest: [u8; 32],
    /// Whose it is, as text that the console reads.
    pub visitor: String,
    /// The token or person, so that each has a bounded number.
    pub owner: String,
    /// Seconds.
    pub began: u64,
    /// When it was used last, in seconds.
    pub seen: u64,
}

/// How many sessions there may be.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// In all.
    pub all: u64,
    /// Of one token or person.
    pub each: u64,
}

fn read(row: &SqlRow<'_>) -> Result<KeptSession> {
    Ok(KeptSession {
        digest: row.get(0)?,
        visitor: row.get(1)?,
        owner: row.get(2)?,
        began: column::unsigned(row, 3)?,
        seen: column::unsigned(row, 4)?,
    })
}

impl Shared {
    /// Begins a session, and removes those that have not been used since `idle` or began before
    /// `oldest`. A new one replaces the one of the same owner that has been idle longest. Gives
    /// false if there are too many of others.
    ///
    /// # Errors
    /// Those of the database.
    pub fn begin_session(
        &mut self,
        session: &KeptSession,
        most: Most,
        idle: u64,
        oldest: u64,
    ) -> Result<bool> {
        self.change(|db| {
            db.execute(
                "DELETE FROM session WHERE seen <= ? OR began <= ?",
                params![column::signed(idle), column::signed(oldest)],
            )?;
            let count = |sql, values: &[_]| db.one(sql, values, |r| column::unsigned(r, 0));
            let all = count("SELECT count(*) FROM session", &[])?;
            let sql = "SELECT count(*) FROM session WHERE owner = ?";
            let own = count(sql, params![session.owner])?;
            if own >= most.each || all >= most.all {
                let sql = "DELETE FROM session WHERE digest = (SELECT digest FROM session
                    WHERE owner = ? ORDER BY seen LIMIT 1)";
                if db.execute(sql, params![session.owner])? == 0 {
                    return Ok(false);
                }
            }
            db.execute(
                "INSERT INTO session VALUES (?, ?, ?, ?, ?)",
                params![
                    session.digest,
                    session.visitor,
                    session.owner,
                    column::signed(session.began),
                    column::signed(session.seen)
                ],
            )?;
            Ok(true)
        })
    }

    /// A session.
    ///
    /// # Errors
    /// Those of the database.
    pub fn session(&mut self, digest: &[u8; 32]) -> Result<Option<KeptSession>> {
        let sql = "SELECT digest, visitor, owner, began, seen FROM session WHERE digest = ?";
        self.db.optional(sql, params![digest], read)
    }

    /// All sessions.
    ///
    /// # Errors
    /// Those of the database.
    pub fn sessions(&mut self) -> Result<Vec<KeptSession>> {
        let sql = "SELECT digest, visitor, owner, began, seen FROM session";
        self.db.all(sql, &[], read)
    }

    /// A session is used.
    ///
    /// # Errors
    /// Those of the database.
    pub fn use_session(&mut self, digest: &[u8; 32], now: u64) -> Result<()> {
        let sql = "UPDATE session SET seen = ?1 WHERE digest = ?2 AND seen < ?1";
        self.db.execute(sql, params![column::signed(now), digest])?;
        Ok(())
    }

    /// A session ends; gives whether there was one.
    ///
    /// # Errors
    /// Those of the database.
    pub fn end_session(&mut self, digest: &[u8; 32]) -> Result<bool> {
        let sql = "DELETE FROM session WHERE digest = ?";
        Ok(self.db.execute(sql, params![digest])? > 0)
    }
}
