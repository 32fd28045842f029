//! What outlives a configuration: the keysets and overlays of this process by store, the newest
//! versions that it ever had, and the secrets that it signs reports with.
//!
//! Keys and revocations of a store apply on all its listeners at once; each listener has its own
//! policy: [`Holding`] knows which. Workers never come here: each configuration holds what it
//! decides by, and gets a new one whenever something changes here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use keystile_core::decide::Unavailable;
use keystile_core::keyset::{Arrival, Artefact, BaseName, Holding, InForce, SigningKeys, StoreId};
use keystile_core::policy::ReportTarget;

use crate::abi::{Configuration, Level, log};
use crate::clock;
use crate::config::{Config, View};
use crate::metrics::GaugeValues;

/// Envoy replaces the old configuration with the new one within milliseconds.
const SETTLING_NS: u64 = 500_000_000;

struct Place {
    store: StoreId,
    holding: Holding,
    /// The version of the waiting overlay that has been logged.
    told_of: u64,
    /// What to log about a base that is too old by itself, unless its overlay arrives: a starting
    /// Envoy gets first the one and then the other.
    unless_overlay: Option<String>,
    /// When listeners settle after a push.
    settles_at: u64,
    /// Since when another base than before has been the newest.
    newest_since: u64,
    /// Where its usage is reported.
    usage: Option<Arc<ReportTarget>>,
}

impl Place {
    fn new(store: StoreId) -> Self {
        Self {
            store,
            holding: Holding::default(),
            told_of: 0,
            unless_overlay: None,
            settles_at: 0,
            newest_since: 0,
            usage: None,
        }
    }

    /// What a listener decides by now.
    fn view(&self, config: u32) -> View {
        View {
            in_force: self.holding.decides(config).cloned(),
            usage: self.usage.clone(),
        }
    }

    fn set_usage(&mut self) {
        let target = self.holding.report().filter(|t| t.usage);
        if self.usage.as_deref() != target {
            self.usage = target.cloned().map(Arc::new);
        }
    }
}

#[derive(Default)]
struct State {
    places: Vec<Place>,
    configs: Vec<Weak<Config>>,
    /// The highest version of each store that was ever in force here: what arrives later must not
    /// be older. Kept when all listeners of a store are gone.
    floors: Vec<(StoreId, u64)>,
    keys: Option<SigningKeys>,
    /// Envoy's `node.id`, which Envoy does not tell modules.
    node: String,
}

static STATE: Mutex<State> = Mutex::new(State {
    places: Vec::new(),
    configs: Vec::new(),
    floors: Vec::new(),
    keys: None,
    node: String::new(),
});
/// A request was decided in this process.
static DECIDES: AtomicBool = AtomicBool::new(false);

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request is about to be decided: any later configuration may replace something.
pub fn decides() {
    // Rarely written, because all workers read it.
    if !DECIDES.load(Ordering::Relaxed) {
        DECIDES.store(true, Ordering::Relaxed);
    }
}

/// Keeps what reports are signed with, and whose they are.
pub fn remember(keys: SigningKeys, node: String) {
    let mut state = state();
    (state.keys, state.node) = (Some(keys), node);
}

/// Whose reports they are.
pub fn node() -> String {
    state().node.clone()
}

/// Where the usage of a store is reported, if anywhere.
pub fn usage_target(store: StoreId) -> Option<Arc<ReportTarget>> {
    let state = state();
    let place = state.places.iter().find(|p| p.store == store)?;
    place.usage.clone()
}

/// Calls `f` with what reports are signed with, and their receipts.
pub fn with_keys<R>(f: impl FnOnce(&SigningKeys) -> R) -> Option<R> {
    state().keys.as_ref().map(f)
}

/// The newest keys of a store with the policy that came with them: they still apply to a stream
/// whose listener may be gone.
pub fn newest(store: StoreId) -> Result<InForce, Unavailable> {
    let state = state();
    let place = state.places.iter().find(|p| p.store == store);
    place
        .and_then(|p| p.holding.in_force().cloned())
        .ok_or(Unavailable::None)
}

/// Calls `f` with what is held of every store. `f` may not call this module.
pub fn each(mut f: impl FnMut(StoreId, &Holding)) {
    let state = state();
    state.places.iter().for_each(|p| f(p.store, &p.holding));
}

impl State {
    fn place(&mut self, store: StoreId) -> Option<&mut Place> {
        self.places.iter_mut().find(|p| p.store == store)
    }

    fn living(&self) -> impl Iterator<Item = Arc<Config>> {
        self.configs.iter().filter_map(Weak::upgrade)
    }

    fn floor(&self, store: StoreId) -> u64 {
        let found = self.floors.iter().find(|(of, _)| *of == store);
        found.map_or(0, |(_, version)| *version)
    }

    fn raise_floors(&mut self) {
        for place in &self.places {
            let version = place.holding.version();
            match self.floors.iter_mut().find(|(of, _)| *of == place.store) {
                Some((_, floor)) => *floor = version.max(*floor),
                None => self.floors.push((place.store, version)),
            }
        }
    }

    /// Whether a keyset that arrives now is certainly a listener's own, however old it is: nothing
    /// has been decided yet, or another listener that serves requests has it. A listener that was
    /// replaced may still exist as long as its last streams are open, but no new ones reach it.
    fn is_its_own(&self, store: StoreId, name: &BaseName) -> bool {
        if !DECIDES.load(Ordering::Relaxed) {
            return true;
        }
        let Some(place) = self.places.iter().find(|p| p.store == store) else {
            return true;
        };
        let settled = place.newest_since.saturating_add(SETTLING_NS);
        let has = |c: &Arc<Config>| {
            c.store() == Some(store)
                && place.holding.own(c.id) == Some(name)
                && c.served_at() > settled
        };
        self.living().any(|config| has(&config))
    }

    /// Makes every listener decide by what is in force now. Returns what is no longer needed, to be
    /// dropped when nobody waits.
    #[must_use]
    fn refresh(&mut self) -> Vec<View> {
        self.configs.retain(|config| config.strong_count() > 0);
        let mut old = Vec::new();
        self.places.iter_mut().for_each(Place::set_usage);
        for config in self.living() {
            let place = self.places.iter().find(|p| Some(p.store) == config.store());
            let view = place.map_or_else(View::default, |place| place.view(config.id));
            if !config.view().is(&view) {
                old.push(config.decide_by(view));
            }
        }
        old
    }

    fn shown(&self) -> GaugeValues {
        let (mut shown, mut issued) = (GaugeValues::default(), None);
        for Place { holding, .. } in &self.places {
            shown.without_base |= holding.waiting().is_some();
            if let Some(in_force) = holding.in_force() {
                let (base, overlay) = in_force.lens();
                shown.version = shown.version.max(in_force.version());
                shown.keys += base as u64;
                shown.overlay_keys += overlay as u64;
                let issued_at = in_force.issued_at();
                issued = Some(issued.map_or(issued_at, |first: u64| first.min(issued_at)));
            }
        }
        shown.age = issued.map(|issued| clock::wall().saturating_sub(issued));
        shown
    }
}

/// What gauges are to show.
pub fn shown() -> GaugeValues {
    state().shown()
}

/// Makes Envoy call us on its main thread, about one of the live configurations: the newest is the
/// least likely to be kept only by old streams.
pub fn wake() {
    let living: Vec<_> = state().living().collect();
    let _ = living.iter().rev().any(|config| config.wake());
}

/// Makes Envoy call us about each of the configurations that wait for a secret. Returns whether any
/// does.
pub fn wake_waiting() -> bool {
    let waiting: Vec<_> = state().living().filter(|c| c.is_waiting()).collect();
    waiting.iter().for_each(|config| {
        config.wake();
    });
    !waiting.is_empty()
}

/// Envoy has another configuration.
pub fn know(config: &Arc<Config>) {
    state().configs.push(Arc::downgrade(config));
}

/// Puts the content of a configuration in force, unless something newer is: an older version would
/// undo a revocation. `loaded_us` is how long the main thread was busy with it.
pub fn take(host: &Configuration<'_>, config: &Config, artefact: Artefact, loaded_us: u64) {
    let store = artefact.store();
    let of = match &artefact {
        Artefact::Keyset(k) => &k.name,
        Artefact::Overlay(o) => &o.base,
    };
    let (version, name, size) = match &artefact {
        Artefact::Keyset(k) => (k.version, "keyset", format!("{} keys", k.len())),
        Artefact::Overlay(o) => {
            let size = format!("{} keys over version {}", o.len(), o.base.version);
            (o.version, "overlay", size)
        }
    };
    let now = clock::monotonic();
    let mut state = state();
    let is_its_own = state.is_its_own(store, of);
    let floor = state.floor(store);
    if state.place(store).is_none() {
        state.places.push(Place::new(store));
    }
    let Some(place) = state.place(store) else {
        return;
    };
    let base_of = |holding: &Holding| holding.in_force().map(|i| i.base().name.clone());
    let before = base_of(&place.holding);
    let taken = place
        .holding
        .configure(config.id, artefact, floor, is_its_own);
    place.settles_at = now.saturating_add(SETTLING_NS);
    if base_of(&place.holding) != before {
        place.newest_since = now;
    }
    let in_force = place.holding.version();
    match taken {
        Arrival::Older(newest) => {
            config.metrics.push_refused(host, "older_version");
            let policy = match is_its_own {
                true => "its policy applies to its own listeners only",
                false => "its policy lets in only what the newest one also allows",
            };
            let line = format!(
                "keystile: {name} version {version} is older than {newest}, which was in force before or waits for its base; its keys are not used, and {policy}. Reissue it with `keystilectl keyset renew`"
            );
            match place.holding.lies_ready() {
                true => place.unless_overlay = Some(line),
                false => log(Level::Warn, &line),
            }
        }
        // Told at the next tick.
        Arrival::WithoutBase => {}
        Arrival::InForce => log(
            Level::Info,
            &format!(
                "keystile: {name} version {version} with {size} is in force, loaded in {loaded_us} us{}",
                match in_force == version {
                    true => String::new(),
                    false => format!("; overall version {in_force}"),
                },
            ),
        ),
    }
    state.raise_floors();
    let old = state.refresh();
    let shown = state.shown();
    drop(state);
    config.metrics.show(host, &shown);
    drop(old);
}

/// A configuration is gone; with the last one of a store, everything from that store is dropped.
pub fn end(config: &Config) {
    let mut state = state();
    let mut gone = Vec::new();
    for place in state.places.extract_if(.., |p| !p.holding.end(config.id)) {
        gone.push(place);
    }
    // Its views are its own: nobody else's change.
    state
        .configs
        .retain(|c| c.as_ptr() != core::ptr::from_ref(config));
    drop(state);
    for place in &gone {
        let store = place.store;
        let line = format!(
            "keystile: no listener of store {store} is left, so nothing of it is in force; its newest version is remembered"
        );
        log(Level::Info, &line);
    }
    drop(gone);
}

/// Once a second: lets listeners settle, and logs which overlays are waiting for their base.
pub fn tick() {
    let now = clock::monotonic();
    let mut state = state();
    for place in &mut state.places {
        if now >= place.settles_at {
            place.holding.settle();
            if let Some(line) = place.unless_overlay.take()
                && place.holding.lies_ready()
            {
                log(Level::Warn, &line);
            }
        }
        let Some(waiting) = place.holding.waiting() else {
            place.told_of = 0;
            continue;
        };
        if place.told_of == waiting.version {
            continue;
        }
        let meanwhile = match place.holding.version() {
            0 => "every request is refused until it does".to_owned(),
            version => format!("version {version} stays in force"),
        };
        let line = format!(
            "keystile: overlay version {} has arrived, but its base, version {}, has not; {meanwhile}. Push the base again: the overlay takes effect with it",
            waiting.version, waiting.base.version
        );
        log(Level::Warn, &line);
        place.told_of = waiting.version;
    }
    let old = state.refresh();
    drop(state);
    drop(old);
}
