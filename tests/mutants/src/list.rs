//! Mutants as `cargo mutants --list --json` describes them.

use std::ops::Range;

use serde::Deserialize;

/// One place of the code, and what to write there instead.
#[derive(Deserialize)]
pub struct Mutant {
    /// As cargo-mutants calls it: file, line, column, and what is replaced.
    pub name: String,
    /// The file that it changes, below the workspace's root.
    pub file: String,
    /// What kind of place it is.
    pub genre: Genre,
    /// What to write there.
    pub replacement: String,
    /// The function around it, if there is one.
    pub function: Option<Function>,
    span: Span,
}

/// What kind of place a mutant changes.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
pub enum Genre {
    /// The whole body of a function.
    FnValue,
    /// The operator between two expressions, also that of `+=` and its like.
    BinaryOperator,
    /// `!` or `-` before an expression.
    UnaryOperator,
    /// The condition behind a pattern.
    MatchArmGuard,
    /// A whole arm.
    MatchArm,
    /// A field of a struct whose other fields come from a base.
    StructField,
}

/// The function around a mutant.
#[derive(Deserialize)]
pub struct Function {
    /// With its arrow; empty for `()`.
    pub return_type: String,
}

#[derive(Deserialize)]
struct Span {
    start: Position,
    end: Position,
}

/// Both count from one, and columns in characters.
#[derive(Deserialize)]
struct Position {
    line: usize,
    column: usize,
}

impl Mutant {
    /// Where in the text of its file.
    pub fn range(&self, source: &str) -> Range<usize> {
        offset(source, &self.span.start)..offset(source, &self.span.end)
    }

    /// Whether it replaces a function that returns some unnamed iterator.
    pub fn is_iterator(&self) -> bool {
        let function = self.function.as_ref();
        function.is_some_and(|f| f.return_type.starts_with("-> impl Iterator"))
    }
}

fn offset(source: &str, position: &Position) -> usize {
    let lines = source.split_inclusive('\n');
    let before: usize = lines.clone().take(position.line - 1).map(str::len).sum();
    let line = lines.clone().nth(position.line - 1).unwrap_or_default();
    let characters = line.chars().take(position.column - 1);
    before + characters.map(char::len_utf8).sum::<usize>()
}
