//! The VM's entry points that every request uses.
//!
//! Each entry costs as much as several hostcalls, and the SDK needs five per request, because it
//! keeps a table of streams from which each has to be removed. A decision needs no such table,
//! because Envoy opens a stream in the VM just before it passes the request's headers. So streams
//! are handled here and roots by the SDK; `scripts/trim` gives these functions the names that Envoy
//! calls, in place of the SDK's.
#![allow(
    unsafe_code,
    reason = "what the host calls has a name of its choosing, and the SDK's entries are C"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::request::{self, Later};
use super::{metrics, tunnels};
use keystile_core::keyset::StoreId;

unsafe extern "C" {
    safe fn proxy_on_context_create(id: u32, root: u32);
    safe fn proxy_on_done(id: u32) -> bool;
    safe fn proxy_on_delete(id: u32);
}

thread_local! {
    /// Live roots, and the stores from which their configuration came.
    static ROOTS: RefCell<Vec<(u32, Option<StoreId>)>> = const { RefCell::new(Vec::new()) };
    /// The stream that was opened last, and its root.
    static OPENED: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    /// What to do to later responses, by stream.
    static LATER: RefCell<BTreeMap<u32, Later>> = const { RefCell::new(BTreeMap::new()) };
}

/// A root was configured from this store.
pub fn configured(root: u32, store: StoreId) {
    ROOTS.with_borrow_mut(|roots| {
        for (_, from) in roots.iter_mut().filter(|(id, _)| *id == root) {
            *from = Some(store);
        }
    });
}

#[unsafe(export_name = "keystile_on_context_create")]
extern "C" fn on_context_create(id: u32, root: u32) {
    if root == 0 {
        ROOTS.with_borrow_mut(|roots| roots.push((id, None)));
        proxy_on_context_create(id, root);
    } else {
        OPENED.set((id, root));
    }
}

/// 0 lets the request go on, 1 holds it.
#[unsafe(export_name = "keystile_on_request_headers")]
extern "C" fn on_request_headers(id: u32, _: usize, _: u32) -> u32 {
    let root = match OPENED.get() {
        (opened, root) if opened == id => Some(root),
        // No host does this. Without the root, the policy is unknown.
        _ => None,
    };
    let root = ROOTS.with_borrow(|roots| {
        let known = roots.iter().find(|(id, _)| Some(*id) == root);
        known.and_then(|(root, store)| Some((*root, (*store)?)))
    });
    let outcome = request::headers(root);
    if let Some(later) = outcome.later {
        LATER.with_borrow_mut(|all| all.insert(id, later));
    }
    if let (Some(key), Some((_, store))) = (outcome.tunnel, root) {
        tunnels::opened(id, store, key);
    }
    u32::from(!outcome.goes_on)
}

/// 0 lets the trailers go on, 1 holds them. Envoy calls this only if there are trailers.
#[unsafe(export_name = "keystile_on_request_trailers")]
extern "C" fn on_request_trailers(_: u32, _: usize) -> u32 {
    u32::from(!request::trailers())
}

#[unsafe(export_name = "keystile_on_response_headers")]
extern "C" fn on_response_headers(id: u32, _: usize, _: u32) -> u32 {
    if let Some(later) = take_later(id) {
        request::finish_response(&later);
    }
    0
}

/// The end of a stream or of a root: Envoy calls this for both, and both end here.
#[unsafe(export_name = "keystile_on_done")]
extern "C" fn on_done(id: u32) -> u32 {
    let was_root = ROOTS.with_borrow_mut(|roots| {
        let at = roots.iter().position(|(root, _)| *root == id);
        at.map(|at| roots.swap_remove(at)).is_some()
    });
    if was_root {
        metrics::tell();
        proxy_on_done(id);
        proxy_on_delete(id);
    } else {
        // A stream that was reset before its response.
        take_later(id);
        tunnels::closed(id);
    }
    1
}

fn take_later(id: u32) -> Option<Later> {
    LATER.with_borrow_mut(|all| all.remove(&id))
}
