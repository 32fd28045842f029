//! What PostgreSQL's rows hold.

use keystile_model::error::{Error, Result};
use postgres::types::Type;

use super::odd::odd;

pub(super) fn integer(row: &postgres::Row, column: usize) -> Result<Option<i64>> {
    let found = match row.columns().get(column).map(postgres::Column::type_) {
        Some(&Type::INT4) => row
            .try_get::<_, Option<i32>>(column)
            .map(|n| n.map(i64::from)),
        _ => row.try_get(column),
    };
    found.map_err(|e| wrong(column, &e))
}

pub(super) fn boolean(row: &postgres::Row, column: usize) -> Result<Option<bool>> {
    row.try_get(column).map_err(|e| wrong(column, &e))
}

pub(super) fn text(row: &postgres::Row, column: usize) -> Result<Option<&str>> {
    row.try_get(column).map_err(|e| wrong(column, &e))
}

pub(super) fn bytes(row: &postgres::Row, column: usize) -> Result<Option<&[u8]>> {
    row.try_get(column).map_err(|e| wrong(column, &e))
}

fn wrong(column: usize, e: &postgres::Error) -> Error {
    odd(column, e)
}
