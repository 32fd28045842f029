//! The database's errors, turned into ours. The caller that opened the store adds its location.

use keystile_model::error::{Code, Error, Result, refuse};
use rusqlite::ErrorCode;
use std::time::Duration;

/// How long one process waits for another one's transaction.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A refusal for what the database says.
pub(crate) fn trouble(e: rusqlite::Error) -> Error {
    match e.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => refuse(
            Code::StoreUndecryptable,
            "the store cannot be decrypted",
            "the master key is another one, or the file is damaged",
        ),
        Some(ErrorCode::DatabaseCorrupt) => damaged("a page of it is not as it was written"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => refuse(
            Code::StoreBusy,
            format_args!(
                "another process has been writing to the store for {} s",
                PATIENCE.as_secs()
            ),
            "nothing was changed; try again when it is done",
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => refuse(
            Code::StoreAccess,
            "the store cannot be written",
            "check owner and mode of the folder and its files, and that the disk is not mounted read-only",
        ),
        Some(ErrorCode::DiskFull) => refuse(
            Code::StoreFull,
            "the disk under the store is full",
            "nothing was changed; free some space",
        ),
        Some(ErrorCode::FileLockingProtocolFailed | ErrorCode::SystemIoFailure) => refuse(
            Code::StoreIo,
            format_args!("the disk under the store does not answer as it should ({e})"),
            "nothing was changed; free some space and check the disk",
        ),
        _ => refuse(
            Code::StoreIo,
            format_args!("the store does not work as it should ({e})"),
            "nothing was changed; if it stays, restore the folder from a backup",
        ),
    }
}

/// Converts results of the database into ours.
pub(crate) trait Sql<T> {
    /// The same, with our refusal.
    ///
    /// # Errors
    /// The database's, in our words.
    fn sql(self) -> Result<T>;
}

impl<T> Sql<T> for rusqlite::Result<T> {
    fn sql(self) -> Result<T> {
        self.map_err(trouble)
    }
}

pub(crate) fn damaged(how: &str) -> Error {
    refuse(
        Code::StoreDamaged,
        format_args!("the store is damaged: {how}"),
        "nothing was changed; restore the folder from a backup",
    )
}
