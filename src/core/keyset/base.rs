//! What an overlay is built against.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::build::{Lack, Packed, Tables, sorted};
use super::overlay::{BaseName, OverlayManifest};
use super::{ArtefactKind, BuildError, Built, Content, Manifest};
use crate::json;
use crate::policy::{Policy, RawPolicy};

/// What overlays need from their base: its name, its policy, and the tables that entries refer to.
/// Made once, it serves any number of overlays.
#[derive(Clone)]
pub struct Base {
    name: BaseName,
    store: String,
    environments: Vec<String>,
    scopes: Vec<String>,
    plans: Vec<String>,
    not_after: Option<u64>,
    policy: RawPolicy,
}

impl Base {
    /// Of a keyset that was built.
    ///
    /// # Errors
    /// [`BuildError::NotABase`] if it is an overlay.
    pub fn from_built(built: &Built) -> Result<Self, BuildError> {
        Self::from_manifest(&built.manifest)
    }

    /// From the bytes of a keyset's manifest, which the caller knows to be authentic.
    ///
    /// # Errors
    /// [`BuildError::NotABase`] if they are not a keyset's manifest.
    pub fn from_manifest(bytes: &[u8]) -> Result<Self, BuildError> {
        let manifest: Manifest = json::read(bytes).map_err(|_| BuildError::NotABase)?;
        let scopes = manifest.scopes.iter().map(String::as_str);
        let policy = Policy::new(&manifest.policy, scopes).map_err(BuildError::Policy)?;
        Ok(Self {
            name: BaseName::from_manifest(manifest.version, bytes),
            store: manifest.store,
            environments: manifest.environments,
            plans: policy.plans.into_keys().collect(),
            scopes: policy.scopes,
            not_after: policy.not_after,
            policy: manifest.policy,
        })
    }

    /// The name that its overlays hold.
    pub fn name(&self) -> &BaseName {
        &self.name
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.name.version
    }

    fn fits(&self, content: &Content) -> Result<(), BuildError> {
        let what = if content.store.to_string() != self.store {
            "store"
        } else if content.policy.for_filters() != self.policy {
            "policy"
        } else if content.version < self.name.version {
            "later version"
        } else {
            return Ok(());
        };
        Err(BuildError::OtherBase(what))
    }
}

/// Packs the rows that changed since a base. `content` is the present content of the store, except
/// that `rows` holds only the changed rows. Rows never disappear from a store, so a row that is
/// left out is as it was in the base. Unlike in a keyset, no row is dropped because it expired long
/// ago: the base may still hold its former state.
///
/// # Errors
/// [`BuildError::NeedsBase`] if a row refers to something that the base's tables lack, and
/// [`BuildError::OtherBase`] if store or policy are not the base's, or the base is newer: in both
/// cases a new base is needed. Otherwise as for [`super::build()`].
pub fn build_overlay(content: &Content, base: &Base) -> Result<Built, BuildError> {
    base.fits(content)?;
    let rows = sorted(&content.rows)?;
    let tables = Tables::new(&base.environments, &base.scopes, &base.plans)?;
    let lacks = |lack: Lack<'_>| BuildError::NeedsBase {
        key: lack.key,
        lacks: format!("{} `{}`", lack.table, lack.name),
    };
    let packed = Packed::new(&rows, &tables, lacks)?;
    let manifest = OverlayManifest {
        format: super::FORMAT,
        kind: ArtefactKind::Overlay,
        store: content.store.to_string(),
        version: content.version,
        issued_at: content.issued_at,
        not_after: base.not_after.map(|s| content.issued_at.saturating_add(s)),
        base: base.name.clone(),
        keys: packed.keys,
        heap: packed.heap,
        directory: URL_SAFE_NO_PAD.encode(packed.directory),
        foreign: rows.iter().any(|(_, r)| r.foreign),
        addresses: rows.iter().any(|(_, r)| r.is_bound_to_addresses()),
        certificates: rows.iter().any(|(_, r)| r.is_bound_to_certificates()),
        report: content.policy.report.clone(),
    };
    Ok(Built {
        kind: ArtefactKind::Overlay,
        manifest: serde_json::to_vec(&manifest).map_err(|_| BuildError::TooLarge)?,
        pages: packed.pages,
        keys: rows.len(),
        version: content.version,
    })
}
