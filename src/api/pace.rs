//! In which order a server makes changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keystile_model::error::Result;

/// In which order changes are made. Those of the same sort are made as they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// Switches something off, and is short: nothing that takes long stands in its way.
    Urgent,
    /// Switches much off.
    Sweep,
    /// Switches much off as well, in parts, each for good: begun again, it goes on where it was,
    /// so that it may be broken off as often as others want to go first.
    Parts,
    /// Anything else.
    #[default]
    Usual,
    /// Takes long, and gives way.
    Long,
}

/// Whether a change in parts was begun: what it depends on is looked at before the first part
/// alone, because the parts themselves alter it.
#[derive(Clone, Default)]
pub struct Begun(Arc<AtomicBool>);

impl Begun {
    /// Checks, unless that was passed before.
    ///
    /// # Errors
    /// Those of `check`, which is asked again then.
    pub fn unless(&self, check: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.0.load(Ordering::Relaxed) {
            check()?;
            self.0.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
