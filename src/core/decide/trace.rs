//! The checks of a decision and their results, for `explain`.

/// A recorder of checks. `()` records nothing and costs nothing.
pub trait Trace {
    /// Called for each check with its result, in order.
    fn note(&mut self, rule: &'static str, held: bool, text: impl FnOnce() -> String);
}

impl Trace for () {
    fn note(&mut self, _: &'static str, _: bool, _: impl FnOnce() -> String) {}
}

/// A check and its result, for `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The name of the check.
    pub rule: &'static str,
    /// Whether the request passed the check.
    pub held: bool,
    /// The result in words. Contains no key.
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
