//! The priority of changes on a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keystile_model::error::Result;

/// The priority of a change. Changes of the same priority are made in the order in which they
/// arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// Revokes or disables something, and is short: long changes give way to it.
    Urgent,
    /// Revokes many things.
    Sweep,
    /// Revokes many things in parts, each of which is final: when it is started again it continues
    /// where it was, so it can be interrupted any number of times.
    Parts,
    /// Anything else.
    #[default]
    Usual,
    /// Takes long, and gives way to the others.
    Long,
}

/// Whether a change in parts has begun. Its preconditions are checked only before the first part,
/// because the parts themselves alter them.
#[derive(Clone, Default)]
pub struct Begun(Arc<AtomicBool>);

impl Begun {
    /// Checks, unless the check was passed before.
    ///
    /// # Errors
    /// Those of `check`, which then runs again next time.
    pub fn unless(&self, check: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.0.load(Ordering::Relaxed) {
            check()?;
            self.0.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
