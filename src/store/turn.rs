//! Whose turn it is to do what only one of several servers does: an advisory lock of the database,
//! which ends with the connection that holds it.

use std::sync::Arc;

use keystile_model::error::Result;

use crate::sql::postgres::{DatabaseAddress, Part, PostgresDatabase};
use crate::sql::{Database, params};
use crate::{SCRIPTS, THE_STORE, schema};

/// After about this long, the database notices that a machine with the turn has vanished; and that a
/// process stands still, for which its machine goes on answering.
const VANISHED: &str = "SET tcp_keepalives_idle = 2; SET tcp_keepalives_interval = 1;
    SET tcp_keepalives_count = 3; SET tcp_user_timeout = 5000; SET idle_session_timeout = 6000";

/// A server's own connection for it.
pub struct ServerTurn {
    db: Database,
    /// The database's number of the connection that holds the lock.
    holder: Option<i64>,
}

impl ServerTurn {
    /// Connects.
    ///
    /// # Errors
    /// Those of the database.
    pub fn open(address: &Arc<DatabaseAddress>) -> Result<Self> {
        let db = PostgresDatabase::open(address, Part::Store)?;
        Ok(Self {
            db: Database::Postgres(db.into()),
            holder: None,
        })
    }

    /// Takes the turn unless another server has it; gives whether this one has it now.
    ///
    /// # Errors
    /// Those of the database; the turn is lost then.
    pub fn take(&mut self) -> Result<bool> {
        let held = self.holder.take();
        if let Err(e) = schema::unchanged(&self.db, THE_STORE, &SCRIPTS) {
            // Else nobody would do it.
            self.db.batch("SELECT pg_advisory_unlock_all()")?;
            return Err(e);
        }
        let sql = "SELECT CAST(pg_backend_pid() AS BIGINT)";
        let this: i64 = self.db.one(sql, params![], |r| r.get(0))?;
        if held != Some(this) {
            // Whoever waits for the turn asks for it as often.
            self.db.batch(VANISHED)?;
            let sql = "SELECT pg_try_advisory_lock(CAST(CAST(CAST(CAST(current_schema AS TEXT)
                AS regnamespace) AS OID) AS BIGINT))";
            if !self.db.one(sql, params![], |r| r.get(0))? {
                return Ok(false);
            }
        }
        self.holder = Some(this);
        Ok(true)
    }
}
