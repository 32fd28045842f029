//! From when to when a quota counts.

/// Wall-clock seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The first second.
    pub start: u64,
    /// The first second of the next.
    pub end: u64,
}
