//! What a pass over a request leaves for the next, in filter state. Callers cannot set that,
//! and other filters of ours look elsewhere: see [`Prior`].

use std::cell::RefCell;

use super::host;
use crate::decide::{Decision, Prior};
use crate::keyset::{PolicyId, StoreId};

/// Names of filter state. Two, because both are read-only: a key that was presented on an
/// open route may be let in on a second pass, and be neither charged nor lost on a third.
struct Names {
    store: StoreId,
    admitted: String,
    presented: String,
}

thread_local! {
    /// Made once for each store, not for each request.
    static NAMES: RefCell<Vec<Names>> = const { RefCell::new(Vec::new()) };
}

/// Called while a root is configured: Envoy asks a stream's root how its state is declared.
pub fn declare(store: StoreId) {
    NAMES.with_borrow_mut(|all| {
        if !all.iter().any(|names| names.store == store) {
            all.push(Names {
                store,
                admitted: format!("keystile.pass.{store}"),
                presented: format!("keystile.seen.{store}"),
            });
        }
    });
    with(store, |names| {
        host::declare_property(&names.admitted, true);
        host::declare_property(&names.presented, true);
    });
}

fn with<R>(store: StoreId, f: impl FnOnce(&Names) -> R) -> Option<R> {
    NAMES.with_borrow(|all| all.iter().find(|names| names.store == store).map(f))
}

/// What an earlier pass of a filter with this policy has left.
pub fn earlier(store: StoreId, policy: PolicyId) -> Option<Prior> {
    let read = |name: &str| Prior::from_text(policy, &host::property(name)?);
    with(store, |names| {
        read(&names.admitted).or_else(|| read(&names.presented))
    })?
}

/// Leaves what a later pass has to know of a request that goes on. Where that fails, a later
/// pass finds no key.
pub fn leave(store: StoreId, policy: PolicyId, decision: &Decision<'_>) {
    let admitted = match decision.prefix {
        Some(prefix) if decision.verdict.is_ok() && !decision.again => {
            Prior::Admitted(prefix).to_text(policy)
        }
        _ => None,
    };
    let presented = decision.unjudged.and_then(|prior| prior.to_text(policy));
    with(store, |names| {
        if let Some(text) = admitted {
            let _ = host::set_property(&names.admitted, text.as_bytes());
        }
        if let Some(text) = presented {
            let _ = host::set_property(&names.presented, text.as_bytes());
        }
    });
}
