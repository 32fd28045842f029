//! The signed artefacts that the filter loads: policy and keys, and what changed since.
//!
//! A manifest (JSON, signed with HMAC-SHA-256) names the digest of a directory, the
//! directory the digests of 4 KiB pages, and the pages hold an index of 32-byte records
//! sorted by digest and a heap of profiles. The manifest and the directory are checked
//! when the keyset is loaded, a page the first time a lookup touches it, as dm-verity
//! does. Nothing per key is parsed or allocated at load.
//!
//! A [`Keyset`] is complete in itself. An [`Overlay`] holds the rows that changed since one keyset,
//! its base, and means nothing without it: a large base is sent rarely, a small overlay at once.
//! [`InForce`] is the two together; [`Holding`] is what a VM has of them, and which of it is in
//! force.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key::Prefix;
use crate::limit::quota::{Quota, Zones};
use crate::policy::{Plan, Policy, RawPolicy};

mod base;
mod build;
mod entry;
pub mod envelope;
mod holding;
mod id;
mod in_force;
mod network;
mod overlay;
mod refusal;
mod secrets;
pub(crate) mod signing;
mod table;

pub use base::{Base, build_overlay};
pub use build::{BuildError, Built, Content, EXPIRED_KEPT, Row, build};
pub use entry::{Entry, OwnLimits};
pub use holding::{Holding, Taken};
pub use id::{PolicyId, StoreId, StoreIdError};
pub use in_force::{InForce, PlanInForce, Rules};
pub use network::Network;
pub use overlay::{BaseName, Overlay, OverlayManifest};
pub use refusal::Refusal;
pub use secrets::Secrets;
pub use signing::{NodeKey, SigningKey, SigningKeyError, SigningKeys};

use table::{Shape, Table};

/// The version of the format of manifest and pages.
pub const FORMAT: u32 = 1;

/// Bytes of a page. One lookup verifies at most two, and pages are small enough that the first
/// touch costs some 20 µs.
pub const PAGE: usize = 4096;

/// The two kinds of artefact. Each is signed in a domain of its own, so that neither passes for the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Policy and all keys.
    Keyset,
    /// The keys that changed since.
    Overlay,
}

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
    fn shape(&self) -> Shape<'_> {
        Shape {
            keys: self.keys,
            heap: self.heap,
            directory: &self.directory,
        }
    }

    /// Bytes of directory, index and heap together.
    ///
    /// # Errors
    /// [`Refusal::Size`] if no memory could hold them.
    pub fn pages_size(&self) -> Result<usize, Refusal> {
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
    pub fn kind(&self) -> Kind {
        match self {
            Self::Keyset(..) => Kind::Keyset,
            Self::Overlay(_) => Kind::Overlay,
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
    /// [`Refusal::Size`] if no memory could hold them.
    pub fn pages_size(&self) -> Result<usize, Refusal> {
        match self {
            Self::Keyset(m, _) => m.pages_size(),
            Self::Overlay(m) => m.shape().pages_size(),
        }
    }
}

/// What a plugin configuration turned out to be.
pub enum Artefact {
    /// A keyset, complete in itself.
    Keyset(Arc<Keyset>),
    /// What changed since one.
    Overlay(Arc<Overlay>),
}

impl Artefact {
    /// Reads and verifies a plugin configuration. `make_room` is called once the signature
    /// holds and before memory for the keys is taken.
    ///
    /// # Errors
    /// [`Refusal`]: the same for the same bytes and keys, whoever asks and whenever.
    pub fn load(
        source: &mut impl envelope::Source,
        keys: &SigningKeys,
        make_room: impl FnOnce(&Signed),
    ) -> Result<Self, Refusal> {
        let (signed, pages) = envelope::open(source, keys, make_room)?;
        match signed {
            Signed::Keyset(manifest, name) => {
                Ok(Self::Keyset(Keyset::new(*manifest, name, pages)?.into()))
            }
            Signed::Overlay(manifest) => Ok(Self::Overlay(Overlay::new(&manifest, pages)?.into())),
        }
    }

    /// The store that it comes from.
    pub fn store(&self) -> StoreId {
        match self {
            Self::Keyset(k) => k.store,
            Self::Overlay(o) => o.store,
        }
    }
}

/// The result of a lookup.
pub enum Lookup<'a> {
    /// There is such a key.
    Found(Entry<'a>),
    /// There is none.
    Unknown,
    /// It would be in a page that does not match its signed digest.
    Corrupt,
}

/// A keyset in force: verified, with its policy compiled. Threads share it.
pub struct Keyset {
    /// The store that it comes from.
    pub store: StoreId,
    /// Its version.
    pub version: u64,
    /// Wall-clock seconds of the last change.
    pub issued_at: u64,
    /// Wall-clock seconds after which it is rejected.
    pub not_after: Option<u64>,
    /// Its policy. Shared, because a listener keeps it longer than the keys are kept.
    pub policy: Arc<Policy>,
    /// The id of that policy.
    pub policy_id: PolicyId,
    /// Names of the environments; entries refer to them by position.
    pub environments: Vec<String>,
    /// Some keys are imported ones.
    pub foreign: bool,
    /// Some keys are bound to address ranges.
    pub addresses: bool,
    /// Some keys are bound to client certificates.
    pub certificates: bool,
    /// The name by which overlays refer to it.
    pub name: BaseName,
    quotas: Arc<[Option<Quota>]>,
    table: Table,
}

impl Keyset {
    /// Reads, verifies and compiles a plugin configuration. `make_room` is called once
    /// the signature holds and before memory for the keys is taken.
    ///
    /// # Errors
    /// [`Refusal`]: the same for the same bytes and keys, whoever asks and whenever. An
    /// overlay is refused: it is no keyset.
    pub fn load(
        source: &mut impl envelope::Source,
        keys: &SigningKeys,
        make_room: impl FnOnce(&Manifest),
    ) -> Result<Self, Refusal> {
        let (signed, pages) = envelope::open(source, keys, |signed| {
            if let Signed::Keyset(manifest, _) = signed {
                make_room(manifest);
            }
        })?;
        match signed {
            Signed::Keyset(manifest, name) => Self::new(*manifest, name, pages),
            Signed::Overlay(_) => Err(Refusal::Overlay),
        }
    }

    /// Puts a verified manifest and its pages together, as [`envelope::open`] gives them.
    ///
    /// # Errors
    /// [`Refusal`] if pages or policy are not what the manifest says.
    #[inline(never)]
    pub fn new(manifest: Manifest, name: BaseName, pages: Vec<u8>) -> Result<Self, Refusal> {
        let bad = |what: &str| Refusal::Manifest(what.to_owned());
        if manifest.format != FORMAT {
            return Err(Refusal::Format(u64::from(manifest.format)));
        }
        let store = manifest.store.parse().map_err(|_| bad("`store`"))?;
        let table = Table::new(manifest.shape(), pages)?;
        let policy = Policy::new(&manifest.policy, manifest.scopes.iter().map(String::as_str))
            .map_err(|e| Refusal::Policy(e.first().map(ToString::to_string).unwrap_or_default()))?;
        if policy.scopes != manifest.scopes {
            return Err(bad("`scopes`"));
        }
        let quota = |plan: &Plan| match &plan.quota {
            Some(raw) => Quota::new(raw, &manifest.zones).map(Some),
            None => Some(None),
        };
        let quotas: Option<Vec<_>> = policy.plans.values().map(quota).collect();
        Ok(Self {
            quotas: quotas.ok_or_else(|| bad("`zones`"))?.into(),
            store,
            version: manifest.version,
            issued_at: manifest.issued_at,
            not_after: manifest.not_after,
            policy_id: PolicyId::of(&manifest.policy),
            policy: policy.into(),
            environments: manifest.environments,
            foreign: manifest.foreign,
            addresses: manifest.addresses,
            certificates: manifest.certificates,
            name,
            table,
        })
    }

    /// Its policy by itself, without the keys.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::new(Rules {
            name: self.name.clone(),
            not_after: self.not_after,
            policy: Arc::clone(&self.policy),
            policy_id: self.policy_id,
            quotas: Arc::clone(&self.quotas),
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

    /// Finds a key by the first half of its digest. In place: a search in the directory,
    /// a search in one page, and, the first time, the hash of the pages touched.
    pub fn lookup(&self, prefix: &Prefix) -> Lookup<'_> {
        self.table.lookup(prefix)
    }

    /// Every key in pages that match their signed digests, by rising digest. Touches, and so
    /// verifies, every page.
    pub fn entries(&self) -> impl Iterator<Item = (Prefix, Entry<'_>)> {
        self.table.entries()
    }
}

#[cfg(test)]
mod tests;
