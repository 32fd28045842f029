//! What can be wrong with a column.

use std::fmt::Display;

use keystile_model::error::{Code, Error, refuse};

/// A refusal for a column that does not hold what it should.
pub fn odd(column: usize, what: impl Display) -> Error {
    refuse(
        Code::StoreIo,
        format_args!(
            "the store does not work as it should (column {column} of a row cannot be read: {what})"
        ),
        "nothing was changed; if this persists, restore the folder from a backup",
    )
}
