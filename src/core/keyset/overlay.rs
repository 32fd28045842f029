//! The keys that changed since a base.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::entry::{Entry, Lookup};
use super::format::{ArtefactKind, FORMAT};
use super::id::StoreId;
use super::refusal::KeysetRefusal;
use super::table::{Shape, Table};
use crate::key::Prefix;
use crate::policy::{RawReport, ReportTarget};

/// Identifies exactly one keyset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseName {
    /// The keyset's version.
    pub version: u64,
    /// SHA-256 of the keyset's manifest, base64url. Not of the directory, because an overlay refers
    /// to tables that only the manifest holds.
    pub manifest: String,
}

impl BaseName {
    pub(super) fn from_manifest(version: u64, manifest: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(manifest).into();
        Self {
            version,
            manifest: URL_SAFE_NO_PAD.encode(digest),
        }
    }
}

/// The signed part of an overlay. It has no policy and no tables of names: it uses those of its
/// base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlayManifest {
    /// [`FORMAT`].
    pub format: u32,
    /// [`ArtefactKind::Overlay`].
    pub kind: ArtefactKind,
    /// The store, as [`StoreId`] prints it.
    pub store: String,
    /// The store's version with these changes; at least the base's.
    pub version: u64,
    /// Wall-clock seconds of the last change.
    pub issued_at: u64,
    /// Wall-clock seconds after which it is rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
    /// The only keyset that it belongs to.
    pub base: BaseName,
    /// Records in the index.
    pub keys: u32,
    /// Bytes of the heap.
    pub heap: u32,
    /// SHA-256 of the directory, base64url.
    pub directory: String,
    /// Some keys are imported ones.
    pub foreign: bool,
    /// Some keys are bound to address ranges.
    pub addresses: bool,
    /// Some keys are bound to client certificates. Written only in that case, so that a filter that
    /// does not know the field refuses what it could not enforce.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub certificates: bool,
    /// The policy's `report`, because a VM that lost its base has no policy to read it from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<RawReport>,
}

impl OverlayManifest {
    pub(super) fn shape(&self) -> Shape<'_> {
        Shape {
            keys: self.keys,
            heap: self.heap,
            directory: &self.directory,
        }
    }
}

/// A verified overlay. Threads share it.
pub struct Overlay {
    /// The store that it comes from.
    pub store: StoreId,
    /// Its version.
    pub version: u64,
    /// Wall-clock seconds of the last change.
    pub issued_at: u64,
    /// Wall-clock seconds after which it is rejected.
    pub not_after: Option<u64>,
    /// The only keyset that it belongs to.
    pub base: BaseName,
    /// Some keys are imported ones.
    pub foreign: bool,
    /// Some keys are bound to address ranges.
    pub addresses: bool,
    /// Some keys are bound to client certificates.
    pub certificates: bool,
    /// Where to report what is in force.
    pub report: Option<ReportTarget>,
    table: Table,
}

impl Overlay {
    /// Puts a verified manifest and its pages together, as [`super::envelope::open`] gives
    /// them.
    ///
    /// # Errors
    /// [`KeysetRefusal`] if the pages are not what the manifest says, or it contradicts itself.
    #[inline(never)]
    pub fn new(manifest: &OverlayManifest, pages: Vec<u8>) -> Result<Self, KeysetRefusal> {
        let bad = |what: &str| KeysetRefusal::Manifest(what.to_owned());
        if manifest.format != FORMAT {
            return Err(KeysetRefusal::Format(u64::from(manifest.format)));
        }
        if manifest.kind != ArtefactKind::Overlay {
            return Err(bad("`kind`"));
        }
        if manifest.version < manifest.base.version {
            return Err(bad("`version` is below the base's"));
        }
        let report = manifest.report.as_ref().map(ReportTarget::new).transpose();
        Ok(Self {
            store: manifest.store.parse().map_err(|_| bad("`store`"))?,
            version: manifest.version,
            issued_at: manifest.issued_at,
            not_after: manifest.not_after,
            base: manifest.base.clone(),
            foreign: manifest.foreign,
            addresses: manifest.addresses,
            certificates: manifest.certificates,
            report: report.map_err(|e| {
                KeysetRefusal::Policy(e.first().map(ToString::to_string).unwrap_or_default())
            })?,
            table: Table::new(manifest.shape(), pages)?,
        })
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that its keys take in memory.
    pub fn pages_bytes(&self) -> usize {
        self.table.bytes()
    }

    /// Pages found so far that do not match their signed digests.
    pub fn corrupt_pages(&self) -> usize {
        self.table.corrupt_pages()
    }

    /// Pages in all.
    pub fn pages(&self) -> usize {
        self.table.pages()
    }

    /// Finds a key that changed.
    pub fn lookup(&self, prefix: &Prefix) -> Lookup<'_> {
        self.table.lookup(prefix)
    }

    /// Every key in pages that match their signed digests, by rising digest. Touches, and so
    /// verifies, every page. Numbers in them are positions in the base's tables.
    pub fn entries(&self) -> impl Iterator<Item = (Prefix, Entry<'_>)> {
        self.table.entries()
    }
}

#[cfg(test)]
pub(super) mod tests;
