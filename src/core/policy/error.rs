//! A mistake in a policy.

use core::fmt;

use crate::advice::Advice;

/// A mistake in a policy: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The field: `routes[3].limit.requests`.
    pub field: String,
    /// The fact and the next step.
    pub problem: Advice,
    /// Another field that it is about: the first of two routes that match exactly the same
    /// requests.
    pub beside: Option<String>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.field, self.problem)
    }
}

impl std::error::Error for PolicyError {}
