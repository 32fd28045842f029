//! What is signed.

use serde::{Deserialize, Serialize};

use super::format::ArtefactKind;
use super::overlay::{BaseName, OverlayManifest};
use super::refusal::KeysetRefusal;
use super::table::Shape;
use crate::limit::quota::Zones;
use crate::policy::RawPolicy;

/// The signed part of a keyset. Everything that decides about access is in here, or under a digest
/// that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The store, as [`StoreId`] prints it.
    pub store: String,
    /// Increases with every change to the store.
    pub version: u64,
    /// Wall-clock seconds of the last change.
    pub issued_at: u64,
    /// Wall-clock seconds after which it is rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
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
    /// Names of the environments; records refer to them by position.
    pub environments: Vec<String>,
    /// Names of the scopes, sorted; records refer to them by position.
    pub scopes: Vec<String>,
    /// The policy as written.
    pub policy: RawPolicy,
    /// The clocks of the time zones that quotas name, except UTC: the filter has no time zone
    /// database.
    #[serde(default, skip_serializing_if = "Zones::is_empty")]
    pub zones: Zones,
}

impl Manifest {
    pub(super) fn shape(&self) -> Shape<'_> {
        Shape {
            keys: self.keys,
            heap: self.heap,
            directory: &self.directory,
        }
    }

    /// Bytes of directory, index and heap together.
    ///
    /// # Errors
    /// [`KeysetRefusal::Size`] if no memory could hold them.
    pub fn pages_size(&self) -> Result<usize, KeysetRefusal> {
        self.shape().pages_size()
    }
}

/// What was signed, of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    /// Of a keyset, with the name that overlays know it by.
    Keyset(Box<Manifest>, BaseName),
    /// Of an overlay.
    Overlay(Box<OverlayManifest>),
}

impl Signed {
    /// Which kind it is.
    pub fn kind(&self) -> ArtefactKind {
        match self {
            Self::Keyset(..) => ArtefactKind::Keyset,
            Self::Overlay(_) => ArtefactKind::Overlay,
        }
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        match self {
            Self::Keyset(m, _) => m.version,
            Self::Overlay(m) => m.version,
        }
    }

    /// The store that it comes from, as [`StoreId`] prints it.
    pub fn store(&self) -> &str {
        match self {
            Self::Keyset(m, _) => &m.store,
            Self::Overlay(m) => &m.store,
        }
    }

    /// Bytes of directory, index and heap together.
    ///
    /// # Errors
    /// [`KeysetRefusal::Size`] if no memory could hold them.
    pub fn pages_size(&self) -> Result<usize, KeysetRefusal> {
        match self {
            Self::Keyset(m, _) => m.pages_size(),
            Self::Overlay(m) => m.shape().pages_size(),
        }
    }
}
