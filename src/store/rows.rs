//! Rows written many at a time.
//!
//! To run a statement costs as much as to write a row with it: its savepoint, a cursor for
//! each index. One that writes many rows pays that once.

use std::fmt::Write as _;

use rusqlite::{CachedStatement, Connection, Result, ToSql};

/// Rows of one statement. More of them gain little.
pub const MANY: usize = 64;

/// A statement over some rows.
pub struct Sql<'t> {
    /// What stands before the rows. May name the shared values: `?1`, `?2`.
    pub head: &'t str,
    /// How many values are the same for all rows.
    pub shared: usize,
    /// What stands for a row; each `#` is a value of its own.
    pub row: &'t str,
    /// What stands behind the rows.
    pub tail: &'t str,
}

impl Sql<'_> {
    /// Over so many rows.
    pub fn over(&self, rows: usize) -> String {
        let mut sql = self.head.to_owned();
        let mut value = self.shared;
        for n in 0..rows {
            if n > 0 {
                sql.push_str(", ");
            }
            let mut parts = self.row.split('#');
            sql.push_str(parts.next().unwrap_or_default());
            for part in parts {
                value += 1;
                // Writing to a text cannot fail.
                let _ = write!(sql, "?{value}{part}");
            }
        }
        sql.push_str(self.tail);
        sql
    }
}

/// The values of a statement, one after the other.
pub struct Values<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    given: usize,
}

impl Values<'_, '_> {
    /// The next one.
    pub fn push(&mut self, value: impl ToSql) -> Result<()> {
        self.given += 1;
        self.statement.raw_bind_parameter(self.given, value)
    }
}

/// Writes rows by as few statements as may be. `shared` gives the values that are the same
/// for all of them, `own` those of one.
pub fn write<T>(
    db: &Connection,
    sql: &Sql<'_>,
    rows: &[T],
    shared: impl Fn(&mut Values<'_, '_>) -> Result<()>,
    own: impl Fn(&mut Values<'_, '_>, &T) -> Result<()>,
) -> Result<()> {
    let (whole, rest) = rows.as_chunks::<MANY>();
    let whole = whole.iter().map(|part| part.as_slice());
    // The rest goes one by one: a statement for each number would fill the cache of them.
    for part in whole.chain(rest.chunks(1)) {
        let mut statement = db.prepare_cached(&sql.over(part.len()))?;
        let mut values = Values {
            statement: &mut statement,
            given: 0,
        };
        shared(&mut values)?;
        for row in part {
            own(&mut values, row)?;
        }
        statement.raw_execute()?;
    }
    Ok(())
}
