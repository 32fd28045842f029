//! Columns read and written as types of the domain.

use std::fmt::Display;
use std::str::FromStr;

use keystile_core::key::KeyId;
use keystile_core::policy::{Limit, checked_limits};
use keystile_model::error::Result;
use keystile_model::record::{self, Labels};

use crate::sql::SqlRow;
pub use crate::sql::odd;

/// A number as SQLite keeps it. Nothing of ours reaches 2^63.
pub fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A number that is not negative.
pub fn unsigned(row: &SqlRow<'_>, column: usize) -> Result<u64> {
    let n: i64 = row.get(column)?;
    u64::try_from(n).map_err(|e| odd(column, e))
}

/// The same, or nothing.
pub fn optional(row: &SqlRow<'_>, column: usize) -> Result<Option<u64>> {
    let n: Option<i64> = row.get(column)?;
    n.map(|n| u64::try_from(n).map_err(|e| odd(column, e)))
        .transpose()
}

/// A client's number.
pub fn number(row: &SqlRow<'_>, column: usize) -> Result<u32> {
    u32::try_from(unsigned(row, column)?).map_err(|e| odd(column, e))
}

/// A key's id.
pub fn id(row: &SqlRow<'_>, column: usize) -> Result<KeyId> {
    KeyId::from_u64(unsigned(row, column)?).ok_or_else(|| odd(column, "a key id"))
}

/// A key's id, or nothing.
pub fn optional_id(row: &SqlRow<'_>, column: usize) -> Result<Option<KeyId>> {
    match optional(row, column)? {
        Some(_) => id(row, column).map(Some),
        None => Ok(None),
    }
}

/// A text.
pub fn text<'r>(row: &'r SqlRow<'_>, column: usize) -> Result<&'r str> {
    row.text(column)?.ok_or_else(|| odd(column, "nothing"))
}

/// One thing that text spells.
pub fn parsed<T: FromStr<Err: Display>>(row: &SqlRow<'_>, column: usize) -> Result<T> {
    let text = text(row, column)?;
    text.parse().map_err(|e| odd(column, e))
}

/// Things separated by spaces.
pub fn list<T: FromStr<Err: Display>>(row: &SqlRow<'_>, column: usize) -> Result<Vec<T>> {
    let text = text(row, column)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(' ')
        .map(|word| word.parse().map_err(|e| odd(column, e)))
        .collect()
}

/// Words as [`list`] reads them.
pub fn joined<T: Display>(list: &[T]) -> String {
    record::words(list).join(" ")
}

/// Limits, kept as the policy would write them.
pub fn limits(row: &SqlRow<'_>, column: usize) -> Result<Vec<Limit>> {
    let text = text(row, column)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let raw: Vec<_> = serde_json::from_str(text).map_err(|e| odd(column, e))?;
    checked_limits("limits", &raw).map_err(|_| odd(column, "limits"))
}

/// Limits as [`limits`] reads them.
pub fn limits_text(limits: &[Limit]) -> String {
    if limits.is_empty() {
        return String::new();
    }
    let raw: Vec<_> = limits.iter().map(record::raw_limit).collect();
    serde_json::to_string(&raw).unwrap_or_default()
}

/// Labels.
pub fn labels(row: &SqlRow<'_>, column: usize) -> Result<Labels> {
    let text = text(row, column)?;
    if text.is_empty() {
        return Ok(Labels::new());
    }
    serde_json::from_str(text).map_err(|e| odd(column, e))
}

/// Labels as [`labels`] reads them.
pub fn labels_text(labels: &Labels) -> String {
    if labels.is_empty() {
        return String::new();
    }
    serde_json::to_string(labels).unwrap_or_default()
}
