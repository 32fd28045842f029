//! Open tunnels (WebSockets and other upgrades, `CONNECT`): they outlive every push, so the
//! decision made when they were opened is checked again.
//!
//! A tunnel continues as long as a new request would find its key valid. That includes the keyset:
//! once it is past its not-after, nothing is known about the key.

use std::cell::RefCell;

use super::names::STATE_REASON;
use super::{clock, host, metrics, request, vm};
use keystile_core::decide::{Denial, still_good};
use keystile_core::fast_hash::FastMap;
use keystile_core::key::Prefix;
use keystile_core::keyset::StoreId;
use keystile_core::reply::reply;

struct Tunnel {
    store: StoreId,
    key: Prefix,
    /// Wall-clock second at which to check again even if nothing was pushed.
    ask_at: Option<u64>,
    /// It was ended, but Envoy has not yet confirmed that it is gone.
    ended: bool,
}

thread_local! {
    /// By stream.
    static OPEN: RefCell<FastMap<u32, Tunnel>> = RefCell::default();
}

/// A tunnel was let in.
pub fn opened(stream: u32, store: StoreId, key: Prefix) {
    let tunnel = Tunnel {
        store,
        key,
        ask_at: Some(0),
        ended: false,
    };
    OPEN.with_borrow_mut(|open| open.insert(stream, tunnel));
}

/// A stream is gone.
pub fn closed(stream: u32) {
    OPEN.with_borrow_mut(|open| open.remove(&stream));
}

/// Something was pushed: checks every tunnel. `root` is the context that is being called.
pub fn pushed(root: u32) {
    check(root, |_, _| true);
}

/// Once a second: checks the tunnels that are due.
pub fn tick(root: u32) {
    check(root, |tunnel, now| {
        tunnel.ask_at.is_some_and(|at| now >= at)
    });
}

#[inline(never)]
fn check(root: u32, is_due: impl Fn(&Tunnel, u64) -> bool) {
    let ended = OPEN.with_borrow_mut(|open| {
        // Most Envoys have none.
        if open.is_empty() {
            return Vec::new();
        }
        let clocks = clock::now();
        let due = open.iter_mut().filter(|(_, t)| is_due(t, clocks.wall));
        let mut ended = Vec::new();
        for (stream, tunnel) in due {
            let keyset = vm::newest(tunnel.store);
            match still_good(keyset.as_ref().map_err(|why| *why), &tunnel.key, clocks) {
                Ok(ask_at) => tunnel.ask_at = ask_at,
                Err(denial) => {
                    ended.push((*stream, tunnel.store, denial, tunnel.ended));
                    tunnel.ended = true;
                    // Until it is gone.
                    tunnel.ask_at = Some(0);
                }
            }
        }
        ended
    });
    for (stream, store, denial, again) in &ended {
        if !again {
            metrics::tunnel_ended(denial.code());
        }
        end(*stream, *store, denial);
    }
    if !ended.is_empty() {
        let _ = host::set_effective_context(root);
    }
}

/// Envoy resets the stream if its answer has begun; otherwise the caller gets the refusal like any
/// other.
#[inline(never)]
fn end(stream: u32, store: StoreId, denial: &Denial) {
    if host::set_effective_context(stream).is_err() {
        return closed(stream);
    }
    let _ = host::set_property(STATE_REASON, denial.code().as_bytes());
    let keyset = vm::newest(store).ok();
    let policy = keyset.as_ref().map(|keyset| keyset.policy());
    // It does not fail for a stream that Envoy knows; the next tick tries again.
    let to = request::answered_request();
    let _ = host::send_reply(&reply(denial, &to, policy, None));
}
