//! The one layer between our SQL and a database.
//!
//! Queries are written once, in the SQL that the databases share. A [`Connection`] is one of the
//! kinds of database; each kind has a driver below this file, and only the drivers name the crates
//! that they are made of.

use std::borrow::Cow;

use keystile_model::error::{Code, Error, Result, refuse};
use std::fmt::Display;
use std::time::Duration;
use zeroize::Zeroizing;

pub mod postgres;
pub mod sqlite;

/// A value for a statement. One that is missing has a type too: a database may need it to
/// understand the statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'v> {
    /// Nothing, where a value of this kind could be.
    Null(Kind),
    /// A number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// A text.
    Text(Cow<'v, str>),
    /// Bytes.
    Bytes(Cow<'v, [u8]>),
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A number.
    Integer,
    /// True or false.
    Boolean,
    /// A text.
    Text,
    /// Bytes.
    Bytes,
}

impl Value<'_> {
    /// What it is, or would be.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Null(kind) => *kind,
            Self::Integer(_) => Kind::Integer,
            Self::Boolean(_) => Kind::Boolean,
            Self::Text(_) => Kind::Text,
            Self::Bytes(_) => Kind::Bytes,
        }
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<i64> for Value<'_> {
    fn from(n: i64) -> Self {
        Self::Integer(n)
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(n: Option<i64>) -> Self {
        n.map_or(Self::Null(Kind::Integer), Self::Integer)
    }
}

/// What can be given to a statement.
pub trait ToValue {
    /// What it is.
    const KIND: Kind;

    /// As a value.
    fn to_value(&self) -> Value<'_>;
}

/// Types that fit into the database's numbers.
macro_rules! integers {
    ($($t:ty),*) => {$(
        impl ToValue for $t {
            const KIND: Kind = Kind::Integer;
            fn to_value(&self) -> Value<'_> {
                Value::Integer(i64::from(*self))
            }
        }
        impl Column for $t {
            fn read(row: &Row<'_>, column: usize) -> Result<Option<Self>> {
                let Some(n) = row.integer(column)? else { return Ok(None) };
                Self::try_from(n).map(Some).map_err(|e| odd(column, e))
            }
        }
    )*};
}
integers!(i64, u32, u16, u8);

/// Types that borrow as a text or as bytes.
macro_rules! borrowed {
    ($kind:ident: $($t:ty),*) => {$(
        impl ToValue for $t {
            const KIND: Kind = Kind::$kind;
            fn to_value(&self) -> Value<'_> {
                Value::$kind(Cow::Borrowed(self))
            }
        }
    )*};
}
borrowed!(Text: str, String);
borrowed!(Bytes: [u8], Vec<u8>, Zeroizing<Vec<u8>>);

impl ToValue for bool {
    const KIND: Kind = Kind::Boolean;
    fn to_value(&self) -> Value<'_> {
        Value::Boolean(*self)
    }
}

impl<const N: usize> ToValue for [u8; N] {
    const KIND: Kind = Kind::Bytes;
    fn to_value(&self) -> Value<'_> {
        Value::Bytes(Cow::Borrowed(self))
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    const KIND: Kind = T::KIND;
    fn to_value(&self) -> Value<'_> {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    const KIND: Kind = T::KIND;
    fn to_value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null(T::KIND), T::to_value)
    }
}

/// The values of a statement: `params![name, number]`.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::sql::ToValue::to_value(&$value)),*]
    };
}
pub(crate) use params;

/// A row that a query found.
pub enum Row<'r> {
    /// One of SQLite's.
    Sqlite(&'r rusqlite::Row<'r>),
    /// One of PostgreSQL's.
    Postgres(&'r ::postgres::Row),
}

impl Row<'_> {
    /// A column, as the type that is asked for.
    ///
    /// # Errors
    /// If the column holds something else.
    pub fn get<T: FromRow>(&self, column: usize) -> Result<T> {
        T::from_row(self, column)
    }

    fn integer(&self, column: usize) -> Result<Option<i64>> {
        match self {
            Self::Sqlite(row) => sqlite::integer(row, column),
            Self::Postgres(row) => postgres::integer(row, column),
        }
    }

    fn boolean(&self, column: usize) -> Result<Option<bool>> {
        match self {
            Self::Sqlite(row) => Ok(sqlite::integer(row, column)?.map(|n| n != 0)),
            Self::Postgres(row) => postgres::boolean(row, column),
        }
    }

    /// A text, unless there is none.
    ///
    /// # Errors
    /// If the column holds something else.
    pub fn text(&self, column: usize) -> Result<Option<&str>> {
        match self {
            Self::Sqlite(row) => sqlite::text(row, column),
            Self::Postgres(row) => postgres::text(row, column),
        }
    }

    fn bytes(&self, column: usize) -> Result<Option<&[u8]>> {
        match self {
            Self::Sqlite(row) => sqlite::bytes(row, column),
            Self::Postgres(row) => postgres::bytes(row, column),
        }
    }
}

/// What a column can be read as.
pub trait Column: Sized {
    /// Reads it; `None` if there is nothing in it.
    ///
    /// # Errors
    /// If the column holds something else.
    fn read(row: &Row<'_>, column: usize) -> Result<Option<Self>>;
}

/// What [`Row::get`] gives: a [`Column`], or an `Option` of one.
pub trait FromRow: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// If the column holds something else.
    fn from_row(row: &Row<'_>, column: usize) -> Result<Self>;
}

impl<T: Column> FromRow for Option<T> {
    fn from_row(row: &Row<'_>, column: usize) -> Result<Self> {
        T::read(row, column)
    }
}

/// Columns that must not be empty.
macro_rules! required {
    ($($t:ty),*) => {$(
        impl FromRow for $t {
            fn from_row(row: &Row<'_>, column: usize) -> Result<Self> {
                Self::read(row, column)?.ok_or_else(|| odd(column, "nothing"))
            }
        }
    )*};
}
required!(i64, u32, u16, u8, bool, String, Vec<u8>);

impl<const N: usize> FromRow for [u8; N] {
    fn from_row(row: &Row<'_>, column: usize) -> Result<Self> {
        Self::read(row, column)?.ok_or_else(|| odd(column, "nothing"))
    }
}

impl Column for bool {
    fn read(row: &Row<'_>, column: usize) -> Result<Option<Self>> {
        row.boolean(column)
    }
}

impl Column for String {
    fn read(row: &Row<'_>, column: usize) -> Result<Option<Self>> {
        Ok(row.text(column)?.map(str::to_owned))
    }
}

impl Column for Vec<u8> {
    fn read(row: &Row<'_>, column: usize) -> Result<Option<Self>> {
        Ok(row.bytes(column)?.map(<[u8]>::to_vec))
    }
}

impl<const N: usize> Column for [u8; N] {
    fn read(row: &Row<'_>, column: usize) -> Result<Option<Self>> {
        let Some(bytes) = row.bytes(column)? else {
            return Ok(None);
        };
        let wrong = |_| odd(column, format_args!("{} bytes", bytes.len()));
        bytes.try_into().map(Some).map_err(wrong)
    }
}

/// A refusal for a column that does not hold what it should.
pub fn odd(column: usize, what: impl Display) -> Error {
    refuse(
        Code::StoreIo,
        format_args!(
            "the store does not work as it should (column {column} of a row cannot be read: {what})"
        ),
        "nothing was changed; if it stays, restore the folder from a backup",
    )
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A consistent view.
    Read,
    /// Changes, one transaction after the other.
    Write,
    /// Making what is not there yet.
    Make,
}

/// An open database.
pub enum Connection {
    /// A file, encrypted by SQLCipher.
    Sqlite(sqlite::Connection),
    /// A connection to a server.
    Postgres(postgres::Connection),
}

impl Connection {
    /// Runs a statement; how many rows it changed.
    ///
    /// # Errors
    /// Those of the database.
    pub fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        match self {
            Self::Sqlite(db) => db.execute(sql, values),
            Self::Postgres(db) => db.execute(sql, values),
        }
    }

    /// Runs statements without values.
    ///
    /// # Errors
    /// Those of the database.
    pub fn batch(&self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(db) => db.batch(sql),
            Self::Postgres(db) => db.batch(sql),
        }
    }

    /// Passes what a query finds to `each`, row by row, until that gives false or fails. For many
    /// rows: they are not held at once. Other statements may run meanwhile.
    ///
    /// # Errors
    /// Those of `each`, and of the database.
    pub fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut each: impl FnMut(&Row<'_>) -> Result<bool>,
    ) -> Result<()> {
        match self {
            Self::Sqlite(db) => db.each(sql, values, &mut each),
            Self::Postgres(db) => db.each(sql, values, &mut each),
        }
    }

    /// The same for few rows, and for what changes some.
    fn some(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut each: impl FnMut(&Row<'_>) -> Result<bool>,
    ) -> Result<()> {
        match self {
            Self::Sqlite(db) => db.each(sql, values, &mut each),
            Self::Postgres(db) => db.all(sql, values, &mut each),
        }
    }

    /// The first row that a statement gives, if any.
    ///
    /// # Errors
    /// Those of `read`, and of the database.
    pub fn optional<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let (mut found, mut read) = (None, Some(read));
        self.some(sql, values, |row| {
            found = read.take().map(|read| read(row)).transpose()?;
            Ok(false)
        })?;
        Ok(found)
    }

    /// The first row of a statement that always gives one.
    ///
    /// # Errors
    /// If there is none; those of `read`, and of the database.
    pub fn one<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        let found = self.optional(sql, values, read)?;
        found.ok_or_else(|| crate::trouble::damaged("a row is missing"))
    }

    /// Everything that a query finds.
    ///
    /// # Errors
    /// Those of `read`, and of the database.
    pub fn all<T, C: Default + Extend<T>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<C> {
        let mut all = C::default();
        self.some(sql, values, |row| {
            all.extend([read(row)?]);
            Ok(true)
        })?;
        Ok(all)
    }

    /// Whether a query finds anything.
    ///
    /// # Errors
    /// Those of the database.
    pub fn exists(&self, sql: &str, values: &[Value<'_>]) -> Result<bool> {
        Ok(self.optional(sql, values, |_| Ok(()))?.is_some())
    }

    /// The version of the schema; 0 if there is none.
    ///
    /// # Errors
    /// Those of the database.
    pub fn schema_version(&self) -> Result<usize> {
        match self {
            Self::Sqlite(db) => db.schema_version(),
            Self::Postgres(db) => db.schema_version(),
        }
    }

    /// Notes the version of the schema.
    ///
    /// # Errors
    /// Those of the database.
    pub fn set_schema_version(&self, version: usize) -> Result<()> {
        match self {
            Self::Sqlite(db) => db.set_schema_version(version),
            Self::Postgres(db) => db.set_schema_version(version),
        }
    }

    /// While this is set, nothing can be written.
    ///
    /// # Errors
    /// Those of the database.
    pub fn only_read(&self, only: bool) -> Result<()> {
        match self {
            Self::Sqlite(db) => db.only_read(only),
            // What only reads begins transactions in which nothing can be written.
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Waits this long for other processes, from now on.
    ///
    /// # Errors
    /// Those of the database.
    pub fn wait_for_others(&self, patience: Duration) -> Result<()> {
        match self {
            Self::Sqlite(db) => db.wait_for_others(patience),
            Self::Postgres(db) => {
                db.wait_for_others(patience);
                Ok(())
            }
        }
    }

    /// How many bytes it takes.
    ///
    /// # Errors
    /// Those of the database.
    pub fn bytes(&self) -> Result<u64> {
        let sql = match self {
            Self::Sqlite(_) => {
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            }
            Self::Postgres(_) => {
                "SELECT coalesce(CAST(sum(pg_total_relation_size(oid)) AS BIGINT), 0) FROM pg_class
                 WHERE relnamespace = CAST(CAST(current_schema AS TEXT) AS regnamespace) AND relkind = 'r'"
            }
        };
        let bytes: i64 = self.one(sql, &[], |r| r.get(0))?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// Closes it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn close(self) -> Result<()> {
        match self {
            Self::Sqlite(db) => db.close(),
            Self::Postgres(_) => Ok(()),
        }
    }

    /// The file.
    ///
    /// # Errors
    /// If the database is none.
    pub fn file(&self) -> Result<&sqlite::Connection> {
        match self {
            Self::Sqlite(db) => Ok(db),
            Self::Postgres(db) => Err(no_file(db)),
        }
    }

    /// The same, to be written as a whole.
    ///
    /// # Errors
    /// If the database is none.
    pub fn file_mut(&mut self) -> Result<&mut sqlite::Connection> {
        match self {
            Self::Sqlite(db) => Ok(db),
            Self::Postgres(db) => Err(no_file(db)),
        }
    }

    /// The server's, if it is on one.
    pub fn server(&self) -> Option<&postgres::Connection> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(db) => Some(db),
        }
    }
}

/// Transactions; [`crate::scope::TransactionScope`] ends them in any case.
impl Connection {
    /// Begins one.
    ///
    /// # Errors
    /// Those of the database.
    pub fn begin(&self, access: Access) -> Result<()> {
        match self {
            Self::Sqlite(db) => db.begin(access),
            Self::Postgres(db) => db.begin(access),
        }
    }

    /// Ends one, with everything that it has changed.
    ///
    /// # Errors
    /// Those of the database: nothing is changed, unless the connection was lost.
    pub fn commit(&self) -> Result<()> {
        match self {
            Self::Sqlite(db) => db.batch("COMMIT"),
            Self::Postgres(db) => db.commit(),
        }
    }

    /// Ends one without a change, if one is running. What cannot be rolled back now is rolled back
    /// when the connection closes.
    pub fn roll_back(&self) {
        match self {
            Self::Sqlite(db) if db.is_idle() => {}
            Self::Sqlite(db) => drop(db.batch("ROLLBACK")),
            Self::Postgres(db) => db.roll_back(),
        }
    }

    /// Begins a part of the running one.
    ///
    /// # Errors
    /// Those of the database.
    pub fn begin_part(&self) -> Result<()> {
        self.batch("SAVEPOINT part")
    }

    /// Ends a part, with everything that it has changed.
    ///
    /// # Errors
    /// Those of the database.
    pub fn commit_part(&self) -> Result<()> {
        self.batch("RELEASE part")
    }

    /// Ends a part without a change.
    pub fn roll_back_part(&self) {
        match self {
            Self::Sqlite(db) if db.is_idle() => {}
            Self::Sqlite(db) => drop(db.batch("ROLLBACK TO part; RELEASE part")),
            Self::Postgres(db) => db.roll_back_part(),
        }
    }
}

fn no_file(db: &postgres::Connection) -> Error {
    refuse(
        Code::StoreInDatabase,
        format_args!("the store is in {}, not in a file", db.address()),
        "use the database's own means",
    )
}
