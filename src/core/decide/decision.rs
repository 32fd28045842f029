//! The decision, and what it is based on.

use super::denial::Denial;
use super::lacking::Lacking;
use super::prior::Prior;
use super::rate::Rate;
use crate::key::{KeyId, Prefix};
use crate::keyset::{Entry, InForce};
use crate::policy::Route;
use crate::request::glance::Glance;

/// What becomes of a request.
pub struct Decision<'k> {
    /// Let in, or refused.
    pub verdict: Result<(), Denial>,
    /// The key, if one of ours was presented; also on refusals.
    pub entry: Option<Entry<'k>>,
    /// The prefix of its digest, by which a second pass recognises it.
    pub prefix: Option<Prefix>,
    /// Position of the route among the policy's routes.
    pub route: Option<usize>,
    /// The limits that applied, and the result.
    pub rate: Option<Rate<'k>>,
    /// The id that an unknown but well-formed key claims. Not proven.
    pub claimed: Option<KeyId>,
    /// An earlier pass over the same request let it in and counted it.
    pub again: bool,
    /// The route does not check keys.
    pub open: bool,
    /// On such a route: a header of the request asks for a method or a path that another rule
    /// covers.
    pub overridden: bool,
    /// A header of the request names another host, which has another rule.
    pub another_host: bool,
    /// On such a route: what a second pass needs to know about the key that was presented, because
    /// the key is removed there.
    pub unjudged: Option<Prior>,
    /// What the request may contain that has to be removed.
    pub glance: Glance,
    /// Under [`InForce::also`], the route does not check keys.
    pub also_open: bool,
    /// One of two policies required no key, so the upstream is not told of one.
    pub anonymous: bool,
    /// By whose keys and policy, and on which route, its key lacks a scope.
    pub(super) short_of_scope: Option<(&'k InForce, &'k Route)>,
}

impl Default for Decision<'_> {
    fn default() -> Self {
        Self {
            verdict: Ok(()),
            entry: None,
            prefix: None,
            route: None,
            rate: None,
            claimed: None,
            again: false,
            open: false,
            overridden: false,
            another_host: false,
            unjudged: None,
            glance: Glance::default(),
            also_open: false,
            anonymous: false,
            short_of_scope: None,
        }
    }
}

impl<'k> Decision<'k> {
    /// The word for metrics, logs and `explain`: `ok`, or the code of the denial.
    pub fn code(&self) -> &'static str {
        match &self.verdict {
            Ok(()) => "ok",
            Err(denial) => denial.code(),
        }
    }

    /// What the key would need besides, if it was refused for lack of a scope.
    pub fn lacking(&self) -> Option<Lacking<'k>> {
        let ((keyset, route), entry) = (self.short_of_scope?, self.entry?);
        Some(Lacking {
            keyset,
            entry,
            route,
        })
    }
}
