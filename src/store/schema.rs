//! The version of a store's schema, and updating it.
//!
//! Several servers of one store in a database are replaced one after the other, so those of two
//! versions work beside one another for a while. A database notes, besides the version of its
//! schema, the oldest one whose servers can go on: each script since then has only added tables,
//! indexes and columns with a default, and nothing that decides about requests at an Envoy, because
//! an earlier server would send keysets without it. Such an update waits for nobody. Any other one
//! waits until no server is at work, and an earlier server refuses the store from then on.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use crate::scope::TransactionScope;
use crate::sql::{Database, TransactionAccess};
use crate::trouble::PATIENCE;
use keystile_model::error::{Act, Code, Error, Kind, Result, refuse};

/// How often, and for how long, to check whether another process has done it meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
const TRIES: u32 = 100;
/// How long an update beside servers waits for their transactions each time. Theirs wait behind it
/// meanwhile, and go first in between: one part in twenty of the time, if something reads for long.
const BESIDE: Duration = Duration::from_millis(50);
const BETWEEN: Duration = Duration::from_secs(1);

/// Takes the store exclusively while its result is kept: no server may have it open while the
/// schema changes, because that server may have an earlier version and go on writing.
pub type ExclusiveHold = Arc<dyn Fn() -> Result<Box<dyn Send>> + Send + Sync>;

/// For a store that nobody else has open.
pub fn nobody_else() -> ExclusiveHold {
    Arc::new(|| Ok(Box::new(())))
}

/// What makes each version of a schema, oldest first. Never change a released script: add another.
pub struct Scripts {
    /// For SQLite, from version 1 on.
    pub sqlite: &'static [&'static str],
    /// For PostgreSQL: the first makes the version that was the newest when this was added. Each
    /// further version has a script in both; one that changes nothing is empty.
    pub postgres: &'static [&'static str],
    /// The oldest version whose servers can go on beside the newest: what the scripts since then do
    /// is left to one that does not know of it. See the head of this file.
    pub oldest: usize,
}

impl Scripts {
    /// The newest version.
    pub fn newest(&self) -> usize {
        self.sqlite.len()
    }

    /// Those that are to be run on a database of a version; 0 if it is empty.
    fn after(&self, db: &Database, seen: usize) -> &'static [&'static str] {
        let all = match db {
            Database::Sqlite(_) => self.sqlite,
            Database::Postgres(_) => self.postgres,
        };
        let missing = match seen {
            0 => all.len(),
            _ => self.newest().saturating_sub(seen),
        };
        all.get(all.len().saturating_sub(missing)..)
            .unwrap_or_default()
    }
}

/// Makes the newest version in an empty database, in the transaction that is running.
///
/// # Errors
/// Those of the database.
pub fn make(db: &Database, scripts: &Scripts) -> Result<()> {
    bring(db, 0, scripts)
}

fn bring(db: &Database, seen: usize, scripts: &Scripts) -> Result<()> {
    for script in scripts.after(db, seen) {
        db.batch(script)?;
    }
    db.set_schema_version(scripts.newest(), scripts.oldest)
}

/// Whether servers of this version can go on although a newer one has updated the schema.
fn goes_on(db: &Database, scripts: &Scripts) -> Result<bool> {
    Ok(db.oldest_schema()? <= scripts.newest())
}

/// Updates a database to the newest version. `what` names it in messages. Without `alone` it is left as it is.
///
/// # Errors
/// If it has a newer version, or an earlier one but may not be changed or is open elsewhere; and
/// those of the database.
pub fn update(
    db: &Database,
    what: &str,
    scripts: &Scripts,
    alone: Option<&ExclusiveHold>,
) -> Result<()> {
    let mut tries = TRIES;
    loop {
        let seen = db.schema_version()?;
        match scripts.newest().checked_sub(seen) {
            Some(0) => return Ok(()),
            Some(_) => {}
            None if goes_on(db, scripts)? => return Ok(()),
            None => return Err(newer(what)),
        }
        let is_beside = db.server().is_some() && seen >= scripts.oldest;
        let done = match alone {
            // An empty database is just being created.
            _ if seen == 0 => bring_now(db, what, scripts),
            None => return Err(earlier(what)),
            Some(_) if is_beside => bring_beside(db, what, scripts),
            Some(alone) => alone().and_then(|_alone| bring_now(db, what, scripts)),
        };
        match done {
            Ok(()) => return Ok(()),
            // Another command may be updating it, or servers are using what is to be changed.
            Err(e) if waits(&e, is_beside) && tries > 0 => {
                tries -= 1;
                std::thread::sleep(if is_beside { BETWEEN } else { PAUSE });
            }
            Err(e) if e.kind() == Kind::Conflict => return Err(in_use(what)),
            Err(e) => return Err(e),
        }
    }
}

/// Whether it may soon be possible.
fn waits(e: &Error, is_beside: bool) -> bool {
    e.kind() == Kind::Conflict || (is_beside && e.is(Code::StoreBusy))
}

/// The update, while servers are at work that can go on.
fn bring_beside(db: &Database, what: &str, scripts: &Scripts) -> Result<()> {
    db.wait_for_others(BESIDE)?;
    let done = bring_now(db, what, scripts);
    db.wait_for_others(PATIENCE)?;
    done
}

fn bring_now(db: &Database, what: &str, scripts: &Scripts) -> Result<()> {
    let tx = TransactionScope::begin(db, TransactionAccess::Write, false)?;
    // Read again: another process may have done it meanwhile.
    let seen = tx.schema_version()?;
    match seen.cmp(&scripts.newest()) {
        Ordering::Less => {}
        Ordering::Equal => return Ok(()),
        Ordering::Greater if goes_on(&tx, scripts)? => return Ok(()),
        Ordering::Greater => return Err(newer(what)),
    }
    bring(&tx, seen, scripts)?;
    tx.commit()
}

/// Checks that a database still has the version that it was opened with, or one beside which this
/// process can go on.
///
/// # Errors
/// If another process has updated it.
pub fn unchanged(db: &Database, what: &str, scripts: &Scripts) -> Result<()> {
    let seen = db.schema_version()?;
    match seen == scripts.newest() || (seen > scripts.newest() && goes_on(db, scripts)?) {
        true => Ok(()),
        false => Err(newer(what)),
    }
}

/// Checks that this process knows all of a database, and not only what it can go on beside.
///
/// # Errors
/// If it has a newer version.
pub fn is_all_known(db: &Database, what: &str, scripts: &Scripts) -> Result<()> {
    match db.schema_version()? <= scripts.newest() {
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

#[cfg(test)]
mod tests;
