//! Links to the other subject's place: takings of a lineage that count in both.

use super::super::Bucket;
use super::level::Level;
use super::{Levels, Link, MAX_LINKS};

impl Levels {
    /// Until when a lineage's takings count at the other subject's place, too.
    pub(crate) fn linked_until(&self, lineage: u64) -> Option<u64> {
        let link = self.1.iter().find(|link| link.lineage == lineage);
        link.map(|link| link.until)
    }

    /// Extends that time, if it is later.
    #[inline(never)]
    pub(crate) fn link(&mut self, lineage: u64, until: u64) {
        let longer = self.linked_until(lineage).unwrap_or(0).max(until);
        self.unlink(lineage);
        if self.1.len() >= MAX_LINKS
            && let Some(first) = self.1.iter().min_by_key(|link| link.until)
        {
            // Without its link, that key is treated as new when it comes back.
            let first = first.lineage;
            self.unlink(first);
            self.0.iter_mut().for_each(|level| _ = level.part(first));
        }
        self.1.push(Link {
            lineage,
            until: longer,
        });
    }

    /// The lineage has used the other place once more.
    #[inline(never)]
    pub(crate) fn link_again(&mut self, bucket: &Bucket, lineage: u64, now: u64) {
        if let Some(1..) = self.linked_until(lineage) {
            let longest = self.0.iter().map(|level| level.bucket.tolerance).max();
            let longest = longest.unwrap_or(0).max(bucket.tolerance);
            self.link(lineage, now.saturating_add(longest.saturating_mul(2)));
        }
    }

    /// They no longer do.
    pub(crate) fn unlink(&mut self, lineage: u64) {
        self.1.retain(|link| link.lineage != lineage);
    }

    /// A lineage that may have been here comes to the other subject's place. What it takes there
    /// counts here from now on, until the returned time, if anything here is still relevant; what
    /// is not must be ignored when it comes back. Also gives whether anything changed.
    #[inline(never)]
    pub(crate) fn leave(
        &mut self,
        bucket: &Bucket,
        (lineage, is_member): (u64, bool),
        is_beside: impl Fn(&Bucket) -> bool,
        now: u64,
    ) -> (Option<u64>, bool) {
        let mut longest = None;
        let mut is_changed = false;
        for level in &mut self.0 {
            if is_member && !level.members.0.contains(&lineage) {
                continue;
            }
            // Rules that apply at the same time may cease to do so.
            if is_beside(&level.bucket) || !level.is_stale(now) {
                longest = longest.max(Some(level.bucket.tolerance.max(bucket.tolerance)));
            } else if is_member {
                is_changed |= level.part(lineage);
            } else {
                is_changed = true;
            }
        }
        let until = longest.map(|longest| now.saturating_add(longest.saturating_mul(2)));
        match until {
            Some(until) => self.link(lineage, until),
            None if is_changed && !is_member => self.cut(lineage, false, &is_beside),
            None => {}
        }
        if !is_member {
            self.forget(&|level: &Level| !is_beside(&level.bucket), now);
        }
        (until, is_changed || until.is_some())
    }

    /// The lineage has been elsewhere for so long that what it took there no longer counts here;
    /// when it comes back, what is left there decides.
    #[inline(never)]
    pub(crate) fn cut(
        &mut self,
        lineage: u64,
        is_member: bool,
        is_beside: impl Fn(&Bucket) -> bool,
    ) {
        self.unlink(lineage);
        if !is_member {
            self.1.push(Link { lineage, until: 0 });
            return;
        }
        for level in self.0.iter_mut().filter(|level| !is_beside(&level.bucket)) {
            level.part(lineage);
        }
    }
}
