//! What a pass over a request leaves for the next, in filter state. Callers cannot set that, and
//! other filters of ours use other names: see [`Prior`].

use std::cell::RefCell;

use super::{STATE_CLIENT, USUAL_NAME, host};
use keystile_core::decide::{Decision, Prior};
use keystile_core::keyset::{PolicyId, StoreId};

/// Names of filter state. There are two, because both are read-only: a key that was presented on an
/// open route may be let in on a second pass, and must be neither charged again nor lost on a
/// third.
struct Names {
    store: StoreId,
    admitted: String,
    presented: String,
}

thread_local! {
    /// Computed once per store, not per request.
    static NAMES: RefCell<Vec<Names>> = const { RefCell::new(Vec::new()) };
    /// For roots whose filter has a name of its own: the state that its guard asks for.
    static OWN: RefCell<Vec<(u32, String)>> = const { RefCell::new(Vec::new()) };
}

/// A root is configured. Several of our filters in one chain have names of their own (`name` in
/// Envoy's `PluginConfig`), and each leaves filter state under its name: a guard that asked for the
/// state that all of them write would be satisfied by the first, even if the second is left out of
/// a worker.
pub fn named(root: u32) {
    let name = host::property("plugin_name").and_then(|name| String::from_utf8(name).ok());
    let name = name.filter(|name| !name.is_empty() && name != USUAL_NAME);
    end(root);
    if let Some(name) = name {
        let own = format!("{STATE_CLIENT}.{name}");
        host::declare_property(&own, true);
        OWN.with_borrow_mut(|all| all.push((root, own)));
    }
}

/// A root has ended.
pub fn end(root: u32) {
    OWN.with_borrow_mut(|all| all.retain(|(of, _)| *of != root));
}

/// Sets the filter state that guards ask for. It is read-only: on a second pass after an internal
/// redirect it is already set, and so, after another of our filters, is the state that all of them
/// write.
pub fn admitted(root: Option<u32>, client: &[u8]) -> Result<(), host::Status> {
    let mark = |name: &str| {
        host::set_property(name, client).or_else(|status| match host::property(name) {
            Some(_) => Ok(()),
            None => Err(status),
        })
    };
    mark(STATE_CLIENT)?;
    OWN.with_borrow(|all| {
        let mut own = all.iter().filter(|(of, _)| Some(*of) == root);
        own.try_for_each(|(_, name)| mark(name))
    })
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

/// Leaves what a later pass has to know about a request that is passed on. If that fails, a later
/// pass finds no key.
pub fn leave(store: StoreId, policy: PolicyId, decision: &Decision<'_>) {
    let admitted = match decision.prefix {
        Some(prefix) if decision.verdict.is_ok() && !decision.again && !decision.anonymous => {
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
