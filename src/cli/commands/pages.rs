//! Lists that come in pages.

use serde::Serialize;

use crate::output::{ListOutput, Output};
use keystile_model::error::Result;

/// What has come so far. As JSON each page is printed when it comes, because there may be more than
/// fit into memory; a table has columns as wide as its widest cell, so it needs all of them.
pub struct AllPages<T> {
    out: Output,
    json: Option<ListOutput>,
    all: Vec<T>,
    /// How many there are so far, printed ones included.
    count: usize,
    /// Some were left out.
    is_cut: bool,
}

impl<T: Serialize> AllPages<T> {
    /// All pages of a list. `ask` gets the page at a cursor, at first at none, and where the next one
    /// is.
    ///
    /// # Errors
    /// Those of `ask`, or if the output cannot be written.
    pub fn all<C>(
        out: Output,
        ask: impl FnMut(Option<C>) -> Result<(Vec<T>, Option<C>)>,
    ) -> Result<Self> {
        Self::first(out, None, ask)
    }

    /// The same of the first so many.
    ///
    /// # Errors
    /// Those of [`Self::all`].
    pub fn first<C>(
        out: Output,
        most: Option<usize>,
        mut ask: impl FnMut(Option<C>) -> Result<(Vec<T>, Option<C>)>,
    ) -> Result<Self> {
        let mut pages = Self {
            out,
            json: out.is_json().then(Output::list),
            all: Vec::new(),
            count: 0,
            is_cut: false,
        };
        let mut cursor = None;
        let writing = out.writing("List");
        loop {
            let (mut page, next) = ask(cursor)?;
            writing.more(page.len());
            if let Some(most) = most {
                let room = most.saturating_sub(pages.count);
                pages.is_cut = page.len() > room || (page.len() == room && next.is_some());
                page.truncate(room);
            }
            pages.add(page)?;
            if next.is_none() || pages.is_cut {
                return Ok(pages);
            }
            cursor = next;
        }
    }

    fn add(&mut self, page: Vec<T>) -> Result<()> {
        self.count = self.count.saturating_add(page.len());
        match &mut self.json {
            Some(list) => list.add(&page),
            None => {
                self.all.extend(page);
                Ok(())
            }
        }
    }

    /// Ends the list as [`Self::end`] does; if there is none, `next` says what can be done about it.
    pub fn end_or(self, next: &str, table: impl FnOnce(Vec<T>) -> String) -> Result<()> {
        let (out, is_empty) = (self.out, self.count == 0);
        self.end(table)?;
        if is_empty {
            nothing(out, next);
        }
        Ok(())
    }

    /// Ends the list; `table` shows all of them to people.
    pub fn end(self, table: impl FnOnce(Vec<T>) -> String) -> Result<()> {
        match self.json {
            Some(list) => list.end(),
            None => self.out.long(&table(self.all)),
        }?;
        if self.is_cut && !self.out.is_json() {
            self.out
                .note("there are more; `--limit` says how many are listed");
        }
        Ok(())
    }
}

/// What can be done about an empty list, for people.
pub fn nothing(out: Output, next: &str) {
    if !out.is_json() {
        out.note(format_args!("nothing to list: {next}"));
    }
}
