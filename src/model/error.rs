//! Errors, worded for people: the fact, then the next step.

use std::fmt::{self, Display};

/// One or more messages, which the command line prints or the server sends as a problem, and which
/// go nowhere else.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    messages: Vec<String>,
    kind: Kind,
    /// For the log only.
    cause: String,
}

/// The kind of a refusal, which determines the status of an HTTP answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The request is invalid.
    #[default]
    Invalid,
    /// The request is malformed.
    Malformed,
    /// The caller is unknown.
    Unauthenticated,
    /// The caller is not allowed to.
    Forbidden,
    /// It does not exist.
    NotFound,
    /// It conflicts with something that exists.
    Conflict,
    /// It has changed since it was read.
    Stale,
    /// Too many requests.
    TooMany,
    /// It cannot be done at the moment.
    Unavailable,
    /// The store fails.
    Store(Trouble),
}

/// Why the store fails, the worst reason last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// There is no space left.
    Full,
    /// It cannot be opened or written.
    Access,
    /// The disk does not work properly.
    Io,
    /// Data on the disk is damaged.
    Damaged,
}

impl Trouble {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Full, Self::Access, Self::Io, Self::Damaged];

    /// Its name in metrics and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Access => "access",
            Self::Io => "io",
            Self::Damaged => "damaged",
        }
    }
}

/// The result of every operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A refusal. There is no way to make one without a next step.
pub fn refuse(fact: impl Display, next: impl Display) -> Error {
    Error {
        messages: vec![format!("{fact}; {next}")],
        kind: Kind::default(),
        cause: String::new(),
    }
}

/// Several refusals, each complete in itself.
pub fn refuse_all(messages: Vec<String>) -> Error {
    Error {
        messages,
        kind: Kind::default(),
        cause: String::new(),
    }
}

/// Refusals of which a file can have very many: the first ones, and how many follow. Fixing the
/// first often fixes the rest, and nobody reads a hundred thousand.
pub fn refuse_first(mut messages: Vec<String>) -> Error {
    const SHOWN: usize = 20;
    if let Some(more) = messages.len().checked_sub(SHOWN).filter(|n| *n > 0) {
        messages.truncate(SHOWN);
        messages.push(format!("… and {more} more"));
    }
    refuse_all(messages)
}

/// Collects what is wrong with the lines of a file, so that everything is reported at once.
#[derive(Debug, Default)]
pub struct Complaints {
    messages: Vec<String>,
}

impl Complaints {
    /// Adds what is wrong with one line; `place` names it, unless it is empty.
    ///
    /// # Errors
    /// The error itself, if it is not about the line: the work was interrupted, or the store fails.
    /// The following lines must not be tried then.
    pub fn take(&mut self, wrong: Error, place: &str) -> Result<()> {
        match wrong.kind {
            Kind::Unavailable | Kind::Store(_) => return Err(wrong),
            _ if place.is_empty() => self.messages.extend(wrong.messages),
            _ => self.messages.extend(wrong.at(place).messages),
        }
        Ok(())
    }

    /// Succeeds if nothing is wrong.
    ///
    /// # Errors
    /// The first ones, and how many follow.
    pub fn none(self) -> Result<()> {
        match self.messages.is_empty() {
            true => Ok(()),
            false => Err(refuse_first(self.messages)),
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages.join("\n"))
    }
}

impl Error {
    /// The same refusal, of this kind.
    #[must_use]
    pub fn of(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same refusal, with a cause for the log.
    #[must_use]
    pub fn because(mut self, cause: &Self) -> Self {
        self.cause = cause.to_string();
        self
    }

    /// The cause for the log, if there is one.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The messages, one per line.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_refusals_the_first_twenty_are_shown_and_the_others_counted() {
        let many = |n: usize| (1..=n).map(|i| format!("keys.csv:{i}: bad")).collect();
        assert_eq!(refuse_first(many(20)), refuse_all(many(20)));
        let error = refuse_first(many(100_000));
        assert_eq!(error.messages().len(), 21);
        assert_eq!(
            error.messages().get(..20),
            refuse_all(many(20)).messages().get(..)
        );
        assert_eq!(
            error.messages().last().map(String::as_str),
            Some("… and 99980 more")
        );
    }

    #[test]
    fn only_what_is_wrong_with_a_line_is_kept_until_the_others_were_tried() {
        let mut complaints = Complaints::default();
        complaints.take(refuse("bad", "mend it"), "a:1").unwrap();
        complaints.take(refuse("bad", "mend it"), "").unwrap();
        for kind in [Kind::Unavailable, Kind::Store(Trouble::Full)] {
            let other = || refuse("it ends here", "try again").of(kind);
            assert_eq!(complaints.take(other(), "a:2"), Err(other()));
        }
        let words = complaints.none().unwrap_err().to_string();
        assert_eq!(words, "a:1: bad; mend it\nbad; mend it");
        assert_eq!(Complaints::default().none(), Ok(()));
    }
}
