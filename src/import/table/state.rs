//! Whether, and when, the key of a row is good.

use csv::StringRecord;

use super::Table;
use super::columns::{OFF, ON};
use crate::closing::closes;
use crate::found::Found;
use crate::node::{Node, flag_word, shown_name};
use crate::{duplicates, moment, printable};

impl Table<'_> {
    /// Whether and when a key is good; `None` if it is left out.
    pub(super) fn state(
        &self,
        record: &StringRecord,
        place: &str,
        found: &mut Found,
    ) -> Option<RowState> {
        // A restriction without content must not become no restriction.
        let restrictions = ["cidrs", "deny_cidrs", "origins", "certificates", "limits"];
        let is_void = |f: &&'static str| {
            self.cells(record, f).next().is_some() && self.words(record, f).is_empty()
        };
        if let Some(field) = restrictions.iter().find(|f| is_void(f)) {
            found.leave(place, format!("`{field}` holds separators alone"));
            return None;
        }
        let unknown = record.iter().zip(&self.header).zip(&self.columns);
        let mut unknown = unknown.filter(|(_, column)| column.is_none());
        let closed = unknown.find(|((cell, title), _)| closes(title, &Node::of_cell(cell)));
        if let Some(((_, title), _)) = closed {
            let title = printable(title, 60);
            found.leave(
                place,
                format!("column `{title}` is not known and may switch this off: name it with `--column FIELD=HEADER` or, if it does not, rename it"),
            );
            return None;
        }
        let times = |field: &'static str, earlier| {
            let mut times = self.cells(record, field).map(|cell| time(cell, earlier));
            times.try_fold(String::new(), |a, b| duplicates::stricter(&a, &b, earlier))
        };
        let (Some(expires), Some(not_before)) =
            (times("expires", true), times("not_before", false))
        else {
            found.leave(
                place,
                "has several ends or beginnings, and it is unclear which comes first",
            );
            return None;
        };
        Some(RowState {
            disabled: self.is_disabled(record, place, found)?,
            expires,
            not_before,
        })
    }

    /// Whether a key is disabled; `None` if it is left out.
    fn is_disabled(&self, record: &StringRecord, place: &str, found: &mut Found) -> Option<bool> {
        match self.switch(record) {
            Switch::On => Some(false),
            Switch::Off => Some(true),
            Switch::Unsaid => {
                found.note(
                    place,
                    "does not say whether it is enabled, so it is disabled",
                );
                Some(true)
            }
            Switch::Out(word) => {
                let word = shown_name(&word);
                found.leave(place, format!("is left out: its status is `{word}`"));
                None
            }
        }
    }

    /// Whether a key is enabled: every column about that must agree.
    fn switch(&self, record: &StringRecord) -> Switch {
        let words = ["false", "no", "0", "n", "f"];
        let is_no = |cell: &str| words.contains(&cell.to_ascii_lowercase().as_str());
        let mut out = Switch::On;
        if self.cells(record, "disabled").any(|cell| !is_no(cell)) {
            out = Switch::Off;
        }
        let enabled = record.iter().zip(&self.columns);
        for (cell, _) in enabled.filter(|(_, c)| **c == Some("enabled")) {
            match flag_word(cell) {
                Some(true) => {}
                Some(false) => out = Switch::Off,
                None if cell.is_empty() => out = out.or(Switch::Unsaid),
                None => return Switch::Out(cell.to_owned()),
            }
        }
        let status = record.iter().zip(&self.columns);
        for (cell, _) in status.filter(|(_, c)| **c == Some("status")) {
            match cell.to_ascii_lowercase().as_str() {
                word if ON.contains(&word) => {}
                word if OFF.contains(&word) => out = Switch::Off,
                "" => out = out.or(Switch::Unsaid),
                _ => return Switch::Out(cell.to_owned()),
            }
        }
        out
    }
}

pub struct RowState {
    pub disabled: bool,
    pub expires: String,
    pub not_before: String,
}

enum Switch {
    On,
    Off,
    /// There is a column for it, but its cell is empty.
    Unsaid,
    /// A word that may mean that the key has expired.
    Out(String),
}

impl Switch {
    fn or(self, other: Self) -> Self {
        match self {
            Self::On => other,
            _ => self,
        }
    }
}

/// A time in any unit, or in the form of the command line: `90d`.
fn time(cell: &str, is_end: bool) -> String {
    if is_end && cell.eq_ignore_ascii_case("never") {
        return String::new();
    }
    moment::of_text(cell).map_or_else(|| cell.to_owned(), moment::line)
}
