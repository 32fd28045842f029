//! What counting needs to know about a key, read from the store.

use crate::sql::params;
use keystile_core::key::KeyId;

use super::super::{Tx, column};
use keystile_model::error::Result;

/// What counting needs to know about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Number of its client.
    pub client: u32,
    /// The plan that its limits come from.
    pub plan: Option<String>,
    /// First key in its chain of rotations.
    pub lineage: KeyId,
    /// When it stops working because it was rotated; seconds.
    pub overlap_end: Option<u64>,
    /// It is disabled or revoked.
    pub ended: bool,
    /// When it expires; seconds.
    pub expires: Option<u64>,
    /// It is published in a web page.
    pub publishable: bool,
}

impl KeyFacts {
    /// Whether it matters at a time that others have read the key: it still works, or may again, and
    /// it is a secret.
    pub fn is_at_risk(&self, now: u64) -> bool {
        let ends = [self.expires, self.overlap_end];
        !self.ended && !self.publishable && ends.iter().flatten().all(|end| *end > now)
    }
}

impl Tx<'_> {
    /// What counting needs to know about a key, if there is one with that id.
    pub fn key_facts(&self, id: KeyId) -> Result<Option<KeyFacts>> {
        // A separate query, because it runs for every key of every batch.
        self.tx.optional(
            "SELECT client, coalesce(key.plan, client.plan), lineage, overlap_end,
                    disabled OR revoked IS NOT NULL, expires, publishable
             FROM key JOIN client ON client.number = key.client WHERE key.id = ?",
            params![column::signed(id.as_u64())],
            |r| {
                Ok(KeyFacts {
                    client: column::number(r, 0)?,
                    plan: r.get(1)?,
                    lineage: column::id(r, 2)?,
                    overlap_end: column::optional(r, 3)?,
                    ended: r.get(4)?,
                    expires: column::optional(r, 5)?,
                    publishable: r.get(6)?,
                })
            },
        )
    }

    /// The name of a client, a deleted one too, by its number.
    pub fn name_of_client(&self, number: i64) -> Result<Option<String>> {
        self.tx.optional(
            "SELECT name FROM client WHERE number = ?",
            params![number],
            |r| r.get(0),
        )
    }
}
