//! Envoys with a secret of their own.

use crate::trouble::Sql as _;
use rusqlite::{OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

use super::{Tx, column};
use keystile_model::error::Result;

/// An Envoy that has, or had, its own secret.
pub struct EnrolledNode {
    /// Its node id.
    pub node: String,
    /// Its secret; `None` once it was revoked.
    pub secret: Option<Zeroizing<Vec<u8>>>,
    /// Since when, in seconds.
    pub enrolled: u64,
    /// When it was revoked.
    pub revoked: Option<u64>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<EnrolledNode> {
    Ok(EnrolledNode {
        node: row.get(0)?,
        secret: row.get::<_, Option<Vec<u8>>>(1)?.map(Zeroizing::new),
        enrolled: column::unsigned(row, 2)?,
        revoked: column::optional(row, 3)?,
    })
}

impl Tx<'_> {
    /// All of them, by node id.
    pub fn enrolled_nodes(&self) -> Result<Vec<EnrolledNode>> {
        let mut statement = self
            .tx
            .prepare_cached("SELECT node, secret, enrolled, revoked FROM node ORDER BY node")
            .sql()?;
        let rows = statement.query_map([], read).sql()?;
        rows.collect::<rusqlite::Result<_>>().sql()
    }

    /// Passes them to `each`, by node id, after this one, until `each` has enough.
    pub fn enrolled_nodes_after(
        &self,
        node: &str,
        mut each: impl FnMut(EnrolledNode) -> bool,
    ) -> Result<()> {
        let mut statement = self
            .tx
            .prepare_cached(
                "SELECT node, secret, enrolled, revoked FROM node WHERE node > ? ORDER BY node",
            )
            .sql()?;
        let mut rows = statement.query([node]).sql()?;
        while let Some(row) = rows.next().sql()? {
            if !each(read(row).sql()?) {
                break;
            }
        }
        Ok(())
    }

    /// One of them.
    pub fn enrolled_node(&self, node: &str) -> Result<Option<EnrolledNode>> {
        self.tx
            .prepare_cached("SELECT node, secret, enrolled, revoked FROM node WHERE node = ?")
            .sql()?
            .query_row([node], read)
            .optional()
            .sql()
    }

    /// Stores one as it is.
    pub fn keep_enrolled_node(&mut self, node: &EnrolledNode) -> Result<()> {
        self.tx
            .prepare_cached("INSERT OR REPLACE INTO node VALUES (?, ?, ?, ?)")
            .sql()?
            .execute(params![
                node.node,
                node.secret.as_ref().map(|s| s.as_slice()),
                column::signed(node.enrolled),
                node.revoked.map(column::signed),
            ])
            .sql()?;
        Ok(())
    }
}
