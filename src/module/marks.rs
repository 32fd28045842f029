//! What a pass over a request leaves for the guard behind it and for the next pass, in filter
//! state. Callers cannot set that.
//!
//! Names and texts are those of the WebAssembly filter, so that the same guards and access logs
//! work behind either. Guards ask for [`STATE_PASS`]. One name serves all filters of ours, and what
//! is there is read-only: a filter that finds another's mark there, or that of an earlier pass,
//! leaves what its own next pass has to know under names of its store. See [`Prior`].

use keystile_core::decide::{Decision, NOBODY, Prior};
use keystile_core::keyset::{InForce, PolicyId, StoreId};
use keystile_core::outcome::{RefusedCaller, unverified};

use crate::abi::{Refused, Stream};
use crate::{
    STATE_CLIENT, STATE_KEY, STATE_LIMIT, STATE_PASS, STATE_REASON, STATE_ROUTE, USUAL_NAME,
};

/// Names of filter state of one configuration. There are two for passes, because both are
/// read-only: a key that was presented on an open route may be let in on a second pass, and must be
/// neither charged again nor lost on a third.
pub struct MarkNames {
    admitted: String,
    presented: String,
    /// If the filter has a name of its own: what its guard asks for. Several filters of ours in one
    /// chain have such names, and a guard that asked for the state that all of them write would be
    /// satisfied by the first.
    own: Option<String>,
}

impl MarkNames {
    /// Of a filter's name and the store that its configuration came from.
    pub fn new(filter: &str, store: StoreId) -> Self {
        let is_own = !filter.is_empty() && filter != USUAL_NAME;
        Self {
            admitted: format!("{STATE_PASS}.{store}"),
            presented: format!("wasm.keystile.seen.{store}"),
            own: is_own.then(|| format!("{STATE_CLIENT}.{filter}")),
        }
    }

    /// What an earlier pass of a filter with this policy has left.
    pub fn earlier(&self, stream: &Stream<'_>, store: StoreId, policy: PolicyId) -> Option<Prior> {
        // Without this one there is no other.
        let first = Prior::from_text(store, policy, &stream.state(STATE_PASS)?);
        if let Some(Prior::Admitted(_)) = first {
            return first;
        }
        let read = |name: &str| Prior::from_text(store, policy, &stream.state(name)?);
        let later = read(&self.admitted).or_else(|| read(&self.presented));
        later.or(first)
    }

    /// Marks a request that goes on: for logs, for the guard, and for a later pass.
    ///
    /// # Errors
    /// [`Refused`] if that failed: a guard would refuse the request.
    pub fn admitted(
        &self,
        stream: &mut Stream<'_>,
        pass: Pass,
        (store, policy): (StoreId, PolicyId),
        client: &[u8],
        decision: &Decision<'_>,
    ) -> Result<(), Refused> {
        pass.set_once(stream, STATE_CLIENT, client)?;
        if let Some(own) = &self.own {
            pass.set_once(stream, own, client)?;
        }
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
        if pass == Pass::First {
            return stream.set_state(STATE_PASS, text, true);
        }
        if let Some(mark) = mark {
            let name = match admitted {
                Some(_) => &self.admitted,
                None => &self.presented,
            };
            // Where that fails, a later pass finds no key.
            let _ = pass.set_once(stream, name, mark.as_bytes());
        }
        Ok(())
    }
}

/// Whether filters of ours have let the request go on before, in this pass or an earlier one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// None has.
    First,
    /// One has, and has left filter state.
    Later,
}

impl Pass {
    /// Of this request. One question for all of our filter state: whatever lets a request go on sets
    /// [`STATE_PASS`], so where that is missing, so is all that is set with it. (What a refused pass has
    /// left stays as it is.)
    pub fn read(stream: &Stream<'_>) -> Self {
        match stream.has_state(STATE_PASS) {
            true => Self::Later,
            false => Self::First,
        }
    }

    /// Sets what stays as it is for the rest of the request, unless it is there already. Envoy
    /// refuses to set it twice.
    fn set_once(self, stream: &mut Stream<'_>, name: &str, value: &[u8]) -> Result<(), Refused> {
        if self == Self::Later && stream.has_state(name) {
            return Ok(());
        }
        // A request that was refused before may come again, for a page that says so, with what that
        // pass has left.
        let set = stream.set_state(name, value, true);
        set.or_else(|refused| stream.has_state(name).then_some(()).ok_or(refused))
    }
}

/// Information for logs. None of it opens anything, so a failure to write it refuses nothing.
pub fn remember(stream: &mut Stream<'_>, pass: Pass, decision: &Decision<'_>) {
    if let Some(entry) = &decision.entry {
        let _ = pass.set_once(stream, STATE_KEY, &entry.id.digits());
    } else if let Some(id) = &decision.claimed {
        let _ = pass.set_once(stream, STATE_KEY, &unverified(*id));
    }
}

/// The same of a request that is refused, or would be. In shadow mode it goes on, and the client is
/// set as that of any request that does.
#[inline(never)]
pub fn remember_refusal(
    stream: &mut Stream<'_>,
    pass: Pass,
    (keyset, decision): (Option<&InForce>, &Decision<'_>),
    shadow: bool,
) {
    if let Err(denial) = &decision.verdict {
        reason(stream, denial.code());
    }
    let Some(caller) = RefusedCaller::from_decision(keyset, decision) else {
        return;
    };
    if !shadow {
        let _ = pass.set_once(stream, STATE_CLIENT, caller.client.as_bytes());
    }
    if let Some(route) = caller.route {
        let _ = stream.set_state(STATE_ROUTE, route.as_bytes(), false);
    }
    if let Some(limit) = caller.limit {
        let _ = stream.set_state(STATE_LIMIT, limit.as_bytes(), false);
    }
}

/// Why the request was refused, or its tunnel ended.
pub fn reason(stream: &mut Stream<'_>, code: &str) {
    let _ = stream.set_state(STATE_REASON, code.as_bytes(), false);
}
