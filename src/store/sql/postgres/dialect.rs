//! Our SQL as PostgreSQL understands it.
//!
//! The texts are SQLite's, kept to what both databases have. What is left to change: how values
//! are numbered, and two ways of telling SQLite which index to use first, which PostgreSQL finds
//! out by itself.

use std::fmt::Write as _;

/// A text for PostgreSQL.
pub(super) fn translated(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 16);
    let mut last = 0_usize;
    let mut rest = sql;
    while let Some(at) = rest.find(['?', '\'', 'I', 'C']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        rest = if let Some(after) = from.strip_prefix('?') {
            let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, after) = after.split_at(digits);
            // As in SQLite, one without a number has the number after the highest before it.
            let number = number.parse().unwrap_or(last + 1);
            last = last.max(number);
            // Writing to a text cannot fail.
            let _ = write!(out, "${number}");
            after
        } else if let Some(after) = from.strip_prefix('\'') {
            let end = after.find('\'').map_or(after.len(), |end| end + 1);
            let (text, after) = after.split_at(end);
            out.push('\'');
            out.push_str(text);
            after
        } else if let Some(after) = from.strip_prefix("INDEXED BY ") {
            after.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_')
        } else if let Some(after) = from.strip_prefix("CROSS JOIN") {
            out.push_str("JOIN");
            after
        } else {
            let (letter, after) = from.split_at(1);
            out.push_str(letter);
            after
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_as_sqlite_numbers_them() {
        assert_eq!(translated("a = ? AND b = ?"), "a = $1 AND b = $2");
        assert_eq!(
            translated("?2 + ?1 + ? + ?12 + ?"),
            "$2 + $1 + $3 + $12 + $13"
        );
    }

    #[test]
    fn texts_are_left_as_they_are_and_hints_left_out() {
        assert_eq!(
            translated("'what? INDEXED BY x' = ?"),
            "'what? INDEXED BY x' = $1"
        );
        assert_eq!(
            translated("SELECT id FROM key INDEXED BY key_ends WHERE ID = ?1"),
            "SELECT id FROM key  WHERE ID = $1"
        );
        assert_eq!(translated("a CROSS JOIN b ON c = ?"), "a JOIN b ON c = $1");
    }
}
