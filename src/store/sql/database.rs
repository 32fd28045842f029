//! A database of any kind.

use std::time::Duration;

use keystile_model::error::{Code, Error, Result, refuse};

use super::access::TransactionAccess;
use super::postgres::PostgresDatabase;
use super::row::SqlRow;
use super::sqlite::SqliteDatabase;
use super::value::Value;

/// An open database.
pub enum Database {
    /// A file, encrypted by SQLCipher.
    Sqlite(SqliteDatabase),
    /// A connection to a server.
    Postgres(Box<PostgresDatabase>),
}

impl Database {
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
        mut each: impl FnMut(&SqlRow<'_>) -> Result<bool>,
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
        mut each: impl FnMut(&SqlRow<'_>) -> Result<bool>,
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
        read: impl FnOnce(&SqlRow<'_>) -> Result<T>,
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
        read: impl FnOnce(&SqlRow<'_>) -> Result<T>,
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
        mut read: impl FnMut(&SqlRow<'_>) -> Result<T>,
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

    /// The oldest version of the schema whose servers can go on beside this one.
    ///
    /// # Errors
    /// Those of the database.
    pub fn oldest_schema(&self) -> Result<usize> {
        match self {
            // Of a file, there is one server.
            Self::Sqlite(db) => db.schema_version(),
            Self::Postgres(db) => db.oldest_schema(),
        }
    }

    /// Notes the version of the schema, and the oldest whose servers can go on beside it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn set_schema_version(&self, version: usize, oldest: usize) -> Result<()> {
        match self {
            Self::Sqlite(db) => db.set_schema_version(version),
            Self::Postgres(db) => db.set_schema_version(version, oldest),
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
    /// If the store is not in a file.
    pub fn file(&self) -> Result<&SqliteDatabase> {
        match self {
            Self::Sqlite(db) => Ok(db),
            Self::Postgres(db) => Err(no_file(db)),
        }
    }

    /// The same, to be written as a whole.
    ///
    /// # Errors
    /// If the store is not in a file.
    pub fn file_mut(&mut self) -> Result<&mut SqliteDatabase> {
        match self {
            Self::Sqlite(db) => Ok(db),
            Self::Postgres(db) => Err(no_file(db)),
        }
    }

    /// The server's, if it is on one.
    pub fn server(&self) -> Option<&PostgresDatabase> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(db) => Some(db),
        }
    }
}

/// Transactions; [`crate::scope::TransactionScope`] ends them in any case.
impl Database {
    /// Begins one.
    ///
    /// # Errors
    /// Those of the database.
    pub fn begin(&self, access: TransactionAccess) -> Result<()> {
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

fn no_file(db: &PostgresDatabase) -> Error {
    refuse(
        Code::StoreInDatabase,
        format_args!("the store is in {}, not in a file", db.address()),
        "use the database's own means",
    )
}
