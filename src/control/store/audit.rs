//! The audit log in the store.

use rusqlite::{Row, params};

use super::{Tx, column};
use crate::audit::{Link, Record};
use crate::error::Result;
use crate::world::{Actor, Moment};

const COLUMNS: &str = "seq, at_ms, uid, user, host, action, subject, before, after, prev, hash";

fn read(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        seq: column::unsigned(row, 0)?,
        at: Moment::from_ms(column::unsigned(row, 1)?),
        actor: Actor {
            uid: column::number(row, 2)?,
            user: row.get(3)?,
            host: row.get(4)?,
        },
        action: row.get(5)?,
        subject: row.get(6)?,
        before: row.get(7)?,
        after: row.get(8)?,
        prev: Link(row.get(9)?),
        hash: Link(row.get(10)?),
    })
}

impl Tx<'_> {
    pub(super) fn insert_audit(&mut self, r: &Record) -> Result<()> {
        self.tx
            .prepare_cached(&format!(
                "INSERT INTO audit ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            ))?
            .execute(params![
                column::signed(r.seq),
                column::signed(r.at.ms()),
                r.actor.uid,
                r.actor.user,
                r.actor.host,
                r.action,
                r.subject,
                r.before,
                r.after,
                r.prev.0,
                r.hash.0
            ])?;
        Ok(())
    }

    /// Hands every record, in order, to `each` until that fails.
    pub fn each_audit(&self, mut each: impl FnMut(Record) -> Result<()>) -> Result<()> {
        let mut statement = self
            .tx
            .prepare(&format!("SELECT {COLUMNS} FROM audit ORDER BY seq"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(read(row)?)?;
        }
        Ok(())
    }

    /// The last records, the latest first; of one subject if it is named.
    pub fn last_audit(&self, subject: Option<&str>, most: u32) -> Result<Vec<Record>> {
        let condition = if subject.is_some() {
            "subject = ?1"
        } else {
            "?1 IS NULL"
        };
        let sql =
            format!("SELECT {COLUMNS} FROM audit WHERE {condition} ORDER BY seq DESC LIMIT ?2");
        let mut statement = self.tx.prepare(&sql)?;
        let rows = statement.query_map(params![subject, most], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
