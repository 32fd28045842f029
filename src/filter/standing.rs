//! The keysets that the listeners of this process were given, recorded for later VMs: a VM that is
//! recreated after a crash is configured in any order, and so is a starting process. An older
//! keyset that a listener has had all along is its own; one that arrives after requests were
//! decided, and that no listener had, is treated as a step back.

use std::cell::{Cell, RefCell};

use super::host;
use keystile_core::keyset::{BaseName, StoreId};

thread_local! {
    static DECIDES: Cell<bool> = const { Cell::new(false) };
    static IS_CONFIGURED: Cell<bool> = const { Cell::new(false) };
    static STAYS: Cell<bool> = const { Cell::new(false) };
    /// What to record if this VM is not the canary.
    static PENDING: RefCell<Vec<(StoreId, BaseName)>> = const { RefCell::new(Vec::new()) };
}

/// Set in shared data once a request was decided in this process.
const DECIDED: &[u8] = b"keystile/decided";
/// Keysets kept of a store.
const MOST: usize = 64;
const NAME_BYTES: usize = 40;

/// This VM is not the canary, which gets one configuration to test and ends: it ticks, or decides,
/// or gets another one. The canary neither records nor forgets anything: a listener may have what
/// it tests, or may never get it.
#[inline(never)]
pub fn stays() {
    if !STAYS.replace(true) {
        for (store, name) in PENDING.take() {
            add(store, &name);
        }
    }
}

/// A root of this VM is about to be given a configuration.
pub fn configures() {
    if IS_CONFIGURED.replace(true) {
        stays();
    }
}

/// A request is about to be decided: any later configuration may replace something.
pub fn decides() {
    // If it cannot be written, the next request tries again.
    if !DECIDES.get() {
        stays();
        DECIDES.set(host::set_shared_data(DECIDED, b"1", 0).is_ok());
    }
}

/// Whether a keyset that arrives now is certainly a listener's own, however old it is. Not if
/// shared data cannot be read.
#[inline(never)]
pub fn is_its_own(store: StoreId, name: &BaseName) -> bool {
    let starts = matches!(host::shared_data(DECIDED), Ok(None));
    starts || is_noted(store, name)
}

/// Whether a listener is known to have a keyset. None is if shared data cannot be read.
pub fn is_noted(store: StoreId, name: &BaseName) -> bool {
    is_listed(&listed(store).unwrap_or_default().0, name)
}

/// A listener has a keyset of its own. The canary, which never ticks, has none: before the first
/// tick it accepts any, because it knows of no newer one.
#[inline(never)]
pub fn note(store: StoreId, name: &BaseName) {
    match STAYS.get() {
        true => add(store, name),
        false => PENDING.with_borrow_mut(|all| all.push((store, name.clone()))),
    }
}

/// No listener of this VM has it any more: it was replaced.
#[inline(never)]
pub fn forget(store: StoreId, name: &BaseName) {
    if !STAYS.get() {
        PENDING.with_borrow_mut(|all| all.retain(|(s, n)| *s != store || n != name));
        return;
    }
    change(store, |names| {
        let before = names.len();
        names.retain(|n| *n != short(name));
        names.len() < before
    });
}

#[inline(never)]
fn add(store: StoreId, name: &BaseName) {
    change(store, |names| {
        if is_listed(names, name) {
            return false;
        }
        // Sorted, with the version first, so that the oldest is dropped.
        let name = short(name);
        let at = names.partition_point(|n| *n < name);
        names.insert(at, name);
        let too_many = names.len().saturating_sub(MOST);
        names.drain(..too_many);
        true
    });
}

type Short = [u8; NAME_BYTES];

/// The version and most of the digest: enough to tell signed keysets apart.
fn short(name: &BaseName) -> Short {
    let mut out = [0; NAME_BYTES];
    let bytes = name.version.to_be_bytes();
    let bytes = bytes.iter().chain(name.manifest.as_bytes());
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

fn is_listed(names: &[Short], name: &BaseName) -> bool {
    names.contains(&short(name))
}

fn key(store: StoreId) -> String {
    format!("keystile/listeners/{store}")
}

#[inline(never)]
fn listed(store: StoreId) -> Result<(Vec<Short>, u32), host::Status> {
    let found = host::shared_data(key(store).as_bytes())?;
    Ok(
        found.map_or((Vec::new(), host::CAS_ABSENT), |(bytes, cas)| {
            (bytes.as_chunks().0.to_vec(), cas)
        }),
    )
}

/// If it fails, a listener may be treated as stepping back, which is the safe side.
#[inline(never)]
fn change(store: StoreId, f: impl Fn(&mut Vec<Short>) -> bool) {
    for _ in 0..16 {
        let Ok((mut names, cas)) = listed(store) else {
            return;
        };
        if !f(&mut names) {
            return;
        }
        let bytes = names.as_flattened();
        match host::set_shared_data(key(store).as_bytes(), bytes, cas) {
            Err(host::Status::CAS_MISMATCH) => {}
            _ => return,
        }
    }
}
