//! The artefacts of one store that a VM holds, and which of them are in force.
//!
//! Bases and overlays arrive in any order, each in a push of its own. Two rules apply: nothing
//! older than what was in force anywhere in the process (the *floor*) is put in force, because it
//! would undo a revocation; and an overlay is put in force only with its own base.

use std::sync::Arc;

use super::{Artefact, BaseName, InForce, Keyset, Overlay, Signed};
use crate::policy::ReportTarget;
use crate::sort;
use listeners::Listeners;

mod deciding;
mod listeners;

/// Bytes of keys that may be in memory twice.
const SMALL: usize = 1 << 20;
/// How many overlays are heeded before their base has arrived; each costs a lookup per request.
const MAX_HEEDED: usize = 16;
/// Bytes of keys in all of these except the newest.
const MAX_HEEDED_BYTES: usize = 16 << 20;

/// What a VM holds of one store.
#[derive(Default)]
pub struct Holding {
    in_force: Option<InForce>,
    /// The base that is loaded: the one in force, or one below the floor that waits for
    /// its overlay.
    base: Option<Arc<Keyset>>,
    /// The overlay that was in force with it. Kept separately, because the base is released before
    /// the next one is loaded, which may be the same again.
    overlay: Option<Arc<Overlay>>,
    /// An overlay newer than what is in force, whose base is not loaded.
    waiting: Option<Arc<Overlay>>,
    /// Overlays newer than what is in force, none of which includes all changes of another. What
    /// they take away counts until something equally new is in force, whichever of them is waiting.
    heeded: Vec<Arc<Overlay>>,
    /// Something was in force until memory was released for what is being loaded.
    making_room: bool,
    /// The listeners that decide by it, and by which policy.
    listeners: Listeners,
}

/// What happened to an artefact that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is in force, or what is in force has the same content.
    InForce,
    /// An overlay that waits for its base. What was in force stays in force.
    WithoutBase,
    /// Older than this version, so not used: that version was in force before, or is waiting for
    /// its base.
    Older(u64),
}

impl Holding {
    /// What is in force.
    pub fn in_force(&self) -> Option<&InForce> {
        self.in_force.as_ref()
    }

    /// The version in force; zero for none.
    pub fn version(&self) -> u64 {
        self.in_force.as_ref().map_or(0, InForce::version)
    }

    /// The version of the base that is loaded; zero for none.
    pub fn base_version(&self) -> u64 {
        self.base.as_ref().map_or(0, |b| b.version)
    }

    /// The overlay that waits for its base, and would change something with it.
    pub fn waiting(&self) -> Option<&Overlay> {
        let waiting = self.waiting.as_deref();
        waiting.filter(|w| w.version > self.version())
    }

    /// Whether a base that is too old to be in force by itself is loaded, for an overlay that is
    /// still to come.
    pub fn lies_ready(&self) -> bool {
        self.in_force.is_none() && self.base.is_some()
    }

    /// Where the newest policy at hand wants reports to go.
    pub fn report(&self) -> Option<&ReportTarget> {
        let of_base = self.base.as_ref().and_then(|b| b.policy.report.as_ref());
        let overlays = [&self.waiting, &self.overlay];
        of_base.or_else(|| {
            overlays
                .into_iter()
                .find_map(|o| o.as_ref()?.report.as_ref())
        })
    }

    /// Releases a base that a verified one is about to replace, before memory for the new one is
    /// allocated: linear memory never shrinks, and two large bases side by side would double it
    /// permanently. Nothing is decided until [`Holding::take`] is called. Two small bases may
    /// coexist, which spares listeners that are about to be replaced a moment with other keys.
    pub fn make_room(&mut self, signed: &Signed, floor: u64) {
        let here = self.base.as_ref().map_or(0, |b| b.pages_bytes());
        let to_come = signed.pages_size().unwrap_or(usize::MAX);
        if here.max(to_come) > SMALL {
            self.let_go(signed, floor);
        }
    }

    #[inline(never)]
    fn let_go(&mut self, signed: &Signed, floor: u64) {
        if let Signed::Keyset(manifest, name) = signed
            && self.version_with(name, manifest.version) >= self.newest(floor)
        {
            self.making_room = self.in_force.take().is_some();
            self.base = None;
            self.listeners.forget_keys();
        }
    }

    /// Puts an artefact in force, keeps it for later, or ignores it.
    pub fn take(&mut self, artefact: Artefact, floor: u64) -> Arrival {
        let newest = self.newest(floor);
        self.making_room = false;
        match artefact {
            Artefact::Keyset(base) => self.take_base(base, newest),
            Artefact::Overlay(overlay) => self.take_overlay(overlay, newest),
        }
    }

    #[inline(never)]
    fn take_base(&mut self, base: Arc<Keyset>, newest: u64) -> Arrival {
        if self.base.as_ref().is_some_and(|b| b.name == base.name) {
            return match self.in_force {
                Some(_) => Arrival::InForce,
                None => Arrival::Older(newest),
            };
        }
        if self.version_with(&base.name, base.version) >= newest {
            let overlay = self.naming(&base.name).cloned();
            self.put(base, overlay);
            return Arrival::InForce;
        }
        // By itself it lacks revocations; with an overlay that has yet to arrive, it may not.
        if self.in_force.is_none() && self.base_version() <= base.version {
            self.waiting.take_if(|w| w.base == base.name);
            self.base = Some(base);
            self.overlay = None;
        }
        Arrival::Older(newest)
    }

    #[inline(never)]
    fn take_overlay(&mut self, overlay: Arc<Overlay>, newest: u64) -> Arrival {
        if overlay.version < newest {
            // Too old to be put in force, but newer than what is.
            if self.in_force.is_some() {
                self.heed(Some(overlay));
            }
            return Arrival::Older(newest);
        }
        match &self.base {
            Some(base) if base.name == overlay.base => {
                self.put(Arc::clone(base), Some(overlay));
                Arrival::InForce
            }
            // The same version has the same keys, whatever base it refers to. But if the overlay's
            // own base is older, it can be put in force only with this overlay, so it is kept
            // ready.
            _ if self.in_force.is_some() && overlay.version == self.version() => {
                if overlay.base.version < overlay.version {
                    self.wait_with(overlay);
                }
                Arrival::InForce
            }
            _ => {
                self.wait_with(Arc::clone(&overlay));
                self.heed(Some(overlay));
                Arrival::WithoutBase
            }
        }
    }

    /// Has an overlay wait for its base, unless a newer one does.
    #[inline(never)]
    fn wait_with(&mut self, overlay: Arc<Overlay>) {
        let is_older = |w: &Arc<Overlay>| w.version <= overlay.version;
        if self.waiting.as_ref().is_none_or(is_older) {
            self.waiting = Some(overlay);
        }
    }

    #[inline(never)]
    fn put(&mut self, base: Arc<Keyset>, overlay: Option<Arc<Overlay>>) {
        self.in_force = match &overlay {
            Some(overlay) => InForce::with(Arc::clone(&base), Arc::clone(overlay)),
            None => Some(InForce::new(Arc::clone(&base))),
        };
        self.base = Some(base);
        self.overlay = overlay;
        let version = self.version();
        self.waiting.take_if(|w| w.version <= version);
        self.heed(None);
    }

    /// Applies what all newer overlays take away to what is in force. If there are more than can be
    /// kept, nothing is in force until something as new as all of them arrives.
    #[inline(never)]
    fn heed(&mut self, overlay: Option<Arc<Overlay>>) {
        let version = self.version();
        self.heeded.extend(overlay);
        self.heeded.retain(|o| o.version > version);
        // An overlay names everything that changed since its base. The sort is stable: of equals,
        // the later one is kept.
        sort::few(&mut self.heeded, |a, b| a.version < b.version);
        let mut least = u64::MAX;
        let mut kept = Vec::with_capacity(self.heeded.len());
        while let Some(overlay) = self.heeded.pop() {
            if overlay.base.version < least {
                least = overlay.base.version;
                kept.push(overlay);
            }
        }
        let bytes: usize = kept.iter().skip(1).map(|o| o.pages_bytes()).sum();
        if kept.len() > MAX_HEEDED || bytes > MAX_HEEDED_BYTES {
            self.in_force = None;
            self.listeners.forget_keys();
            kept.truncate(1);
        }
        self.heeded = kept;
        let heeded: Arc<[_]> = self.heeded.as_slice().into();
        self.in_force = self.in_force.take().map(|i| i.under(heeded));
    }

    /// The version below which nothing may be put in force. If nothing is in force, a waiting
    /// overlay counts too: an older base by itself lacks what that overlay and its own base
    /// revoked. What is already in force stays, minus what the overlay takes away.
    fn newest(&self, floor: u64) -> u64 {
        let here = match self.in_force {
            None if !self.making_room => {
                let all = self.waiting.iter().chain(&self.heeded);
                all.map(|o| o.version).max().unwrap_or(0)
            }
            _ => self.version(),
        };
        floor.max(here)
    }

    /// The newest overlay at hand that belongs to a base.
    fn naming(&self, base: &BaseName) -> Option<&Arc<Overlay>> {
        let all = [&self.overlay, &self.waiting].into_iter().flatten();
        all.filter(|o| o.base == *base).max_by_key(|o| o.version)
    }

    /// The version that a base would have together with the overlays at hand.
    fn version_with(&self, name: &BaseName, version: u64) -> u64 {
        self.naming(name)
            .map_or(version, |o| o.version.max(version))
    }
}

#[cfg(test)]
mod tests;
