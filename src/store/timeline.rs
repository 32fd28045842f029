//! Timelines, which distinguish stores that were restored from the same backup.

use crate::sql::params;
use keystile_core::key::KeyId;
use sha2::{Digest as _, Sha256};

use super::meta::Timeline;
use super::{Tx, column};
use keystile_model::error::Result;
use keystile_model::world::World;

/// A key of the last published keyset that a restore has lost or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostKey {
    /// Its id.
    pub id: KeyId,
    /// The client that it was issued to.
    pub client: String,
    /// It was revoked or disabled and is valid again; otherwise the store does not know it.
    pub revoked: bool,
}

impl Timeline {
    /// How a base is noted that is published on it, by its manifest.
    pub fn mark_of(&self, manifest: &[u8]) -> Vec<u8> {
        Sha256::new()
            .chain_update(b"keystile base v1\n")
            .chain_update(self.0)
            .chain_update(manifest)
            .finalize()
            .to_vec()
    }
}

impl Tx<'_> {
    /// The store leaves its timeline for a new one, whose keysets begin with the version that
    /// this transaction gives.
    pub fn begin_timeline(&mut self, world: &World) -> Result<Timeline> {
        let mut id = [0; 8];
        (world.entropy)(&mut id)?;
        let began = column::signed(self.next);
        self.tx.execute(
            "UPDATE meta SET timeline = ?, began = ?, base = NULL",
            params![id, began],
        )?;
        self.tx.execute("DELETE FROM lost_key", &[])?;
        self.meta.timeline = Timeline(id);
        self.meta.began = self.next;
        Ok(self.meta.timeline)
    }

    /// Ensures that the keyset's version after this transaction, if that changes it, is above this
    /// one.
    pub fn rise_above(&mut self, version: u64) {
        self.next = self.next.max(version.saturating_add(1));
    }

    /// Stores the base that is published from now on, by its manifest.
    pub fn set_base(&mut self, manifest: &[u8]) -> Result<()> {
        let tag = self.base_tag(manifest);
        self.tx.execute("UPDATE meta SET base = ?", params![tag])?;
        Ok(())
    }

    /// Whether the base that was published last, on this timeline, is the one with this
    /// manifest.
    pub fn is_base(&self, manifest: &[u8]) -> Result<bool> {
        let noted: Option<Vec<u8>> = self.tx.one("SELECT base FROM meta", &[], |r| r.get(0))?;
        Ok(noted.is_some_and(|noted| noted == self.base_tag(manifest)))
    }

    fn base_tag(&self, manifest: &[u8]) -> Vec<u8> {
        self.meta.timeline.mark_of(manifest)
    }

    /// Stores a key that a restore lost.
    pub fn insert_lost_key(&mut self, key: &LostKey) -> Result<()> {
        self.tx.execute(
            "INSERT INTO lost_key VALUES (?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET client = excluded.client, revoked = excluded.revoked",
            params![column::signed(key.id.as_u64()), key.client, key.revoked],
        )?;
        Ok(())
    }

    /// What the last restore lost, by id, after `after`, without keys that have been dealt with
    /// since.
    pub fn lost_keys(&self, after: Option<KeyId>, most: u32) -> Result<Vec<LostKey>> {
        let sql = "SELECT lost_key.id, lost_key.client, lost_key.revoked
             FROM lost_key LEFT JOIN key ON key.id = lost_key.id
             WHERE lost_key.id > ?
               AND CASE WHEN lost_key.revoked THEN key.revoked IS NULL AND NOT key.disabled
                   ELSE key.id IS NULL END
             ORDER BY lost_key.id LIMIT ?";
        let after = after.map_or(-1, |id| column::signed(id.as_u64()));
        self.tx.all(sql, params![after, most], |r| {
            Ok(LostKey {
                id: column::id(r, 0)?,
                client: r.get(1)?,
                revoked: r.get(2)?,
            })
        })
    }
}
