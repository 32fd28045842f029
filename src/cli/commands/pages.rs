//! Lists that come in pages.

use serde::Serialize;

use crate::output::{self, List, Output};
use keystile_model::error::Result;

/// What has come so far. As JSON each page is printed when it comes, because there may be more than
/// fit into memory; a table has columns as wide as its widest cell, so it needs all of them.
pub struct Pages<T> {
    json: Option<List>,
    all: Vec<T>,
}

impl<T: Serialize> Pages<T> {
    /// None yet.
    pub fn new(out: Output) -> Self {
        Self {
            json: out.is_json().then(Output::list),
            all: Vec::new(),
        }
    }

    /// One more.
    pub fn add(&mut self, page: Vec<T>) -> Result<()> {
        match &mut self.json {
            Some(list) => list.add(&page),
            None => {
                self.all.extend(page);
                Ok(())
            }
        }
    }

    /// That was the last one; `table` shows all of them to people.
    pub fn end(self, table: impl FnOnce(Vec<T>) -> String) -> Result<()> {
        match self.json {
            Some(list) => list.end(),
            None => output::text(&table(self.all)),
        }
    }
}
