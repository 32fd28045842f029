//! What changes for callers between two policies: by route and scope, not by text.
//!
//! Every request falls into a class by its host, method and path, such that neither policy
//! distinguishes two requests of a class ([`classes`]). For each class, both policies are asked who
//! may pass, and the answers are compared by what they admit.

use std::collections::{BTreeMap, BTreeSet};

use keystile_core::policy::{Auth, Policy, Unmatched};
use serde::Serialize;

use crate::file::PolicyFile;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::record::limit_words;

mod access;
pub mod classes;
mod effect;
mod everywhere;
mod example;
pub mod paths;

pub use access::Access;
use access::Admission;
use classes::{Class, Classes};
pub use effect::Effect;
pub use everywhere::Everywhere;

/// The most classes that are compared: seconds of work.
const MOST: usize = 20_000_000;

/// What changes.
#[derive(Serialize)]
pub struct PolicyDiff {
    /// Changes on every route.
    pub everywhere: Vec<Everywhere>,
    /// Changes on some routes.
    pub routes: Vec<RouteChange>,
}

/// A change for some requests.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RouteChange {
    /// As a policy writes it: the more specific of the two routes.
    pub path: String,
    /// Methods; empty for all, `*` for those that no route names.
    pub methods: Vec<String>,
    /// Hosts; empty for all, `*` for those that no route names.
    pub hosts: Vec<String>,
    /// What it does.
    pub effect: Effect,
    /// The change in words.
    pub change: String,
    /// What was required before.
    pub before: String,
    /// What is required now.
    pub after: String,
    /// Who may pass, before and after.
    #[serde(skip)]
    pub admits: (Access, Access),
}

impl PolicyDiff {
    /// Whether nothing changes for any request.
    pub fn is_empty(&self) -> bool {
        self.everywhere.is_empty() && self.routes.is_empty()
    }

    /// The effects of all changes.
    pub fn effects(&self) -> impl Iterator<Item = Effect> {
        let everywhere = self.everywhere.iter().map(|e| e.effect);
        everywhere.chain(self.routes.iter().map(|r| r.effect))
    }
}

/// Compares two policies.
///
/// # Errors
/// If they distinguish more classes of requests than can be compared.
pub fn diff(a: &PolicyFile, b: &PolicyFile) -> Result<PolicyDiff> {
    let too_many = || {
        refuse(
            Code::PolicyTooComplex,
            "the routes of the two policies overlap in too many ways to compare",
            "compare them in parts, or use fewer parameters in the same places",
        )
    };
    let classes = Classes::of_both(&a.raw, &b.raw).ok_or_else(too_many)?;
    if classes.count() > MOST {
        return Err(too_many());
    }
    // By route, before and after: the methods and hosts for which it is true.
    let mut found: BTreeMap<(String, Admission, Admission), BTreeSet<(usize, usize)>> =
        BTreeMap::new();
    for class in classes.iter() {
        let (before, after) = (ask(&a.policy, &class), ask(&b.policy, &class));
        if before.outcome == after.outcome {
            continue;
        }
        let path = classes::label(before.route, after.route, class.pattern);
        let key = (path, before.outcome, after.outcome);
        found
            .entry(key)
            .or_default()
            .insert((class.method_number, class.host_number));
    }
    let mut routes = Vec::new();
    for ((path, before, after), at) in found {
        for (methods, hosts) in classes.words(&at) {
            routes.push(RouteChange {
                path: path.clone(),
                methods,
                hosts,
                effect: before.effect(&after),
                change: before.change(&after),
                before: before.words(),
                after: after.words(),
                admits: (before.access().clone(), after.access().clone()),
            });
        }
    }
    routes.sort();
    Ok(PolicyDiff {
        everywhere: everywhere::compare(a, b),
        routes,
    })
}

/// What a policy says about a class of requests.
struct Answer<'p> {
    /// The template of the route that it belongs to.
    route: Option<&'p str>,
    outcome: Admission,
}

fn ask<'p>(policy: &'p Policy, class: &Class<'_>) -> Answer<'p> {
    let found = classes::route_of(policy, class.host, class.method, class.path)
        .and_then(|i| policy.routes.get(i));
    let Some(route) = found else {
        let access = match policy.unmatched {
            Unmatched::Deny => Access::Refused,
            Unmatched::Authenticated => Access::key([], []),
        };
        return Answer {
            route: None,
            outcome: Admission::new(access, 1, None),
        };
    };
    let names = |numbers: &[u16]| -> Vec<String> {
        numbers
            .iter()
            .filter_map(|n| policy.scopes.get(usize::from(*n)).cloned())
            .collect()
    };
    let access = match route.auth {
        Auth::None => Access::Open,
        Auth::Optional => Access::Optional,
        Auth::Required => Access::key(names(&route.scopes), names(&route.any_scope)),
    };
    let limit = route.limit.map(|l| limit_words(&[l]).concat());
    Answer {
        route: Some(&route.path),
        outcome: Admission::new(access, route.cost, limit),
    }
}

#[cfg(test)]
mod tests;
