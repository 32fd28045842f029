//! What can go wrong with every kind of database. The caller that opened the store adds its
//! location.

use keystile_model::error::{Code, Error, refuse};
use std::time::Duration;

/// How long one process waits for another one's transaction.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn undecryptable() -> Error {
    refuse(
        Code::StoreUndecryptable,
        "the store cannot be decrypted",
        "the master key is another one, or the file is damaged",
    )
}

pub(crate) fn busy(why: impl std::fmt::Display) -> Error {
    refuse(
        Code::StoreBusy,
        why,
        "nothing was changed; try again when it is done",
    )
}

pub(crate) fn damaged(how: &str) -> Error {
    refuse(
        Code::StoreDamaged,
        format_args!("the store is damaged: {how}"),
        "nothing was changed; restore the folder from a backup",
    )
}
