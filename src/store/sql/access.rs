//! What transactions are for.

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionAccess {
    /// A consistent view.
    Read,
    /// Changes, one transaction after the other.
    Write,
    /// Making what is not there yet.
    Make,
}
