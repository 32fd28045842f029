//! For tests: SQL for which there is no function, and the database's plans for our queries.
//!
//! Always compiled: a feature for it would build every crate above this one twice.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

pub use super::column::signed;
use super::key::{IMPORTED, ON_PLANS, SINCE};
use super::master_key::MasterKey;
use super::sql::sqlite::{FileMode, has_log};
use super::sql::{Database, ToValue as _, Value};
use super::usage::{OnlyThese, Step, These};
use super::{DatabaseAddress, Store};

impl Store {
    /// Runs SQL for which there is no function.
    pub fn batch(&self, sql: &str) {
        self.db.batch(sql).unwrap();
    }

    /// Limits the database to this many pages, or removes the limit.
    pub fn room(&self, pages: Option<u32>) {
        let db = self.db.raw();
        let used: u32 = db
            .pragma_query_value(None, "page_count", |r| r.get(0))
            .unwrap();
        let most = pages.map_or(u32::MAX, |n| used + n);
        db.pragma_update(None, "max_page_count", most).unwrap();
    }

    /// The database's plan for finding rows of the keyset.
    pub fn row_plans(&self) -> Vec<String> {
        let conditions = ["id = ?", "digest = ?", SINCE, IMPORTED];
        let plan_of = |c| {
            let sql = format!("SELECT id, digest, name FROM key WHERE {c}");
            plan(&self.db, &sql, &[])
        };
        conditions.into_iter().map(plan_of).collect()
    }

    /// The database's plan for counting the keys on plans.
    pub fn plan_of_plans(&self) -> String {
        plan(&self.db, ON_PLANS, &[None::<String>.to_value()])
    }

    /// The database's plan for summing usage.
    pub fn usage_plan(&mut self, step: Step, these: These, only: OnlyThese) -> String {
        let sql = these.sql(step, only).0;
        self.with_made_usage(|_, usage| Ok(plan(&usage.db, &sql, &[])))
            .unwrap()
    }

    /// Runs one statement; how many rows it changed.
    pub fn execute(&self, sql: &str) -> u64 {
        self.db.execute(sql, &[]).unwrap()
    }

    /// The database itself.
    pub fn database(&self) -> &rusqlite::Connection {
        self.db.raw()
    }

    /// How many rows were written since it was opened.
    pub fn rows_written(&self) -> u64 {
        self.db.raw().total_changes()
    }

    /// Whether there is anything in the write-ahead log.
    pub fn has_wal(&self) -> bool {
        has_log(&self.path)
    }

    /// A database without tables.
    pub fn blank(path: &Path, key: &MasterKey) -> Self {
        Self::connect(path, key, FileMode::Made).unwrap()
    }

    /// Runs one statement with values.
    pub fn run(&self, sql: &str, values: &[Value<'_>]) {
        self.db.execute(sql, values).unwrap();
    }

    /// Notes another version of its schema.
    pub fn set_schema(&self, version: usize) {
        self.db.set_schema_version(version, version).unwrap();
    }

    /// The version of its schema.
    pub fn schema(&self) -> usize {
        self.db.schema_version().unwrap()
    }
}

/// A schema that no other test uses, on the server of `scripts/postgres`; `None` if tests are to use
/// files.
pub fn fresh_address() -> Option<Arc<DatabaseAddress>> {
    let server = keystile_system::variable("KEYSTILE_TEST_STORE")?;
    let mut id = [0; 8];
    (keystile_system::local().entropy)(&mut id).unwrap();
    let schema = keystile_core::hex::start(id, 16);
    let address = DatabaseAddress::parse(&format!("{server}&schema=t{schema}"));
    Some(Arc::new(address.ok().unwrap()))
}

/// The scripts that make the schema, oldest first.
pub const SCRIPTS: &[&str] = super::SCRIPTS.sqlite;

/// A database's plan for a query with these values; missing values are null.
pub fn plan(db: &Database, sql: &str, values: &[Value<'_>]) -> String {
    let mut statement = db
        .raw()
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    for (value, place) in values.iter().zip(1..) {
        statement.raw_bind_parameter(place, value).unwrap();
    }
    let mut rows = statement.raw_query();
    let mut lines: Vec<String> = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        lines.push(row.get(3).unwrap());
    }
    lines.join("; ")
}

impl Database {
    /// SQLite itself.
    pub fn raw(&self) -> &rusqlite::Connection {
        self.file().unwrap().raw()
    }
}
