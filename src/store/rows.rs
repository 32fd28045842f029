//! Rows written many at a time.
//!
//! Running a statement costs as much as writing a row: its savepoint, a cursor for each index. A
//! statement that writes many rows pays that once.

use std::fmt::Write as _;

use rusqlite::{CachedStatement, Connection, Result, ToSql};

/// Rows per statement. More gain little.
pub const MANY: usize = 64;

/// A statement over some rows.
pub struct Sql<'t> {
    /// The SQL before the rows. May refer to the shared values: `?1`, `?2`.
    pub head: &'t str,
    /// How many values are the same for all rows.
    pub shared: usize,
    /// The SQL for a row; each `#` is a separate value.
    pub row: &'t str,
    /// The SQL after the rows.
    pub tail: &'t str,
}

impl Sql<'_> {
    /// For this many rows.
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

/// Writes rows with as few statements as possible. `shared` gives the values that are the same for
/// all rows, `own` those of one.
pub fn write<T>(
    db: &Connection,
    sql: &Sql<'_>,
    rows: &[T],
    shared: impl Fn(&mut Values<'_, '_>) -> Result<()>,
    own: impl Fn(&mut Values<'_, '_>, &T) -> Result<()>,
) -> Result<()> {
    let (whole, rest) = rows.as_chunks::<MANY>();
    let whole = whole.iter().map(|part| part.as_slice());
    // The rest is written one by one: a statement for each number would fill the statement cache.
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
