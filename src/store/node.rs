//! Envoys with a secret of their own.

use crate::sql::{SqlRow, params};
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

fn read(tx: &Tx<'_>, row: &SqlRow<'_>) -> Result<EnrolledNode> {
    let node: String = row.get(0)?;
    let secret: Option<Vec<u8>> = row.get(1)?;
    Ok(EnrolledNode {
        secret: secret.map(|s| tx.revealed(&place(&node), s)).transpose()?,
        node,
        enrolled: column::unsigned(row, 2)?,
        revoked: column::optional(row, 3)?,
    })
}

/// Where the secret of a node is kept.
fn place(node: &str) -> String {
    format!("node.secret {node}")
}

impl Tx<'_> {
    /// All of them, by node id.
    pub fn enrolled_nodes(&self) -> Result<Vec<EnrolledNode>> {
        self.tx.all(
            "SELECT node, secret, enrolled, revoked FROM node ORDER BY node",
            &[],
            |r| read(self, r),
        )
    }

    /// Passes them to `each`, by node id, after this one, until `each` has enough.
    pub fn enrolled_nodes_after(
        &self,
        node: &str,
        mut each: impl FnMut(EnrolledNode) -> bool,
    ) -> Result<()> {
        self.tx.each(
            "SELECT node, secret, enrolled, revoked FROM node WHERE node > ? ORDER BY node",
            params![node],
            |row| Ok(each(read(self, row)?)),
        )
    }

    /// One of them.
    pub fn enrolled_node(&self, node: &str) -> Result<Option<EnrolledNode>> {
        self.tx.optional(
            "SELECT node, secret, enrolled, revoked FROM node WHERE node = ?",
            params![node],
            |r| read(self, r),
        )
    }

    /// Stores one as it is.
    pub fn keep_enrolled_node(&mut self, node: &EnrolledNode) -> Result<()> {
        let secret = node.secret.as_ref();
        let sealed = secret.map(|s| self.sealed(&place(&node.node), s));
        let secret = sealed.transpose()?;
        self.tx.execute(
            "INSERT INTO node VALUES (?, ?, ?, ?) ON CONFLICT (node) DO UPDATE SET
               secret = excluded.secret, enrolled = excluded.enrolled, revoked = excluded.revoked",
            params![
                node.node,
                secret,
                column::signed(node.enrolled),
                node.revoked.map(column::signed),
            ],
        )?;
        Ok(())
    }
}
