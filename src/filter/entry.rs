//! The VM's entry points: what Envoy calls. Each costs as much as several hostcalls, so that there
//! are only those which do something.
//!
//! A decision needs no table of streams, because Envoy opens a stream in the VM just before it
//! passes the request's headers.
#![allow(
    unsafe_code,
    reason = "what the host calls has a name of its choosing, and is C"
)]

use std::cell::{Cell, RefCell};

use super::request::{self, Later};
use super::{report, root, tunnels, usage};
use keystile_core::fast_hash::FastMap;

unsafe extern "C" {
    safe fn __wasm_call_ctors();
}

thread_local! {
    /// The stream that was opened last, and its root.
    static OPENED: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    /// What to do to later responses, by stream.
    static LATER: RefCell<FastMap<u32, Later>> = RefCell::default();
}

/// Before anything else.
#[unsafe(export_name = "_initialize")]
extern "C" fn initialize() {
    __wasm_call_ctors();
}

/// Its name says what the host may expect of us.
#[unsafe(export_name = "proxy_abi_version_0_2_1")]
extern "C" fn abi_version() {}

#[unsafe(export_name = "proxy_on_context_create")]
extern "C" fn on_context_create(id: u32, root: u32) {
    match root {
        0 => root::begin(id),
        root => OPENED.set((id, root)),
    }
}

/// 1 takes the configuration, 0 refuses it.
#[unsafe(export_name = "proxy_on_configure")]
extern "C" fn on_configure(id: u32, size: usize) -> u32 {
    u32::from(root::configure(id, size))
}

#[unsafe(export_name = "proxy_on_tick")]
extern "C" fn on_tick(id: u32) {
    root::tick(id);
}

#[unsafe(export_name = "proxy_on_http_call_response")]
extern "C" fn on_http_call_response(_: u32, token: u32, _: usize, body_size: usize, _: usize) {
    if !report::answered(token, body_size) {
        usage::answered(token, body_size);
    }
}

/// 0 lets the request go on, 1 holds it.
#[unsafe(export_name = "proxy_on_request_headers")]
extern "C" fn on_request_headers(id: u32, _: usize, _: u32) -> u32 {
    let root = match OPENED.get() {
        (opened, root) if opened == id => Some(root),
        // No host does this. Without the root, the policy is unknown.
        _ => None,
    };
    let root = root.and_then(|root| Some((root, root::store_of(root)?)));
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
#[unsafe(export_name = "proxy_on_request_trailers")]
extern "C" fn on_request_trailers(_: u32, _: usize) -> u32 {
    u32::from(!request::trailers())
}

#[unsafe(export_name = "proxy_on_response_headers")]
extern "C" fn on_response_headers(id: u32, _: usize, _: u32) -> u32 {
    if let Some(later) = take_later(id) {
        request::finish_response(&later);
    }
    0
}

/// The end of a stream or of a root: Envoy calls this for both, and both end here.
#[unsafe(export_name = "proxy_on_done")]
extern "C" fn on_done(id: u32) -> u32 {
    if !root::end(id) {
        // A stream that was reset before its response.
        take_later(id);
        tunnels::closed(id);
    }
    1
}

fn take_later(id: u32) -> Option<Later> {
    LATER.with_borrow_mut(|all| all.remove(&id))
}
