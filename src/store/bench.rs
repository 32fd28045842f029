//! For tests: SQL for which there is no function, and the database's plans for our queries.
//!
//! Always compiled: a feature for it would build every crate above this one twice.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

pub use super::column::signed;
use super::key::{IMPORTED, ON_PLANS, SINCE};
use super::master_key::MasterKey;
use super::usage::{Step, These};
use super::{MIGRATIONS, Store, schema};

impl Store {
    /// Runs SQL for which there is no function.
    pub fn batch(&self, sql: &str) {
        self.db.execute_batch(sql).unwrap();
    }

    /// Limits the database to this many pages, or removes the limit.
    pub fn room(&self, pages: Option<u32>) {
        let used: u32 = self
            .db
            .pragma_query_value(None, "page_count", |r| r.get(0))
            .unwrap();
        let most = pages.map_or(u32::MAX, |n| used + n);
        self.db.pragma_update(None, "max_page_count", most).unwrap();
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
        plan(&self.db, ON_PLANS, &[&None::<String>])
    }

    /// The database's plan for summing usage.
    pub fn usage_plan(&mut self, step: Step, these: These) -> String {
        let sql = these.sql(step).0;
        self.with_made_usage(|_, usage| Ok(plan(usage.sql(), &sql, &[])))
            .unwrap()
    }

    /// Runs one statement; how many rows it changed.
    pub fn execute(&self, sql: &str) -> usize {
        self.db.execute(sql, []).unwrap()
    }

    /// The database itself.
    pub fn database(&self) -> &Connection {
        &self.db
    }

    /// How many rows were written since it was opened.
    pub fn rows_written(&self) -> u64 {
        self.db.total_changes()
    }

    /// Whether there is anything in the write-ahead log.
    pub fn has_wal(&self) -> bool {
        super::has_log(&self.path)
    }

    /// A database without tables.
    pub fn blank(path: &Path, key: &MasterKey) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        Self::connect(path, key, flags).unwrap()
    }

    /// The version of its schema.
    pub fn schema(&self) -> usize {
        schema::version(&self.db).unwrap()
    }
}

/// The scripts that make the schema, oldest first.
pub const SCRIPTS: &[&str] = &MIGRATIONS;

/// A database's plan for a query with these values; missing values are null.
pub fn plan(db: &Connection, sql: &str, values: &[&dyn rusqlite::ToSql]) -> String {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
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
