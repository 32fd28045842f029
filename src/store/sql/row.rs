//! Rows that queries found.

use keystile_model::error::Result;

use super::odd::odd;
use super::{postgres_columns, sqlite_columns};

/// A row that a query found.
pub enum SqlRow<'r> {
    /// One of SQLite's.
    Sqlite(&'r rusqlite::Row<'r>),
    /// One of PostgreSQL's.
    Postgres(&'r postgres::Row),
}

impl SqlRow<'_> {
    /// A column, as the type that is asked for.
    ///
    /// # Errors
    /// If the column holds something else.
    pub fn get<T: FromRow>(&self, column: usize) -> Result<T> {
        T::from_row(self, column)
    }

    fn integer(&self, column: usize) -> Result<Option<i64>> {
        match self {
            Self::Sqlite(row) => sqlite_columns::integer(row, column),
            Self::Postgres(row) => postgres_columns::integer(row, column),
        }
    }

    fn boolean(&self, column: usize) -> Result<Option<bool>> {
        match self {
            Self::Sqlite(row) => Ok(sqlite_columns::integer(row, column)?.map(|n| n != 0)),
            Self::Postgres(row) => postgres_columns::boolean(row, column),
        }
    }

    /// A text, unless there is none.
    ///
    /// # Errors
    /// If the column holds something else.
    pub fn text(&self, column: usize) -> Result<Option<&str>> {
        match self {
            Self::Sqlite(row) => sqlite_columns::text(row, column),
            Self::Postgres(row) => postgres_columns::text(row, column),
        }
    }

    fn bytes(&self, column: usize) -> Result<Option<&[u8]>> {
        match self {
            Self::Sqlite(row) => sqlite_columns::bytes(row, column),
            Self::Postgres(row) => postgres_columns::bytes(row, column),
        }
    }
}

/// What a column can be read as.
pub trait FromColumn: Sized {
    /// Reads it; `None` if there is nothing in it.
    ///
    /// # Errors
    /// If the column holds something else.
    fn read(row: &SqlRow<'_>, column: usize) -> Result<Option<Self>>;
}

/// What [`SqlRow::get`] gives: a [`FromColumn`], or an `Option` of one.
pub trait FromRow: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// If the column holds something else.
    fn from_row(row: &SqlRow<'_>, column: usize) -> Result<Self>;
}

impl<T: FromColumn> FromRow for Option<T> {
    fn from_row(row: &SqlRow<'_>, column: usize) -> Result<Self> {
        T::read(row, column)
    }
}

/// Columns that must not be empty.
macro_rules! required {
    ($($t:ty),*) => {$(
        impl FromRow for $t {
            fn from_row(row: &SqlRow<'_>, column: usize) -> Result<Self> {
                Self::read(row, column)?.ok_or_else(|| odd(column, "nothing"))
            }
        }
    )*};
}
required!(i64, u32, u16, u8, bool, String, Vec<u8>);

impl<const N: usize> FromRow for [u8; N] {
    fn from_row(row: &SqlRow<'_>, column: usize) -> Result<Self> {
        Self::read(row, column)?.ok_or_else(|| odd(column, "nothing"))
    }
}

/// Types that numbers are read as.
macro_rules! integers {
    ($($t:ty),*) => {$(
        impl FromColumn for $t {
            fn read(row: &SqlRow<'_>, column: usize) -> Result<Option<Self>> {
                let Some(n) = row.integer(column)? else { return Ok(None) };
                Self::try_from(n).map(Some).map_err(|e| odd(column, e))
            }
        }
    )*};
}
integers!(i64, u32, u16, u8);

impl FromColumn for bool {
    fn read(row: &SqlRow<'_>, column: usize) -> Result<Option<Self>> {
        row.boolean(column)
    }
}

impl FromColumn for String {
    fn read(row: &SqlRow<'_>, column: usize) -> Result<Option<Self>> {
        Ok(row.text(column)?.map(str::to_owned))
    }
}

impl FromColumn for Vec<u8> {
    fn read(row: &SqlRow<'_>, column: usize) -> Result<Option<Self>> {
        Ok(row.bytes(column)?.map(<[u8]>::to_vec))
    }
}

impl<const N: usize> FromColumn for [u8; N] {
    fn read(row: &SqlRow<'_>, column: usize) -> Result<Option<Self>> {
        let Some(bytes) = row.bytes(column)? else {
            return Ok(None);
        };
        let wrong = |_| odd(column, format_args!("{} bytes", bytes.len()));
        bytes.try_into().map(Some).map_err(wrong)
    }
}
