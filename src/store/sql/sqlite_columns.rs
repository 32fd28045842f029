//! What SQLite's rows hold, and what SQLite suffers from.

use keystile_model::error::{Code, Error, Result, refuse};
use rusqlite::ErrorCode;

use super::odd::odd;
use crate::trouble::{PATIENCE, busy, damaged, undecryptable};

pub(super) fn integer(row: &rusqlite::Row<'_>, column: usize) -> Result<Option<i64>> {
    let value = row.get_ref(column).map_err(trouble)?;
    value.as_i64_or_null().map_err(|e| odd(column, e))
}

/// What does not fit into a row's own page is read from others, and a page that is damaged there
/// reads as zeros, without an error of SQLCipher's. No text of ours holds any.
pub(super) fn text<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> Result<Option<&'r str>> {
    let value = row.get_ref(column).map_err(trouble)?;
    let text = value.as_str_or_null().map_err(|e| odd(column, e))?;
    match text {
        Some(text) if text.contains('\0') => Err(torn()),
        text => Ok(text),
    }
}

pub(super) fn bytes<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> Result<Option<&'r [u8]>> {
    let value = row.get_ref(column).map_err(trouble)?;
    value.as_blob_or_null().map_err(|e| odd(column, e))
}

fn torn() -> Error {
    damaged("a page of it is not as it was written")
}

/// A refusal for what SQLite says. The caller that opened the store adds its location.
pub(super) fn trouble(e: rusqlite::Error) -> Error {
    match e.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => undecryptable(),
        Some(ErrorCode::DatabaseCorrupt) => torn(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => busy(format_args!(
            "another process has been writing to the store for {} s",
            PATIENCE.as_secs()
        )),
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
            format_args!("the disk under the store does not work properly ({e})"),
            "nothing was changed; free some space and check the disk",
        ),
        _ => refuse(
            Code::StoreIo,
            format_args!("the store does not work as it should ({e})"),
            "nothing was changed; if this persists, restore the folder from a backup",
        ),
    }
}
