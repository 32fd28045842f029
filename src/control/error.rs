//! What goes wrong, said to a person: the fact, then the next step.

use std::fmt::{self, Display};

/// One or more messages, printed by [`crate::cli::main`] and nowhere else.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    messages: Vec<String>,
}

/// What every operation gives back.
pub type Result<T> = std::result::Result<T, Error>;

/// A refusal. There is no way to make one without a next step.
pub fn refuse(fact: impl Display, next: impl Display) -> Error {
    Error {
        messages: vec![format!("{fact}; {next}")],
    }
}

/// Several refusals, each complete in itself.
pub fn refuse_all(messages: Vec<String>) -> Error {
    Error { messages }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages.join("\n"))
    }
}

impl Error {
    /// The messages, one a line.
    pub fn messages(&self) -> &[String] {
        &self.messages
    }

    /// The same with `place: ` before each message.
    #[must_use]
    pub fn at(mut self, place: impl Display) -> Self {
        for m in &mut self.messages {
            *m = format!("{place}: {m}");
        }
        self
    }
}
