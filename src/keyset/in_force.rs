//! A base and its overlay, as one.

use std::rc::Rc;

use super::{Keyset, Lookup, Overlay, PolicyId, StoreId};
use crate::key::Prefix;
use crate::policy::Policy;
use crate::quota::Quota;

/// What decisions are made by: a keyset, and, where there is one, the overlay that belongs
/// to it. Clones share both.
#[derive(Clone)]
pub struct InForce {
    base: Rc<Keyset>,
    overlay: Option<Rc<Overlay>>,
}

impl From<Keyset> for InForce {
    fn from(base: Keyset) -> Self {
        Self::new(Rc::new(base))
    }
}

impl InForce {
    /// A keyset by itself.
    pub fn new(base: Rc<Keyset>) -> Self {
        Self {
            base,
            overlay: None,
        }
    }

    /// A keyset with an overlay; `None` if the overlay belongs to another one.
    pub fn with(base: Rc<Keyset>, overlay: Rc<Overlay>) -> Option<Self> {
        let belongs = overlay.store == base.store && overlay.base == base.name;
        belongs.then_some(Self {
            base,
            overlay: Some(overlay),
        })
    }

    /// The keyset.
    pub fn base(&self) -> &Rc<Keyset> {
        &self.base
    }

    /// The overlay, if there is one.
    pub fn overlay(&self) -> Option<&Rc<Overlay>> {
        self.overlay.as_ref()
    }

    /// The store that both come from.
    pub fn store(&self) -> StoreId {
        self.base.store
    }

    /// The store's version that it stands for.
    pub fn version(&self) -> u64 {
        self.overlay
            .as_ref()
            .map_or(self.base.version, |o| o.version)
    }

    /// Wall-clock seconds of the last change.
    pub fn issued_at(&self) -> u64 {
        self.overlay
            .as_ref()
            .map_or(self.base.issued_at, |o| o.issued_at)
    }

    /// Wall-clock seconds after which it is not believed.
    pub fn not_after(&self) -> Option<u64> {
        self.overlay
            .as_ref()
            .map_or(self.base.not_after, |o| o.not_after)
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.base.policy
    }

    /// Which policy that is.
    pub fn policy_id(&self) -> PolicyId {
        self.base.policy_id
    }

    /// The quota of the plan at this position of the policy, if it has one.
    pub fn quota(&self, plan: usize) -> Option<&Quota> {
        self.base.quota(plan)
    }

    /// Names of the environments that entries number.
    pub fn environments(&self) -> &[String] {
        &self.base.environments
    }

    /// Some keys are imported ones.
    pub fn foreign(&self) -> bool {
        self.base.foreign || self.overlay.as_ref().is_some_and(|o| o.foreign)
    }

    /// Some keys are bound to address ranges.
    pub fn addresses(&self) -> bool {
        self.base.addresses || self.overlay.as_ref().is_some_and(|o| o.addresses)
    }

    /// Some keys are bound to client certificates.
    pub fn certificates(&self) -> bool {
        self.base.certificates || self.overlay.as_ref().is_some_and(|o| o.certificates)
    }

    /// Keys in the base, and keys in the overlay: some of them stand in both.
    pub fn lens(&self) -> (usize, usize) {
        (
            self.base.len(),
            self.overlay.as_ref().map_or(0, |o| o.len()),
        )
    }

    /// Pages found not to be those that were signed, so far.
    pub fn corrupt_pages(&self) -> usize {
        self.base.corrupt_pages() + self.overlay.as_ref().map_or(0, |o| o.corrupt_pages())
    }

    /// Finds a key by the first half of its digest. What the overlay says replaces what the
    /// base says, and an overlay that cannot be read is not passed over: the base may well
    /// call a key active that was revoked since.
    pub fn lookup(&self, prefix: &Prefix) -> Lookup<'_> {
        match self.overlay.as_ref().map(|o| o.lookup(prefix)) {
            None | Some(Lookup::Unknown) => self.base.lookup(prefix),
            Some(found) => found,
        }
    }
}
