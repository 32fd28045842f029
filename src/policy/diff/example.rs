//! An example of a class of requests.

use std::collections::BTreeSet;

/// An example of a class, and the name of the class.
pub struct Example {
    /// The example itself.
    pub text: String,
    /// How a policy writes the class; `*` for what no route names.
    pub words: String,
}

/// A text that is none of those known.
pub(super) fn fresh(known: &BTreeSet<&str>, make: impl Fn(&str) -> String) -> String {
    let mut word = "other".to_owned();
    loop {
        let text = make(&word);
        if !known.contains(text.as_str()) {
            return text;
        }
        word.push('x');
    }
}
