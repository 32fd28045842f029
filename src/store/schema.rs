//! The version of a store's schema, and updating it.

use crate::trouble::Sql as _;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use keystile_model::error::{Act, Code, Error, Kind, Result, refuse};

/// How often, and for how long, to check whether another process has done it meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
const TRIES: u32 = 100;

/// Takes the store exclusively while its result is kept: no server may have it open while the
/// schema changes, because that server may have an earlier version and go on writing.
pub type ExclusiveHold = Arc<dyn Fn() -> Result<Box<dyn Send>> + Send + Sync>;

/// For a store that nobody else has open.
pub fn nobody_else() -> ExclusiveHold {
    Arc::new(|| Ok(Box::new(())))
}

/// The version that a database has.
pub fn version(db: &Connection) -> rusqlite::Result<usize> {
    let mut statement = db.prepare_cached("PRAGMA user_version")?;
    let n: i64 = statement.query_row([], |r| r.get(0))?;
    Ok(usize::try_from(n).unwrap_or(usize::MAX))
}

/// Updates a database to the newest version: each of `scripts` makes the next one. `what` names it
/// in messages. Without `alone` it is left as it is.
///
/// # Errors
/// If it has a newer version, or an earlier one but may not be changed or is open elsewhere; and
/// those of the database.
pub fn update(
    db: &mut Connection,
    what: &str,
    scripts: &[&str],
    alone: Option<&ExclusiveHold>,
) -> Result<()> {
    let mut tries = TRIES;
    let _alone = loop {
        match scripts.len().checked_sub(version(db).sql()?) {
            Some(0) => return Ok(()),
            Some(_) => {}
            None => return Err(newer(what)),
        }
        // An empty database is just being created.
        if version(db).sql()? == 0 {
            break None;
        }
        match alone.map(|alone| alone()) {
            None => return Err(earlier(what)),
            Some(Ok(alone)) => break Some(alone),
            // Another command may be updating it.
            Some(Err(e)) if e.kind() == Kind::Conflict && tries > 0 => {
                tries -= 1;
                std::thread::sleep(PAUSE);
            }
            Some(Err(e)) if e.kind() == Kind::Conflict => return Err(in_use(what)),
            Some(Err(e)) => return Err(e),
        }
    };
    let tx = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .sql()?;
    // Read again: another process may have done it meanwhile.
    let seen = version(&tx).sql()?;
    for script in scripts.iter().skip(seen) {
        tx.execute_batch(script).sql()?;
    }
    tx.pragma_update(None, "user_version", scripts.len() as i64)
        .sql()?;
    tx.commit().sql()
}

/// Checks that a database still has the version that it was opened with.
///
/// # Errors
/// If another process has updated it.
pub fn unchanged(db: &Connection, what: &str, scripts: &[&str]) -> Result<()> {
    match version(db).sql()? == scripts.len() {
        true => Ok(()),
        false => Err(newer(what)),
    }
}

fn newer(what: &str) -> Error {
    refuse(
        Code::StoreNewer,
        format_args!("{what} was written by a newer version of Keystile"),
        "use that one, or update this one",
    )
}

fn earlier(what: &str) -> Error {
    refuse(
        Code::StoreOlder,
        format_args!(
            "{what} was written by an earlier version, and a command that only reads does not update it"
        ),
        keystile_model::next![
            "make a copy of the folder, then run ",
            Act::KeysetRenew,
            " or ",
            Act::Serve,
            ", which update it"
        ],
    )
}

fn in_use(what: &str) -> Error {
    refuse(
        Code::StoreOlder,
        format_args!("{what} was written by an earlier version, and a server has it open"),
        "stop the server, and start it with this version: that updates the store",
    )
}
