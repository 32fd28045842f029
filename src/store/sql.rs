//! The one layer between our SQL and a database.
//!
//! Queries are written once, in the SQL that the databases share. A [`Database`] is one of two
//! kinds; each kind has a driver below this file, and only the drivers name the crates that they
//! are made of.

mod access;
mod database;
mod odd;
pub mod postgres;
mod postgres_columns;
mod row;
pub mod sqlite;
mod sqlite_columns;
mod value;

pub use access::TransactionAccess;
pub use database::Database;
pub use odd::odd;
pub use row::SqlRow;
pub(crate) use value::params;
pub use value::{SqlKind, ToValue, Value};
