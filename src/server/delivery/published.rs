//! What every Envoy should have.

use std::sync::Arc;

use super::artefact::{ResourceKind, SignableArtefact};

/// A base, and the overlay over it.
pub struct Published {
    pub(super) base: Arc<SignableArtefact>,
    pub(super) overlay: Arc<SignableArtefact>,
}

impl Published {
    pub(super) fn get(&self, kind: ResourceKind) -> &Arc<SignableArtefact> {
        match kind {
            ResourceKind::Base => &self.base,
            ResourceKind::Overlay => &self.overlay,
        }
    }

    /// The version that Envoys have with it.
    pub fn version(&self) -> u64 {
        self.overlay.version()
    }
}
