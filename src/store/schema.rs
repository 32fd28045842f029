//! The version of a store's schema, and updating it.

use std::sync::Arc;
use std::time::Duration;

use crate::scope::TransactionScope;
use crate::sql::{Database, TransactionAccess};
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

/// What makes each version of a schema, oldest first. Never change a released script: add another.
pub struct Scripts {
    /// For SQLite, from version 1 on.
    pub sqlite: &'static [&'static str],
    /// For PostgreSQL: the first makes the version that was the newest when this was added. Each
    /// further version has a script in both; one that changes nothing is empty.
    pub postgres: &'static [&'static str],
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
    db.set_schema_version(scripts.newest())
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
    let _alone = loop {
        match scripts.newest().checked_sub(db.schema_version()?) {
            Some(0) => return Ok(()),
            Some(_) => {}
            None => return Err(newer(what)),
        }
        // An empty database is just being created.
        if db.schema_version()? == 0 {
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
    let tx = TransactionScope::begin(db, TransactionAccess::Write, false)?;
    // Read again: another process may have done it meanwhile.
    let seen = tx.schema_version()?;
    if seen > scripts.newest() {
        return Err(newer(what));
    }
    bring(&tx, seen, scripts)?;
    tx.commit()
}

/// Checks that a database still has the version that it was opened with.
///
/// # Errors
/// If another process has updated it.
pub fn unchanged(db: &Database, what: &str, scripts: &Scripts) -> Result<()> {
    match db.schema_version()? == scripts.newest() {
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
