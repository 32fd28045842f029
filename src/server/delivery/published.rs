//! What every Envoy should have.

use std::sync::Arc;

use super::artefact::{Artefact, ResourceKind};

/// A base, and the overlay over it.
pub struct Published {
    pub(super) base: Arc<Artefact>,
    pub(super) overlay: Arc<Artefact>,
}

impl Published {
    pub(super) fn get(&self, kind: ResourceKind) -> &Arc<Artefact> {
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
