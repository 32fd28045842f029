//! What each listener decides by.
//!
//! A listener (a root context, in the filter) decides by the policy of the keyset that it was
//! given, and by the newest keys of the store. An older keyset must not bring back a policy that
//! was replaced, but it may also be the only one that a listener was ever given. If that cannot be
//! told, a listener with an older keyset lets in only what its policy and the newest one both
//! allow.

use std::sync::Arc;

use super::super::{Artefact, BaseName, InForce};
use super::listeners::Listener;
use super::{Arrival, Holding};
use crate::decide::Unavailable;
use crate::policy::{Mode, Policy};

impl Holding {
    /// A listener was given an artefact: puts it in force, keeps it for later or ignores it, and
    /// determines the policy by which the listener decides. `is_its_own`: it is known not to
    /// replace a newer one, because nothing has been decided in this process yet, or because a
    /// listener has it. Its mere presence proves nothing: Envoy keeps what it has replaced as long
    /// as streams are open.
    #[inline(never)]
    pub fn configure(
        &mut self,
        id: u32,
        artefact: Artefact,
        floor: u64,
        is_its_own: bool,
    ) -> Arrival {
        let (name, not_after, rules, overlay) = match &artefact {
            Artefact::Keyset(k) => (k.name.clone(), k.not_after, Some(k.rules()), false),
            Artefact::Overlay(o) => (o.base.clone(), o.not_after, None, true),
        };
        let meanwhile = overlay.then(|| self.listeners.predecessor()).flatten();
        let had = self.listeners.named(&name).cloned();
        let taken = self.take(artefact, floor);
        self.listeners.0.retain(|l| l.id != id);
        self.listeners.0.push(Listener {
            id,
            name,
            not_after,
            older: matches!(taken, Arrival::Older(_)) && !is_its_own,
            rules: had.or(rules),
            meanwhile,
            overlay,
            settling: false,
            view: Err(Unavailable::None),
        });
        self.refresh(Some(id));
        taken
    }

    /// The policy that came with the newest keys, and those that listeners decide by.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        let newest = self.in_force.iter().map(InForce::policy);
        let own = self.listeners.0.iter().filter_map(Listener::policy);
        newest.chain(own.map(|rules| &*rules.policy))
    }

    /// The keyset by whose policy a listener decides, unless it opens nothing that the newest does
    /// not.
    pub fn own(&self, id: u32) -> Option<&BaseName> {
        let found = self.listeners.0.iter().find(|l| l.id == id);
        found.filter(|l| !l.older).map(|l| &l.name)
    }

    /// That keyset, if another one is the newest: it must be known whether it is still in use.
    pub fn alone(&self, id: u32) -> Option<&BaseName> {
        let newest = &self.in_force.as_ref()?.base().name;
        self.own(id).filter(|name| *name != newest)
    }

    /// A listener's keyset was replaced, but requests still reach it: from now on it lets in only
    /// what the newest policy also allows.
    #[inline(never)]
    pub fn step_back(&mut self, id: u32) {
        if let Some(listener) = self.listeners.0.iter_mut().find(|l| l.id == id) {
            listener.older = true;
            self.refresh(Some(id));
        }
    }

    /// Whether a listener was given this keyset.
    pub fn has(&self, name: &BaseName) -> bool {
        self.listeners.0.iter().any(|l| l.name == *name)
    }

    /// A listener has ended. Gives whether any is left.
    #[inline(never)]
    pub fn end(&mut self, id: u32) -> bool {
        self.listeners.0.retain(|l| l.id != id);
        !self.listeners.0.is_empty()
    }

    /// What a listener decides by, or why it cannot decide.
    ///
    /// # Errors
    /// [`Unavailable`] if nothing is in force, or the listener's own policy has not arrived.
    pub fn decides(&self, id: u32) -> Result<&Arc<InForce>, Unavailable> {
        let found = self.listeners.0.iter().find(|l| l.id == id);
        let found = found.ok_or(Unavailable::None)?;
        found.view.as_ref().map_err(|why| *why)
    }

    /// Makes every listener decide by the newest keys. A listener that is being replaced serves
    /// until Envoy has put the new one in its place; until then it keeps the keys that belong to
    /// its policy, minus what the newest take away, so that no request is decided by the policy of
    /// one push and the keys of another. Call this a moment after a push: a listener that still
    /// exists then is one of several.
    pub fn settle(&mut self) {
        if self.listeners.0.iter().any(|l| l.settling) {
            self.refresh(None);
        }
    }

    /// `configured` is the listener that a push has just been for.
    #[inline(never)]
    fn refresh(&mut self, configured: Option<u32>) {
        let mut all = core::mem::take(&mut self.listeners);
        let here = self.base.as_ref().map(|b| b.rules());
        for i in 0..all.0.len() {
            let Some(listener) = all.0.get(i) else {
                break;
            };
            let name = &listener.name;
            let rules = here.iter().find(|rules| rules.name == *name);
            let rules = rules.or_else(|| all.named(name)).cloned();
            let Some(listener) = all.0.get_mut(i) else {
                break;
            };
            listener.rules = listener.rules.take().or(rules);
            // Nothing newer is left, so it is not older than anything.
            let now = self.in_force.as_ref().map(|f| &f.base().name);
            listener.older &= now != Some(&listener.name);
            // An overlay is replaced by another overlay, not by the base that comes before it.
            let keeps = configured.is_some_and(|id| id != listener.id) && !listener.overlay;
            // A listener that stepped back may be in use again, so the newest policy counts at
            // once.
            let keeps = keeps && !listener.yields();
            let kept = listener.view.as_ref().ok().filter(|_| keeps);
            let kept = kept.and_then(|view| self.kept(view));
            listener.settling = kept.is_some();
            listener.view = match kept {
                Some(view) => Ok(Arc::new(view)),
                None => self.view(listener).map(Arc::new),
            };
        }
        self.listeners = all;
    }

    /// A view with the keys of another base than the newest.
    #[inline(never)]
    fn kept(&self, view: &InForce) -> Option<InForce> {
        let newest = self.in_force.as_ref()?;
        let is_other = view.base().name != newest.base().name;
        is_other.then(|| view.clone().before(newest))
    }

    #[inline(never)]
    fn view(&self, listener: &Listener) -> Result<InForce, Unavailable> {
        let newest = self.in_force.as_ref().ok_or(match &self.waiting {
            Some(_) => Unavailable::OverlayWithoutBase,
            None => Unavailable::None,
        })?;
        let rules = listener.policy().ok_or(Unavailable::OverlayWithoutBase)?;
        let own = newest.clone().by(rules, listener.not_after);
        if !listener.yields() || rules.name == newest.base().name {
            return Ok(own);
        }
        // In shadow mode, the policy that decides is the one that refuses.
        Ok(match rules.policy.mode {
            Mode::Shadow => newest.clone().beside(own),
            Mode::Enforce => own.beside(newest.clone()),
        })
    }
}
