//! A fact and a next step, apart.

use core::fmt;

/// What is wrong, and what to do about it: two sentences, for surfaces that show them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The fact.
    pub fact: String,
    /// The next step; empty if the fact says enough.
    pub next: String,
}

impl From<&str> for Advice {
    fn from(fact: &str) -> Self {
        Self::new(fact, "")
    }
}

impl From<String> for Advice {
    fn from(fact: String) -> Self {
        Self::new(fact, "")
    }
}

impl Advice {
    /// A fact and a next step.
    pub fn new(fact: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            fact: fact.into(),
            next: next.into(),
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fact)?;
        match self.next.as_str() {
            "" => Ok(()),
            next => write!(f, "; {next}"),
        }
    }
}

impl std::error::Error for Advice {}
