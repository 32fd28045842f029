//! The versions that were published.

use std::collections::BTreeSet;

/// The versions that were published. A number alone proves nothing: on another timeline, for
/// instance before the store was restored, it stands for other keys.
#[derive(Default)]
pub struct PublishedVersions {
    pub(super) versions: BTreeSet<u64>,
    /// The version that the timeline began with.
    pub(super) began: u64,
}

/// How many published versions are remembered. An Envoy that lags behind more than that has not
/// proved a newer one either.
const MOST: usize = 10_000;

impl PublishedVersions {
    /// One more was published.
    pub fn add(&mut self, version: u64) {
        self.versions.insert(version);
        if self.versions.len() > MOST {
            self.versions.pop_first();
        }
    }

    /// Whether an Envoy with a version in force has what was published under that number. An Envoy
    /// that takes its keyset from a file may have any version of this timeline.
    pub fn holds(&self, version: u64, from_file: bool) -> bool {
        let newest = self.versions.last().copied().unwrap_or(0);
        let of_timeline = version > 0 && (self.began..=newest).contains(&version);
        self.versions.contains(&version) || from_file && of_timeline
    }
}
