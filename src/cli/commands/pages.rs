//! Lists that come in pages.

use serde::Serialize;

use crate::output::{self, ListOutput, Output};
use keystile_model::error::Result;

/// What has come so far. As JSON each page is printed when it comes, because there may be more than
/// fit into memory; a table has columns as wide as its widest cell, so it needs all of them.
pub struct AllPages<T> {
    json: Option<ListOutput>,
    all: Vec<T>,
}

impl<T: Serialize> AllPages<T> {
    /// All pages of a list. `ask` gets the page at a cursor, at first at none, and where the next one
    /// is.
    ///
    /// # Errors
    /// Those of `ask`, or if the output cannot be written.
    pub fn all<C>(
        out: Output,
        mut ask: impl FnMut(Option<C>) -> Result<(Vec<T>, Option<C>)>,
    ) -> Result<Self> {
        let mut pages = Self {
            json: out.is_json().then(Output::list),
            all: Vec::new(),
        };
        let mut cursor = None;
        loop {
            let (page, next) = ask(cursor)?;
            pages.add(page)?;
            if next.is_none() {
                return Ok(pages);
            }
            cursor = next;
        }
    }

    fn add(&mut self, page: Vec<T>) -> Result<()> {
        match &mut self.json {
            Some(list) => list.add(&page),
            None => {
                self.all.extend(page);
                Ok(())
            }
        }
    }

    /// Ends the list; `table` shows all of them to people.
    pub fn end(self, table: impl FnOnce(Vec<T>) -> String) -> Result<()> {
        match self.json {
            Some(list) => list.end(),
            None => output::text(&table(self.all)),
        }
    }
}
