//! PostgreSQL's errors, turned into ours. None says more than the kind of error and the server's
//! first line: details would repeat values of a statement.

use keystile_model::error::{Code, Error, refuse};
use postgres::error::SqlState;

use super::address::DatabaseAddress;
use crate::trouble::busy;

/// A refusal for what PostgreSQL says.
pub(super) fn trouble(e: &postgres::Error, address: &DatabaseAddress) -> Error {
    let Some(db) = e.as_db_error() else {
        return match e.is_closed() {
            true => lost(address),
            false => unreachable(e, address),
        };
    };
    let (code, said) = (db.code(), db.message());
    if *code == SqlState::LOCK_NOT_AVAILABLE {
        return busy("another session has locked what this needs for some seconds");
    }
    if [
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ]
    .contains(code)
    {
        return busy("another session was in the way");
    }
    if *code == SqlState::CHARACTER_NOT_IN_REPERTOIRE {
        // Of whoever gave the value: the store works.
        return refuse(
            Code::HiddenCharacters,
            "a value holds a character that no text in a database can hold",
            "leave out NUL and what is not Unicode",
        );
    }
    match code.code().get(..2).unwrap_or_default() {
        // Connections, and a server that starts, stops or has too many of them.
        "08" | "57" => lost(address),
        "53" if *code == SqlState::DISK_FULL => refuse(
            Code::StoreFull,
            "the disk under the database is full",
            "nothing was changed; free some space",
        ),
        "53" => refuse(
            Code::StoreUnreachable,
            format_args!("{address} has no room for a connection ({said})"),
            "nothing was changed; try again, or let the server take more connections",
        ),
        "28" | "3D" => refuse(
            Code::StoreAccess,
            format_args!("{address} refuses this user, password or database ({said})"),
            "check the address, and the password in PGPASSFILE",
        ),
        "42" if *code == SqlState::INSUFFICIENT_PRIVILEGE => refuse(
            Code::StoreAccess,
            format_args!("the user may not do this in {address} ({said})"),
            "let the user own the store's schemas",
        ),
        "25" if *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => lost(address),
        "25" if *code == SqlState::READ_ONLY_SQL_TRANSACTION => refuse(
            Code::StoreAccess,
            format_args!("{address} is read-only"),
            "nothing was changed; name the primary, not a standby",
        ),
        _ => refuse(
            Code::StoreIo,
            format_args!(
                "{address} does not work as it should ({said}, {})",
                code.code()
            ),
            "nothing was changed; if this persists, see the server's log",
        ),
    }
}

/// The connection ended.
pub(super) fn lost(address: &DatabaseAddress) -> Error {
    refuse(
        Code::StoreUnreachable,
        format_args!("the connection to {address} was lost"),
        "check whether the change was made before you try again",
    )
}

fn unreachable(e: &postgres::Error, address: &DatabaseAddress) -> Error {
    // What caused it says more: `error connecting to server` alone is no help.
    let mut said = e.to_string();
    let mut cause = std::error::Error::source(e);
    while let Some(one) = cause {
        let text = one.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        cause = one.source();
    }
    refuse(
        Code::StoreUnreachable,
        format_args!("{address} cannot be reached ({said})"),
        "check the address, the server and the network, and try again",
    )
}
