//! The database's errors, turned into ours. The caller that opened the store adds its location.

use keystile_model::error::{Error, Kind, Result, Trouble, refuse};
use rusqlite::ErrorCode;

use crate::{PATIENCE, damaged};

/// A refusal for what the database says.
pub(crate) fn trouble(e: rusqlite::Error) -> Error {
    match e.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => refuse(
            "the store cannot be decrypted",
            "the master key is another one, or the file is damaged",
        )
        .of(Kind::Store(Trouble::Damaged)),
        Some(ErrorCode::DatabaseCorrupt) => damaged("a page of it is not as it was written"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => refuse(
            format_args!(
                "another process has been writing to the store for {} s",
                PATIENCE.as_secs()
            ),
            "nothing was changed; try again when it is done",
        )
        .of(Kind::Unavailable),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            refuse(
                "the store cannot be written",
                "check owner and mode of the folder and its files, and that the disk is not mounted read-only",
            )
            .of(Kind::Store(Trouble::Access))
        }
        Some(ErrorCode::DiskFull) => refuse(
            "the disk under the store is full",
            "nothing was changed; free some space",
        )
        .of(Kind::Store(Trouble::Full)),
        Some(ErrorCode::FileLockingProtocolFailed | ErrorCode::SystemIoFailure) => refuse(
            format_args!("the disk under the store does not answer as it should ({e})"),
            "nothing was changed; free some space and check the disk",
        )
        .of(Kind::Store(Trouble::Io)),
        _ => refuse(
            format_args!("the store does not work as it should ({e})"),
            "nothing was changed; if it stays, restore the folder from a backup",
        )
        .of(Kind::Store(Trouble::Io)),
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
