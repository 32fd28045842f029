//! What a pass over a request leaves for the guard behind it and for the next pass, in filter
//! state. Callers cannot set that.
//!
//! Guards ask for [`STATE_PASS`]. One name serves all filters of ours, and what is there is
//! read-only: a filter that finds another's mark there, or that of an earlier pass, leaves what
//! its own next pass has to know under names of its store. See [`Prior`].

use std::cell::RefCell;

use super::host;
use super::names::{STATE_CLIENT, STATE_PASS, USUAL_NAME};
use keystile_core::decide::{Decision, NOBODY, Prior};
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
#[inline(never)]
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

/// Called while a root is configured: Envoy asks a stream's root how its state is declared.
#[inline(never)]
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
    // Without this one there is no other.
    let first = host::property(STATE_PASS)?;
    let first = Prior::from_text(store, policy, &first);
    if let Some(Prior::Admitted(_)) = first {
        return first;
    }
    let read = |name: &str| Prior::from_text(store, policy, &host::property(name)?);
    let later = with(store, |names| {
        read(&names.admitted).or_else(|| read(&names.presented))
    });
    later.flatten().or(first)
}

/// Marks a request that goes on: for logs, for the guard, and for a later pass. An error says
/// that the guard will refuse it.
pub fn admitted(
    root: Option<u32>,
    (store, policy): (StoreId, PolicyId),
    client: &[u8],
    decision: &Decision<'_>,
) -> Result<(), host::Status> {
    set(STATE_CLIENT, client)?;
    OWN.with_borrow(|all| {
        let mut own = all.iter().filter(|(of, _)| Some(*of) == root);
        own.try_for_each(|(_, name)| set(name, client).map(drop))
    })?;
    let admitted = match decision.prefix {
        Some(prefix) if decision.verdict.is_ok() && !decision.again && !decision.anonymous => {
            Some(Prior::Admitted(prefix))
        }
        _ => None,
    };
    let prior = admitted.or(decision.unjudged);
    let mark = prior.and_then(|prior| prior.to_text(store, policy));
    let mark = mark.as_ref();
    let text = mark.map_or(NOBODY.as_bytes(), |mark| mark.as_bytes());
    let is_first = set(STATE_PASS, text)?;
    if let Some(mark) = mark.filter(|_| !is_first) {
        with(store, |names| {
            let name = match admitted {
                Some(_) => &names.admitted,
                None => &names.presented,
            };
            // Where that fails, a later pass finds no key.
            let _ = host::set_property(name, mark.as_bytes());
        });
    }
    Ok(())
}

/// Sets read-only filter state; `false` says that it is there already, from an earlier pass or
/// from another filter of ours.
#[inline]
fn set(name: &str, value: &[u8]) -> Result<bool, host::Status> {
    match host::set_property(name, value) {
        Ok(()) => Ok(true),
        Err(status) => host::property(name).map(|_| false).ok_or(status),
    }
}
