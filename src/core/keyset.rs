//! The signed artefacts that the filter loads: policy and keys, and what changed since.
//!
//! A manifest (JSON, signed with HMAC-SHA-256 or Ed25519) names the digest of a directory, the
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

use crate::key::Prefix;
use crate::limit::quota::Quota;
use crate::policy::{Plan, Policy};

mod base;
mod build;
mod ed25519;
mod entry;
pub mod envelope;
mod format;
mod holding;
mod id;
mod in_force;
mod key_ring;
mod manifest;
mod network;
mod node_key;
mod overlay;
mod refusal;
mod rules;
mod secrets;
pub(crate) mod signing;
mod table;

pub use base::{Base, build_overlay};
pub use build::{BuildError, Built, Content, EXPIRED_KEPT, KeyRow, build};
pub use entry::{Entry, Lookup, OwnLimits};
pub use format::{Algorithm, ArtefactKind, FORMAT, PAGE};
pub use holding::{Arrival, Holding};
pub use id::{PolicyId, StoreId, StoreIdError};
pub use in_force::{InForce, PlanInForce};
pub use key_ring::SigningKeys;
pub use manifest::{Manifest, Signed};
pub use network::Network;
pub use node_key::NodeKey;
pub use overlay::{BaseName, Overlay, OverlayManifest};
pub use refusal::{KeysetRefusal, SigningKeyError};
pub use rules::KeysetRules;
pub use secrets::Secrets;
pub use signing::SigningKey;

use table::Table;

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
    /// [`KeysetRefusal`]: the same for the same bytes and keys, whoever asks and whenever.
    pub fn load(
        source: &mut impl envelope::Source,
        keys: &SigningKeys,
        make_room: impl FnOnce(&Signed),
    ) -> Result<Self, KeysetRefusal> {
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
    /// [`KeysetRefusal`]: the same for the same bytes and keys, whoever asks and whenever. An
    /// overlay is refused: it is no keyset.
    pub fn load(
        source: &mut impl envelope::Source,
        keys: &SigningKeys,
        make_room: impl FnOnce(&Manifest),
    ) -> Result<Self, KeysetRefusal> {
        let (signed, pages) = envelope::open(source, keys, |signed| {
            if let Signed::Keyset(manifest, _) = signed {
                make_room(manifest);
            }
        })?;
        match signed {
            Signed::Keyset(manifest, name) => Self::new(*manifest, name, pages),
            Signed::Overlay(_) => Err(KeysetRefusal::Overlay),
        }
    }

    /// Puts a verified manifest and its pages together, as [`envelope::open`] gives them.
    ///
    /// # Errors
    /// [`KeysetRefusal`] if pages or policy are not what the manifest says.
    #[inline(never)]
    pub fn new(manifest: Manifest, name: BaseName, pages: Vec<u8>) -> Result<Self, KeysetRefusal> {
        let bad = |what: &str| KeysetRefusal::Manifest(what.to_owned());
        if manifest.format != FORMAT {
            return Err(KeysetRefusal::Format(u64::from(manifest.format)));
        }
        let store = manifest.store.parse().map_err(|_| bad("`store`"))?;
        let table = Table::new(manifest.shape(), pages)?;
        let policy = Policy::new(&manifest.policy, manifest.scopes.iter().map(String::as_str))
            .map_err(|e| {
                KeysetRefusal::Policy(e.first().map(ToString::to_string).unwrap_or_default())
            })?;
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
            policy_id: PolicyId::from_policy(&manifest.policy),
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
    pub fn rules(&self) -> Arc<KeysetRules> {
        Arc::new(KeysetRules {
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
