//! The questions of a decision and their answers, for `explain`.

/// Who wants to know why. `()` does not, and costs nothing.
pub trait Trace {
    /// Told of each question and its answer, in order.
    fn note(&mut self, rule: &'static str, held: bool, text: impl FnOnce() -> String);
}

impl Trace for () {
    fn note(&mut self, _: &'static str, _: bool, _: impl FnOnce() -> String) {}
}

/// A question and its answer, for `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The question's name.
    pub rule: &'static str,
    /// Whether the request could go on.
    pub held: bool,
    /// The answer, for people. Holds no key.
    pub text: String,
}

impl Trace for Vec<Note> {
    fn note(&mut self, rule: &'static str, held: bool, text: impl FnOnce() -> String) {
        self.push(Note {
            rule,
            held,
            text: text(),
        });
    }
}
