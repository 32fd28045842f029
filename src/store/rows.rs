//! Rows written many at a time.
//!
//! Running a statement costs as much as writing a row: its savepoint, a cursor for each index. A
//! statement that writes many rows pays that once.

use std::fmt::Write as _;

use keystile_model::error::Result;

use crate::sql::{Database, ToValue, Value};

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
#[derive(Default)]
pub struct Values<'v>(Vec<Value<'v>>);

impl<'v> Values<'v> {
    /// The next one.
    pub fn push<T: ToValue + ?Sized>(&mut self, value: &'v T) {
        self.0.push(value.to_value());
    }

    /// The next one, which was made for this.
    pub fn give(&mut self, value: impl Into<Value<'v>>) {
        self.0.push(value.into());
    }
}

/// Writes rows with as few statements as possible. `shared` gives the values that are the same for
/// all rows, `own` those of one.
pub fn write<'v, T>(
    db: &Database,
    sql: &Sql<'_>,
    rows: &'v [T],
    shared: impl Fn(&mut Values<'v>),
    own: impl Fn(&mut Values<'v>, &'v T),
) -> Result<()> {
    let (whole, rest) = rows.as_chunks::<MANY>();
    let whole = whole.iter().map(|part| part.as_slice());
    // The rest is written one by one: a statement for each number would fill the statement cache.
    for part in whole.chain(rest.chunks(1)) {
        let mut values = Values::default();
        shared(&mut values);
        for row in part {
            own(&mut values, row);
        }
        db.execute(&sql.over(part.len()), &values.0)?;
    }
    Ok(())
}
