//! What is printed: tables for people, JSON for programs, both on stdout; messages on
//! stderr. Colour on a terminal only, and not with NO_COLOR.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place that prints: it makes what callers wrote fit for a terminal"
)]

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use keystile_model::error::{Code, Error, Result, Surface, refuse};
use keystile_model::foreign;
use keystile_model::record::Status;

mod pager;
mod progress_note;
mod refused;

pub use progress_note::ProgressNote;
use refused::Refused;

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For spreadsheets: only `usage` supports this.
    Csv,
}

/// Prints output and messages.
#[derive(Clone, Copy)]
pub struct Output {
    form: OutputFormat,
    pages: bool,
}

impl Output {
    /// In this format.
    pub fn new(form: OutputFormat) -> Self {
        Self { form, pages: true }
    }

    /// The same without a pager.
    #[must_use]
    pub fn without_pager(self) -> Self {
        Self {
            pages: false,
            ..self
        }
    }

    /// Whether programs read it.
    pub fn is_json(self) -> bool {
        self.form == OutputFormat::Json
    }

    /// Whether spreadsheets read it.
    pub fn is_csv(self) -> bool {
        self.form == OutputFormat::Csv
    }

    /// Prints JSON or, for people, the text from `table`.
    pub fn show(self, json: &impl Serialize, table: impl FnOnce() -> String) -> Result<()> {
        match self.form {
            OutputFormat::Json => self.json(json),
            OutputFormat::Table | OutputFormat::Csv => text(&table()),
        }
    }

    /// The same for a list, which may be longer than the screen.
    pub fn show_list(self, json: &impl Serialize, table: impl FnOnce() -> String) -> Result<()> {
        match self.form {
            OutputFormat::Json => self.json(json),
            OutputFormat::Table | OutputFormat::Csv => self.long(&table()),
        }
    }

    /// Prints text for people that may be longer than the screen: through their pager, if they read it
    /// on a terminal. Never a secret.
    pub fn long(self, long: &str) -> Result<()> {
        if self.pages && pager::show(&foreign::page(long)) {
            return Ok(());
        }
        text(long)
    }

    /// Prints JSON, with fields sorted by name.
    pub fn json(self, json: &impl Serialize) -> Result<()> {
        let json: Value = serde_json::to_value(json).map_err(|e| foreign::unwritable(&e))?;
        let mut out = serde_json::to_string_pretty(&json).unwrap_or_default();
        out.push('\n');
        raw(foreign::json(&out).as_bytes())
    }

    /// Prints a JSON list in parts, so that it may be longer than fits into memory.
    /// It has the form of [`Output::json`].
    pub fn list() -> ListOutput {
        ListOutput { begun: false }
    }

    /// Prints a note on stderr.
    pub fn note(self, message: impl std::fmt::Display) {
        eprintln(&format!("{message}"));
    }

    /// Prints a warning on stderr.
    pub fn warn(self, message: impl std::fmt::Display) {
        eprintln(&format!("{YELLOW}warning:{YELLOW:#} {message}"));
    }

    /// Says on stderr what is being done, if that takes longer than a second and stderr is a terminal.
    pub fn waiting(self, what: impl Into<String>) -> ProgressNote {
        ProgressNote::new(what.into())
    }

    /// The same, with how much was written, for what goes to a file or a pipe: on a terminal that can be
    /// seen, and this would be in its way.
    pub fn writing(self, what: impl Into<String>) -> ProgressNote {
        match io::stdout().is_terminal() {
            true => ProgressNote::hidden(),
            false => ProgressNote::new(what.into()),
        }
    }

    /// What counts on stderr how far something is, if that is a terminal.
    pub fn counter(self) -> ProgressBar {
        let bar = ProgressBar::new_spinner();
        if !io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}: {human_pos} rows") {
            bar.set_style(style);
        }
        bar
    }

    /// A progress bar on stderr, if it is a terminal and there is something to wait for.
    pub fn progress(self, total: u32) -> ProgressBar {
        let bar = ProgressBar::new(u64::from(total));
        if total < 100 || !io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style =
            ProgressStyle::with_template("{bar:30} {pos}/{len} keys, {per_sec}, {eta} left");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar
    }
}

/// A JSON list that is printed in parts.
pub struct ListOutput {
    begun: bool,
}

impl ListOutput {
    /// Prints items.
    pub fn add<T: Serialize>(&mut self, items: &[T]) -> Result<()> {
        let mut out = String::new();
        for item in items {
            out.push_str(if self.begun { "," } else { "[" });
            self.begun = true;
            let item = serde_json::to_value(item).unwrap_or_default();
            let item = serde_json::to_string_pretty(&item).unwrap_or_default();
            for line in item.lines() {
                out.push_str("\n  ");
                out.push_str(line);
            }
        }
        raw(foreign::json(&out).as_bytes())
    }

    /// Ends the list.
    pub fn end(self) -> Result<()> {
        raw(if self.begun { b"\n]\n" } else { b"[]\n" })
    }
}

const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();

/// Prints an error on stderr: message by message for people, as JSON on one line for programs.
pub fn error(form: OutputFormat, e: &Error) {
    if form == OutputFormat::Json
        && let Some(refused) = Refused::new(e)
        && let Ok(json) = foreign::json_line(&refused)
    {
        // Nobody is left to tell when stderr fails.
        let _ = anstream::stderr().lock().write_all(json.as_bytes());
        return;
    }
    for message in e.words(Surface::CommandLine) {
        eprintln(&format!("{RED}error:{RED:#} {message}"));
    }
}

/// Whether a person sees what is printed on stderr.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

fn eprintln(line: &str) {
    // Nobody is left to tell when stderr fails.
    let _ = writeln!(anstream::stderr().lock(), "{}", foreign::message(line));
}

/// Prints text for people.
pub fn text(text: &str) -> Result<()> {
    finish(
        anstream::stdout()
            .lock()
            .write_all(foreign::page(text).as_bytes()),
    )
}

/// Prints output for programs unchanged; on a terminal, without control characters.
pub fn raw(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    let bytes = fit(bytes, out.is_terminal());
    finish(out.write_all(&bytes).and_then(|()| out.flush()))
}

fn fit(bytes: &[u8], terminal: bool) -> Cow<'_, [u8]> {
    match terminal {
        true => foreign::page(&String::from_utf8_lossy(bytes))
            .into_bytes()
            .into(),
        false => bytes.into(),
    }
}

/// Prints JSON on one line.
pub fn line(json: &impl Serialize) -> Result<()> {
    let json = serde_json::to_value(json).map_err(|e| foreign::unwritable(&e))?;
    raw(foreign::json_line(&json)?.as_bytes())
}

fn finish(written: io::Result<()>) -> Result<()> {
    match written {
        Ok(()) => Ok(()),
        // `| head` has seen enough: no message, but no success either.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Error::silent()),
        Err(e) => Err(refuse(
            Code::OutputFailed,
            format_args!("the output cannot be written ({e})"),
            "check where it is written to",
        )),
    }
}

/// A table with aligned columns and no lines.
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [Cell; N]>,
) -> String {
    let mut table = bare();
    table.set_header(
        header.map(|h| Cell::new(h.to_ascii_uppercase()).add_attribute(Attribute::Bold)),
    );
    for row in rows {
        table.add_row(row);
    }
    if io::stdout().is_terminal() {
        // Within the window, but never at the cost of the id or name in front, which is copied.
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(first) = table.column_mut(0) {
            first.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    finished(table)
}

/// Names and values, one per line; empty values are left out.
pub fn fields<'n>(pairs: impl IntoIterator<Item = (&'n str, String)>) -> String {
    let mut table = bare();
    for (name, value) in pairs {
        if !value.is_empty() {
            table.add_row([Cell::new(name).add_attribute(Attribute::Bold), cell(value)]);
        }
    }
    finished(table)
}

fn bare() -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    match AutoStream::choice(&io::stdout()) {
        ColorChoice::Never => table.force_no_tty(),
        _ => table.enforce_styling(),
    };
    table
}

fn finished(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut out = table.trim_fmt();
    out.push('\n');
    out
}

/// A plain cell. Every cell is made here, because most hold text that callers wrote.
pub fn cell(text: impl ToString) -> Cell {
    Cell::new(foreign::line(&text.to_string()))
}

/// A status, in its colour.
pub fn status(status: Status) -> Cell {
    let color = match status {
        Status::Active => Color::Green,
        Status::Rotating | Status::Pending | Status::Disabled => Color::Yellow,
        Status::Expired | Status::Revoked => Color::Red,
    };
    Cell::new(status).fg(color)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_read_is_left_as_it_is_but_on_a_terminal() {
        let policy = "# \u{202e}drawkcab\u{1b}[2J\nroutes: []\n";
        assert_eq!(fit(policy.as_bytes(), false), policy.as_bytes());
        let shown = fit(policy.as_bytes(), true);
        assert_eq!(
            shown,
            "# \\u{202e}drawkcab\\u{1b}[2J\nroutes: []\n".as_bytes()
        );
    }

    #[test]
    fn a_line_of_json_is_one_line_and_holds_no_character_that_acts() {
        let line = foreign::json_line(&["a\u{202e}b\u{9b}c\n"]).unwrap();
        assert_eq!(line, "[\"a\\u202eb\\u009bc\\n\"]\n");
    }
}
