//! How an export is read.

use std::collections::BTreeMap;

/// What the caller says of it.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// The client of keys that name none.
    pub client: Option<String>,
    /// The environment of keys that name none.
    pub environment: Option<String>,
    /// Import keys that are so short that they could be guessed.
    pub allow_short: bool,
    /// Names of columns in a table, by field.
    pub columns: BTreeMap<String, String>,
}
