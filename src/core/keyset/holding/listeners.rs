//! The listeners, and the policy of each.

use std::sync::Arc;

use super::super::{BaseName, InForce, KeysetRules};
use crate::decide::Unavailable;

#[derive(Default)]
pub(super) struct Listeners(pub(super) Vec<Listener>);

pub(super) struct Listener {
    pub(super) id: u32,
    /// The keyset that it was given, or that its overlay belongs to.
    pub(super) name: BaseName,
    /// Wall-clock seconds after which that is rejected.
    pub(super) not_after: Option<u64>,
    /// The policy of that keyset, if the keyset has ever arrived.
    pub(super) rules: Option<Arc<KeysetRules>>,
    /// The policy that decides until then, and whether only as far as the newest policy also
    /// allows.
    pub(super) meanwhile: Option<(Arc<KeysetRules>, bool)>,
    /// It arrived when something newer was in force, and perhaps replaced that.
    pub(super) older: bool,
    /// An overlay was given.
    pub(super) overlay: bool,
    /// It decides by its former keys for a moment longer: see [`Holding::settle`].
    pub(super) settling: bool,
    /// What it decides by; computed once for all requests.
    pub(super) view: Result<Arc<InForce>, Unavailable>,
}

impl Listener {
    pub(super) fn policy(&self) -> Option<&Arc<KeysetRules>> {
        let meanwhile = self.meanwhile.as_ref().map(|(rules, _)| rules);
        self.rules.as_ref().or(meanwhile)
    }

    /// Whether its policy lets in only what the newest one also allows.
    pub(super) fn yields(&self) -> bool {
        let meanwhile = self.meanwhile.as_ref().filter(|_| self.rules.is_none());
        self.older || meanwhile.is_some_and(|(_, yields)| *yields)
    }
}

impl Listeners {
    /// Lets go of the keys: see [`Holding::make_room`].
    pub fn forget_keys(&mut self) {
        for listener in &mut self.0 {
            listener.view = Err(Unavailable::None);
        }
    }

    pub(super) fn named(&self, name: &BaseName) -> Option<&Arc<KeysetRules>> {
        let mut all = self.0.iter().filter_map(|l| l.rules.as_ref());
        all.find(|rules| rules.name == *name)
    }

    /// The listener that is replaced by one whose base has not arrived: the one that was last given
    /// an overlay, or any, if there is only one policy.
    #[inline(never)]
    pub(super) fn predecessor(&self) -> Option<(Arc<KeysetRules>, bool)> {
        let last = self.0.iter().rev().find(|l| l.overlay);
        if let Some(last) = last {
            return Some((last.policy().cloned()?, last.yields()));
        }
        let mut all = self.0.iter().filter_map(Listener::policy);
        let first = all.next()?;
        let is_one = all.all(|rules| rules.name == first.name);
        is_one.then(|| (Arc::clone(first), self.0.iter().any(Listener::yields)))
    }
}
