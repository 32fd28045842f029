//! PostgreSQL, over one connection that is re-established if it is lost.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use keystile_model::error::{Code, Result, refuse};
use postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use postgres::{Client, Statement};

use super::access::TransactionAccess;
use super::row::SqlRow;
use super::value::{SqlKind, Value};
use crate::trouble::PATIENCE;

mod address;
mod dialect;
pub mod listen;
mod password;
mod trouble;

pub use address::{DatabaseAddress, Part};
use trouble::{lost, trouble};

/// If a machine vanishes or freezes within a change, the database releases what it holds: otherwise
/// nobody could write until the database drops the connection, hours later or never.
const VANISHED: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 3;
    SET tcp_keepalives_count = 3; SET tcp_user_timeout = 15000;
    SET idle_in_transaction_session_timeout = 60000;";

/// The first version whose SQL this is written for.
const OLDEST: i64 = 150_000;
/// How many statements are cached; if there are more, all are dropped.
const STATEMENTS: usize = 256;
/// How long a reader waits for a lock.
const READS_WAIT: Duration = Duration::from_secs(4);
/// How many rows are fetched first, and how many after that.
const FIRST: u32 = 64;
const MORE: u32 = 1024;

/// A statement, and what its values are.
type Known = HashMap<(String, Vec<SqlKind>), Statement>;

/// The state of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is none.
    Idle,
    /// One is running.
    Open,
    /// One is running in which a statement failed: PostgreSQL would end it without an error, and
    /// without a change.
    Failed,
}

/// A connection to one of the schemas of a store.
pub struct PostgresDatabase {
    address: Arc<DatabaseAddress>,
    part: Part,
    client: RefCell<Option<Client>>,
    statements: RefCell<Known>,
    state: Cell<State>,
    /// How many cursors are open.
    cursors: Cell<usize>,
    patience: Cell<Duration>,
}

impl PostgresDatabase {
    /// Connects to one of the schemas of a store.
    ///
    /// # Errors
    /// If the server cannot be reached, refuses, or is too old.
    pub fn open(address: &Arc<DatabaseAddress>, part: Part) -> Result<Self> {
        let db = Self {
            address: Arc::clone(address),
            part,
            client: RefCell::default(),
            statements: RefCell::default(),
            state: Cell::new(State::Idle),
            cursors: Cell::default(),
            patience: Cell::new(PATIENCE),
        };
        db.connected()?;
        Ok(db)
    }

    /// The address of the database.
    pub fn address(&self) -> &Arc<DatabaseAddress> {
        &self.address
    }

    /// Ensures that there is a connection.
    fn connected(&self) -> Result<()> {
        let mut client = self.client.borrow_mut();
        if client.as_ref().is_some_and(|c| !c.is_closed()) {
            return Ok(());
        }
        self.statements.borrow_mut().clear();
        leave(client.take());
        let at = |e| trouble(&e, &self.address);
        let mut new = self.address.connect().map_err(at)?;
        let row = new
            .query_one("SELECT current_setting('server_version_num')::bigint", &[])
            .map_err(at)?;
        if row.try_get::<_, i64>(0).unwrap_or(0) < OLDEST {
            return Err(refuse(
                Code::StoreAccess,
                format_args!("{} is older than PostgreSQL 15", self.address),
                "use a newer server",
            ));
        }
        // What is acknowledged survives a power failure, whatever the server's default is.
        let setup = format!(
            "SET search_path TO {};
             SET default_transaction_isolation TO 'read committed';
             SELECT set_config('synchronous_commit', 'on', false)
               WHERE current_setting('synchronous_commit') = 'off';
             {VANISHED}",
            self.address.schema(self.part),
        );
        new.batch_execute(&setup).map_err(at)?;
        *client = Some(new);
        Ok(())
    }

    /// Runs something on the connection.
    fn run<T>(
        &self,
        f: impl FnOnce(&mut Client) -> std::result::Result<T, postgres::Error>,
    ) -> Result<T> {
        if self.is_idle() {
            self.connected()?;
        }
        let mut client = self.client.borrow_mut();
        let Some(open) = client.as_mut() else {
            return Err(lost(&self.address));
        };
        let done = f(open);
        let is_closed = open.is_closed();
        done.map_err(|e| {
            if !self.is_idle() {
                self.state.set(State::Failed);
            }
            // Made again for the next transaction; this one is over.
            if is_closed {
                leave(client.take());
            }
            trouble(&e, &self.address)
        })
    }

    /// The statement, prepared.
    fn prepared(&self, sql: &str, values: &[Value<'_>]) -> Result<Statement> {
        // A statement belongs to its connection.
        if self.is_idle() {
            self.connected()?;
        }
        let kinds: Vec<SqlKind> = values.iter().map(Value::kind).collect();
        let key = (sql.to_owned(), kinds);
        if let Some(known) = self.statements.borrow().get(&key) {
            return Ok(known.clone());
        }
        let types: Vec<Type> = key.1.iter().map(|kind| type_of(*kind)).collect();
        let made = self.run(|c| c.prepare_typed(&dialect::translated(sql), &types))?;
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= STATEMENTS {
            statements.clear();
        }
        statements.insert(key, made.clone());
        Ok(made)
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        let statement = self.prepared(sql, values)?;
        self.run(|c| c.execute(&statement, &given(values)))
    }

    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        self.run(|c| c.batch_execute(sql))
    }

    pub(super) fn all(
        &self,
        sql: &str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&SqlRow<'_>) -> Result<bool>,
    ) -> Result<()> {
        let statement = self.prepared(sql, values)?;
        let rows = self.run(|c| c.query(&statement, &given(values)))?;
        for row in &rows {
            if !each(&SqlRow::Postgres(row))? {
                break;
            }
        }
        Ok(())
    }

    /// With a cursor, so that neither side holds all rows at once, and others can be read
    /// meanwhile.
    pub(super) fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&SqlRow<'_>) -> Result<bool>,
    ) -> Result<()> {
        if self.is_idle() {
            return self.all(sql, values, each);
        }
        let cursor = format!("c{}", self.cursors.get());
        let declare = dialect::translated(&format!("DECLARE {cursor} NO SCROLL CURSOR FOR {sql}"));
        let typed: Vec<_> = values.iter().map(|v| (v as _, type_of(v.kind()))).collect();
        self.run(|c| c.query_typed(&declare, &typed))?;
        self.cursors.set(self.cursors.get() + 1);
        let done = self.fetch(&cursor, each);
        self.cursors.set(self.cursors.get() - 1);
        // After a failure, the transaction's end closes it.
        if self.state.get() == State::Open {
            self.batch(&format!("CLOSE {cursor}"))?;
        }
        done
    }

    fn fetch(&self, cursor: &str, each: &mut dyn FnMut(&SqlRow<'_>) -> Result<bool>) -> Result<()> {
        let mut most = FIRST;
        loop {
            let fetch = format!("FETCH FORWARD {most} FROM {cursor}");
            let rows = self.run(|c| c.query_typed(&fetch, &[]))?;
            for row in &rows {
                if !each(&SqlRow::Postgres(row))? {
                    return Ok(());
                }
            }
            if rows.len() < most as usize {
                return Ok(());
            }
            most = MORE;
        }
    }

    /// Writers wait for the row that all of them change, and see what the one before has written:
    /// that orders versions and the audit log.
    pub(super) fn begin(&self, access: TransactionAccess) -> Result<()> {
        self.connected()?;
        let patience = self.patience.get().as_millis();
        let sql = match (access, self.part) {
            // Only somebody who changes a whole table makes readers wait, for minutes perhaps.
            (TransactionAccess::Read, _) => format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL lock_timeout = {}",
                patience.min(READS_WAIT.as_millis())
            ),
            (TransactionAccess::Write, Part::Store) => {
                format!("BEGIN; SET LOCAL lock_timeout = {patience}; SELECT FROM meta FOR UPDATE")
            }
            (TransactionAccess::Write, Part::Usage) => {
                format!("BEGIN; SET LOCAL lock_timeout = {patience}; SELECT FROM about FOR UPDATE")
            }
            (TransactionAccess::Make, _) => {
                format!("BEGIN; SET LOCAL lock_timeout = {patience}")
            }
        };
        self.batch(&sql).inspect_err(|_| {
            // It may have begun.
            self.state.set(State::Open);
            self.roll_back();
        })?;
        self.state.set(State::Open);
        Ok(())
    }

    pub(super) fn commit(&self) -> Result<()> {
        if self.state.get() != State::Open {
            self.roll_back();
            return Err(refuse(
                Code::StoreIo,
                "a statement failed before, so nothing can be stored",
                "nothing was changed; try again",
            ));
        }
        let done = self.batch("COMMIT");
        self.state.set(State::Idle);
        done
    }

    pub(super) fn roll_back(&self) {
        if self.is_idle() {
            return;
        }
        // What cannot be rolled back now is when the connection ends.
        if self.batch("ROLLBACK").is_err() {
            leave(self.client.borrow_mut().take());
        }
        self.state.set(State::Idle);
    }

    pub(super) fn roll_back_part(&self) {
        if self.is_idle() {
            return;
        }
        if self.batch("ROLLBACK TO part; RELEASE part").is_ok() {
            self.state.set(State::Open);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state.get() == State::Idle
    }

    pub(super) fn schema_version(&self) -> Result<usize> {
        if self.is_idle() {
            let there = self.run(|c| {
                let row = c.query_one("SELECT to_regclass('schema_version') IS NOT NULL", &[])?;
                row.try_get::<_, bool>(0)
            })?;
            if !there {
                return Ok(0);
            }
        }
        let mut version = 0;
        self.all("SELECT version FROM schema_version", &[], &mut |row| {
            version = row.get::<i64>(0)?;
            Ok(false)
        })?;
        Ok(usize::try_from(version).unwrap_or(usize::MAX))
    }

    /// Asked only of a version that is newer than ours, so the column is there.
    pub(super) fn oldest_schema(&self) -> Result<usize> {
        let mut oldest = 0;
        let sql = "SELECT coalesce(oldest, version) FROM schema_version";
        self.all(sql, &[], &mut |row| {
            oldest = row.get::<i64>(0)?;
            Ok(false)
        })?;
        Ok(usize::try_from(oldest).unwrap_or(usize::MAX))
    }

    pub(super) fn set_schema_version(&self, version: usize, oldest: usize) -> Result<()> {
        let value = |n| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
        let sql = "UPDATE schema_version SET version = ?, oldest = ?";
        self.execute(sql, &[value(version), value(oldest)])
            .map(drop)
    }

    pub(super) fn wait_for_others(&self, patience: Duration) {
        self.patience.set(patience);
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        leave(self.client.borrow_mut().take());
    }
}

/// Closes a connection. The client drives a runtime of its own, which cannot be stopped on a thread
/// of another one.
fn leave(client: Option<Client>) {
    let Some(client) = client else { return };
    match tokio::runtime::Handle::try_current() {
        Ok(_) => drop(std::thread::spawn(move || drop(client))),
        Err(_) => drop(client),
    }
}

fn given<'v>(values: &'v [Value<'v>]) -> Vec<&'v (dyn ToSql + Sync)> {
    values.iter().map(|v| v as _).collect()
}

fn type_of(kind: SqlKind) -> Type {
    match kind {
        SqlKind::Integer => Type::INT8,
        SqlKind::Boolean => Type::BOOL,
        SqlKind::Text => Type::TEXT,
        SqlKind::Bytes => Type::BYTEA,
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null(_) => Ok(IsNull::Yes),
            Value::Integer(n) => n.to_sql(ty, out),
            Value::Boolean(b) => b.to_sql(ty, out),
            Value::Text(text) => text.as_ref().to_sql(ty, out),
            Value::Bytes(bytes) => bytes.as_ref().to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        [Type::INT8, Type::BOOL, Type::TEXT, Type::BYTEA].contains(ty)
    }

    to_sql_checked!();
}
