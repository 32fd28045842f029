//! What a key would need besides to be let in on a route.

use super::words::name_of;
use crate::keyset::{Entry, InForce};
use crate::policy::Route;

/// The scopes that a route requires and a key does not hold.
#[derive(Clone, Copy)]
pub struct Lacking<'k> {
    pub(super) keyset: &'k InForce,
    pub(super) entry: Entry<'k>,
    pub(super) route: &'k Route,
}

impl<'k> Lacking<'k> {
    /// Those that are missing and of which it needs every one.
    pub fn all(self) -> impl Iterator<Item = &'k str> {
        let scopes = self.route.scopes.iter();
        scopes
            .filter(move |s| !self.holds(**s))
            .map(move |s| self.name(*s))
    }

    /// Those of which it needs one more; none if it holds one of them.
    pub fn any(self) -> impl Iterator<Item = &'k str> {
        let holds_one = self.route.any_scope.iter().any(|s| self.holds(*s));
        let scopes = self.route.any_scope.iter().filter(move |_| !holds_one);
        scopes.map(move |s| self.name(*s))
    }

    /// Whether the key has a scope: it holds it, and the policy leaves it to such keys.
    fn holds(&self, scope: u16) -> bool {
        let is_left = self.keyset.policy().leaves(self.entry.publishable, scope);
        self.keyset.holds(&self.entry, scope) && is_left
    }

    fn name(&self, scope: u16) -> &'k str {
        name_of(&self.keyset.policy().scopes, usize::from(scope))
    }
}
