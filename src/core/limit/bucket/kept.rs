//! Where buckets are kept.

use super::Contended;
use super::key::BucketKey;
use super::levels::Levels;
use super::sole::{ChangeLevel, Sole};
use crate::limit::lease::Leases;

/// Where buckets are kept: a map in tests, shared data in Envoy.
pub trait Buckets {
    /// Gives `f` the levels that are stored (none at all, at first) and stores what it makes of
    /// them, if it returns `true`. Atomic: where another changed them in between, `f` is asked
    /// again with the new ones.
    ///
    /// # Errors
    /// [`Contended`] after a bounded number of lost swaps; nothing was stored.
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended>;

    /// The same, but a bucket that is alone in its place is given to `change` instead, without
    /// reading its levels.
    ///
    /// # Errors
    /// [`Contended`] as above.
    fn update_sole(
        &mut self,
        key: &BucketKey,
        sole: Sole<'_>,
        change: &mut ChangeLevel<'_>,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        self.update(key, &mut |levels| match sole.change_of(levels, change) {
            Some(is_changed) => is_changed,
            None => f(levels),
        })
    }

    /// Calls `f` with the tokens that this worker has taken in advance; `None` where every
    /// take goes to the bucket itself.
    fn with_leases<R>(&mut self, f: impl FnOnce(&mut Leases) -> R) -> Option<R> {
        let _ = f;
        None
    }
}
