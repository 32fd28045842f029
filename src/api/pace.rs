//! In which order a server makes changes.

/// In which order changes are made. Those of the same sort are made as they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// Switches something off, and is short: nothing that takes long stands in its way.
    Urgent,
    /// Switches much off.
    Sweep,
    /// Anything else.
    #[default]
    Usual,
    /// Takes long, and gives way.
    Long,
}
