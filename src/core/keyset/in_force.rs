//! What a listener decides by: keys of a base and its overlay, and a policy.

use std::sync::Arc;

use super::{Entry, Keyset, KeysetRules, Lookup, Overlay, PolicyId, StoreId};
use crate::key::Prefix;
use crate::limit::quota::Quota;
use crate::policy::{Limit, Mode, Policy};

/// What decisions are made by: a keyset, its overlay if there is one, and the policy of the
/// listener. Clones share all of it.
#[derive(Clone)]
pub struct InForce {
    base: Arc<Keyset>,
    overlay: Option<Arc<Overlay>>,
    /// Newer overlays whose bases have not arrived; what they take away counts already.
    waiting: Arc<[Arc<Overlay>]>,
    /// The listener's policy, if it is not that of the base.
    own: Option<Arc<Own>>,
    /// Newer keys, by which the listener does not decide yet; what they take away counts already.
    newer: Option<Arc<Self>>,
    /// The same keys under the other of two policies that both apply.
    other: Option<Arc<Self>>,
}

/// A listener's policy over the keys of another keyset, whose entries refer to other tables of
/// scopes and plans.
struct Own {
    rules: Arc<KeysetRules>,
    not_after: Option<u64>,
    /// The number of each scope of the policy in the keys' keyset; `None` if no key has it.
    scopes: Vec<Option<u16>>,
    /// The number of each plan of the keys' keyset in the policy; `None` if it has no such plan.
    plans: Vec<Option<usize>>,
}

/// The plan of a key.
#[derive(Clone, Copy)]
pub struct PlanInForce<'k> {
    /// Its name.
    pub name: &'k str,
    /// Its limits.
    pub limits: &'k [Limit],
    /// Its quota, if it has one.
    pub quota: Option<&'k Quota>,
}

impl From<Keyset> for InForce {
    fn from(base: Keyset) -> Self {
        Self::new(Arc::new(base))
    }
}

impl InForce {
    /// A keyset by itself.
    pub fn new(base: Arc<Keyset>) -> Self {
        Self {
            base,
            overlay: None,
            waiting: Arc::default(),
            own: None,
            newer: None,
            other: None,
        }
    }

    /// A keyset with an overlay; `None` if the overlay belongs to another one.
    pub fn with(base: Arc<Keyset>, overlay: Arc<Overlay>) -> Option<Self> {
        let belongs = overlay.store == base.store && overlay.base == base.name;
        belongs.then_some(Self {
            base,
            overlay: Some(overlay),
            waiting: Arc::default(),
            own: None,
            newer: None,
            other: None,
        })
    }

    /// The same, minus what newer overlays take away.
    pub(super) fn under(mut self, waiting: Arc<[Arc<Overlay>]>) -> Self {
        self.waiting = waiting;
        self
    }

    /// The same, minus what newer keys take away.
    pub(super) fn before(mut self, newer: &Self) -> Self {
        self.newer = Some(Arc::new(newer.clone()));
        self
    }

    /// The same keys, under the policy of a listener.
    pub(super) fn by(mut self, rules: &Arc<KeysetRules>, not_after: Option<u64>) -> Self {
        if rules.name == self.base.name {
            return self;
        }
        let (mine, keys) = (&rules.policy, &self.base.policy);
        let scopes = mine.scopes.iter().map(|name| keys.scope_number(name));
        let plans = keys.plans.keys();
        let plans = plans.map(|name| mine.plans.keys().position(|mine| mine == name));
        self.own = Some(Arc::new(Own {
            scopes: scopes.collect(),
            plans: plans.collect(),
            rules: Arc::clone(rules),
            not_after,
        }));
        self
    }

    /// The same, under another policy as well.
    pub(super) fn beside(mut self, other: Self) -> Self {
        self.other = Some(Arc::new(other));
        self
    }

    /// The other policy that applies, with the keys. Whatever either removes from a request or
    /// withholds must not reach an upstream.
    pub fn other(&self) -> Option<&Self> {
        self.other.as_deref()
    }

    /// The other policy, if requests must satisfy it too. In shadow mode it refuses nothing, so it
    /// adds nothing to the refusals of the first.
    pub fn also(&self) -> Option<&Self> {
        self.other().filter(|o| o.policy().mode == Mode::Enforce)
    }

    /// Every policy that requests must satisfy.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        core::iter::once(self.policy()).chain(self.also().map(Self::policy))
    }

    /// The keyset.
    pub fn base(&self) -> &Arc<Keyset> {
        &self.base
    }

    /// The overlay, if there is one.
    pub fn overlay(&self) -> Option<&Arc<Overlay>> {
        self.overlay.as_ref()
    }

    /// The store that both come from.
    pub fn store(&self) -> StoreId {
        self.base.store
    }

    /// The version of the store that it represents.
    pub fn version(&self) -> u64 {
        let of_overlay = self.overlay.as_ref().map(|o| o.version);
        let own = of_overlay.unwrap_or(self.base.version);
        self.newer
            .as_ref()
            .map_or(own, |newer| own.max(newer.version()))
    }

    /// Wall-clock seconds of the last change.
    pub fn issued_at(&self) -> u64 {
        let of_overlay = self.overlay.as_ref().map(|o| o.issued_at);
        let own = of_overlay.unwrap_or(self.base.issued_at);
        self.newer
            .as_ref()
            .map_or(own, |newer| own.max(newer.issued_at()))
    }

    /// Wall-clock seconds after which it is rejected.
    #[inline]
    pub fn not_after(&self) -> Option<u64> {
        let keys = self
            .overlay
            .as_ref()
            .map_or(self.base.not_after, |o| o.not_after);
        let policy = self.own.as_ref().and_then(|own| own.not_after);
        match (keys, policy) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        match &self.own {
            Some(own) => &own.rules.policy,
            None => &self.base.policy,
        }
    }

    /// The id of that policy.
    pub fn policy_id(&self) -> PolicyId {
        match &self.own {
            Some(own) => own.rules.policy_id,
            None => self.base.policy_id,
        }
    }

    /// The plan of an entry, as the policy defines it or, if the policy has no plan of that name,
    /// as it was defined for the keys. Never no limit at all.
    pub fn plan(&self, entry: &Entry<'_>) -> Option<PlanInForce<'_>> {
        let number = usize::from(entry.plan?);
        let mine = self.own.as_ref().and_then(|own| {
            let number = (*own.plans.get(number)?)?;
            Some((number, &*own.rules.policy, &*own.rules.quotas))
        });
        let (number, policy, quotas) =
            mine.unwrap_or((number, &*self.base.policy, &*self.base.quotas));
        let (name, limits) = policy.plan(number)?;
        Some(PlanInForce {
            name,
            limits,
            quota: quotas.get(number).and_then(Option::as_ref),
        })
    }

    /// Whether a key holds the scope with this number in the policy.
    #[inline]
    pub fn holds(&self, entry: &Entry<'_>, scope: u16) -> bool {
        match &self.own {
            None => entry.holds(scope),
            Some(own) => {
                let known = own.scopes.get(usize::from(scope)).copied().flatten();
                known.is_some_and(|scope| entry.holds(scope))
            }
        }
    }

    /// Names of the scopes by which entries are numbered; not always those of the policy.
    pub fn scopes(&self) -> &[String] {
        &self.base.policy.scopes
    }

    /// Names of the environments; entries refer to them by position.
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

    /// The number of keys in the base and in the overlay; some are in both.
    pub fn lens(&self) -> (usize, usize) {
        (
            self.base.len(),
            self.overlay.as_ref().map_or(0, |o| o.len()),
        )
    }

    /// Pages found so far that do not match their signed digests.
    pub fn corrupt_pages(&self) -> usize {
        self.base.corrupt_pages() + self.overlay.as_ref().map_or(0, |o| o.corrupt_pages())
    }

    /// Finds a key by the first half of its digest. The overlay overrides the base. An overlay that
    /// cannot be read is not skipped, because the base may call a key active that has been revoked
    /// since.
    pub fn lookup(&self, prefix: &Prefix) -> Lookup<'_> {
        let found = match self.overlay.as_ref().map(|o| o.lookup(prefix)) {
            None | Some(Lookup::Unknown) => self.base.lookup(prefix),
            Some(found) => found,
        };
        let waiting = self.waiting.iter();
        let found = waiting.fold(found, |found, o| lessened(found, &o.lookup(prefix)));
        match &self.newer {
            None => found,
            Some(newer) => match newer.lookup(prefix) {
                // Newer keys are complete; a waiting overlay is not.
                Lookup::Unknown => Lookup::Unknown,
                newer => lessened(found, &newer),
            },
        }
    }
}

/// An entry minus what a newer one takes away from it. The newer one refers to tables that are not
/// available, so nothing that it grants is read.
fn lessened<'a>(found: Lookup<'a>, newer: &Lookup<'_>) -> Lookup<'a> {
    match (found, newer) {
        (Lookup::Found(entry), Lookup::Found(newer)) => Lookup::Found(entry.lessened(newer)),
        (Lookup::Found(_), Lookup::Corrupt) => Lookup::Corrupt,
        (found, _) => found,
    }
}
