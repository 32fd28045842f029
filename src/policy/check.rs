//! What a policy leaves open next to something protected.
//!
//! A valid policy may still let in more than its author meant. The routes are examined host by
//! host: for each class of paths that they distinguish ([`classes`]), the filter's own router says
//! where an example goes, method by method. If one method needs a key and another passes without
//! one, or the same path does at another host, that is a finding.

use crate::file::PolicyFile;

mod look;
mod words;

use look::Look;
pub use words::Findings;

/// Looks at a policy.
pub fn check(file: &PolicyFile) -> Findings {
    let mut look = Look::at(&file.raw, &file.policy);
    look.scan();
    words::say(file, look)
}

#[cfg(test)]
mod tests;
