//! What a pass over a request leaves for the next, in filter state. Callers cannot set that, and
//! other filters of ours look elsewhere: see [`Prior`].

use keystile_core::decide::{Decision, Prior};
use keystile_core::keyset::{PolicyId, StoreId};

use crate::abi::{Refused, Stream};
use crate::{STATE_CLIENT, STATE_KEY, STATE_REASON, USUAL_NAME};

/// Names of filter state of one configuration. Two for passes, because both are final: a key that
/// was presented on an open route may be let in on a second pass, and be neither charged nor lost
/// on a third.
pub struct Names {
    admitted: String,
    presented: String,
    /// Of a filter with a name of its own: what its guard asks for. Several filters of ours in one
    /// chain have such names, and a guard that asked for what all of them write would be content
    /// with the first.
    own: Option<String>,
}

impl Names {
    /// Of a filter's name and the store that its configuration came from.
    pub fn new(filter: &str, store: StoreId) -> Self {
        let is_own = !filter.is_empty() && filter != USUAL_NAME;
        Self {
            admitted: format!("wasm.keystile.pass.{store}"),
            presented: format!("wasm.keystile.seen.{store}"),
            own: is_own.then(|| format!("{STATE_CLIENT}.{filter}")),
        }
    }

    /// Sets the filter state that guards ask for. On a second pass after an internal redirect it
    /// is there already, and so is what all filters of ours write, behind another of them.
    ///
    /// # Errors
    /// [`Refused`] if it could not be set.
    pub fn admitted(&self, stream: &mut Stream<'_>, client: &[u8]) -> Result<(), Refused> {
        set_once(stream, STATE_CLIENT, client)?;
        match &self.own {
            Some(own) => set_once(stream, own, client),
            None => Ok(()),
        }
    }

    /// What an earlier pass of a filter with this policy has left.
    pub fn earlier(&self, stream: &Stream<'_>, policy: PolicyId) -> Option<Prior> {
        let read = |name: &str| Prior::from_text(policy, &stream.state(name)?);
        read(&self.admitted).or_else(|| read(&self.presented))
    }

    /// Leaves what a later pass has to know of a request that goes on. Where that fails, a later
    /// pass finds no key.
    pub fn leave(&self, stream: &mut Stream<'_>, policy: PolicyId, decision: &Decision<'_>) {
        let admitted = match decision.prefix {
            Some(prefix) if decision.verdict.is_ok() && !decision.again && !decision.anonymous => {
                Prior::Admitted(prefix).to_text(policy)
            }
            _ => None,
        };
        let presented = decision.unjudged.and_then(|prior| prior.to_text(policy));
        for (name, mark) in [(&self.admitted, admitted), (&self.presented, presented)] {
            if let Some(mark) = mark {
                let _ = set_once(stream, name, mark.as_bytes());
            }
        }
    }
}

/// Sets what stays as it is for the rest of the request.
fn set_once(stream: &mut Stream<'_>, name: &str, value: &[u8]) -> Result<(), Refused> {
    match stream.has_state(name) {
        true => Ok(()),
        false => stream.set_state(name, value, true),
    }
}

/// What logs want to know. None of it opens anything, so that a failure to write it refuses nobody.
pub fn remember(stream: &mut Stream<'_>, decision: &Decision<'_>) {
    if let Some(entry) = &decision.entry {
        let _ = set_once(stream, STATE_KEY, &entry.id.digits());
    } else if let Some(id) = &decision.claimed {
        let _ = set_once(stream, STATE_KEY, format!("unverified:{id}").as_bytes());
    }
    if let Err(denial) = &decision.verdict {
        reason(stream, denial.code());
    }
}

/// Why the request was refused, or its tunnel ended.
pub fn reason(stream: &mut Stream<'_>, code: &str) {
    let _ = stream.set_state(STATE_REASON, code.as_bytes(), false);
}
