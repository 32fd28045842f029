//! A base, and what is needed to build on it.

use std::sync::Arc;

use keystile_core::keyset::{Base, Manifest};
use keystile_core::policy::RawPolicy;

use super::super::artefact::SignableArtefact;
use keystile_model::error::{Error, Result, defect};
use keystile_store::BaseMark;

/// A base, and what is needed to build on it.
pub(super) struct Current {
    pub(super) artefact: Arc<SignableArtefact>,
    pub(super) base: Arc<Base>,
    pub(super) policy: Arc<RawPolicy>,
    pub(super) issued_at: u64,
}

/// A base that was built here, or that another server has published.
pub(super) struct Made {
    pub(super) current: Current,
    /// If it was built here: what other servers are given of it, and which base was published
    /// before.
    pub(super) ours: Option<(Vec<u8>, BaseMark)>,
}

impl Current {
    pub(super) fn new(artefact: SignableArtefact) -> Result<Self> {
        let bytes = &artefact.built().manifest;
        let base = Base::from_manifest(bytes).map_err(broken)?;
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(broken)?;
        Ok(Self {
            base: Arc::new(base),
            policy: Arc::new(manifest.policy),
            issued_at: manifest.issued_at,
            artefact: Arc::new(artefact),
        })
    }
}

pub(super) fn broken(e: impl std::fmt::Display) -> Error {
    defect(format_args!("the base cannot be used ({e})"))
}
