//! A refusal as a value: what happened ([`Code`]), to which field, the fact in words, and the
//! [`Next`] step, which each [`Surface`] words for those that use it.

mod code;
mod next;
mod surface;

pub use code::{Code, Kind, Trouble};
pub use next::{Act, ActStep, Next, NextField, Piece, named};
pub use surface::Surface;

use std::borrow::Cow;

/// One thing that is wrong. Programs compare the code and the field, never the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happened.
    pub code: Code,
    /// The field that it is about, as the API calls it.
    pub field: Option<Cow<'static, str>>,
    /// Whether the words need the field's name in front of them.
    pub leans: bool,
    /// Where it is, such as `keys.csv:7`; empty if that is obvious.
    pub place: String,
    /// The line of the text that it is in, from 1 on, if there is a text.
    pub line: Option<u64>,
    /// What is wrong, in words that hold everywhere.
    pub fact: String,
    /// What can be done about it.
    pub next: Next,
}

impl Fault {
    /// The fact and the next step, without the place and without the field in front: for a
    /// surface that shows them beside the field.
    pub fn beside(&self, surface: Surface) -> String {
        match self.next.is_empty() {
            true => self.fact.clone(),
            false => format!("{}; {}", self.fact, self.next.words(surface)),
        }
    }

    /// All of it, on one line.
    pub fn words(&self, surface: Surface) -> String {
        self.in_front() + &self.beside(surface)
    }

    /// What is wrong, without the next step.
    pub fn statement(&self) -> String {
        self.in_front() + &self.fact
    }

    /// The place, and the field's name if the fact needs it in front.
    fn in_front(&self) -> String {
        let mut out = String::new();
        if !self.place.is_empty() {
            out.push_str(&self.place);
            out.push_str(": ");
        }
        if let Some(field) = self.field.as_ref().filter(|_| self.leans) {
            out.push('`');
            out.push_str(field);
            out.push_str("`: ");
        }
        out
    }

    /// The field's name without a position in it: `scopes` of `scopes[0]`.
    pub fn base_field(&self) -> Option<&str> {
        let field = self.field.as_deref()?;
        field.split(['[', '.']).next().filter(|f| !f.is_empty())
    }
}
