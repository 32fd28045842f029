//! What a form showed when its page was made. It is submitted with the form, so that saving does
//! not undo changes that were made while the page was open.
//!
//! A form that changes something has each field twice: editable and, hidden, with its original
//! value. Only edited fields are applied. A button that restores rights or replaces something
//! carries [`SEEN`], the tag of what it was shown with. Buttons that only take rights away
//! (disable, revoke) carry neither: that is never too late.

use maud::{Markup, html};

use super::form::Form;
pub use super::form::SEEN;
use keystile_model::error::{Code, Error, Fault, Kind, Result, refuse, refuse_all, told};

/// What is refused when a field has changed under a form.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    /// A change of any field, because together they define what something may do.
    Any,
    /// A change of an edited field: each is independent.
    Typed,
}

/// The hidden field for what a field showed.
pub fn was(name: &str) -> String {
    format!("was_{name}")
}

/// The same form before any edits.
#[must_use]
pub fn showing(form: Form, names: &[&str]) -> Form {
    names.iter().fold(form, |form, name| {
        let value = form.text(name).to_owned();
        form.with(&was(name), value)
    })
}

/// The hidden fields.
pub fn hidden(form: &Form, names: &[&str]) -> Markup {
    html! {
        @for name in names { input type="hidden" name=(was(name)) value=(form.text(&was(name))); }
    }
}

/// Browsers remove line breaks from single-line fields.
fn flat(form: &Form, name: &str) -> String {
    form.text(name).replace(['\r', '\n'], "")
}

/// Whether a field was edited. A field that the form does not have was not.
pub fn is_typed(form: &Form, name: &str) -> bool {
    !form.all(name).is_empty() && flat(form, name) != flat(form, &was(name))
}

/// Checks that what the form showed is still the case `now`.
///
/// # Errors
/// [`Code::ChangedMeanwhile`], with a message for each field that has changed.
pub fn check(form: &Form, now: &Form, names: &[&str], what: Refuse) -> Result<()> {
    if names.iter().any(|name| form.all(&was(name)).is_empty()) {
        return Err(refuse(
            Code::ChangedMeanwhile,
            "the form lacks the values that it showed",
            "reload the page and submit the form again",
        ));
    }
    let changed = |name: &&&str| {
        let matters = what == Refuse::Any || is_typed(form, name);
        matters && flat(form, &was(name)) != flat(now, name)
    };
    let mut faults: Vec<Fault> = names
        .iter()
        .filter(changed)
        .flat_map(|name| {
            let (before, after) = (form.text(&was(name)), now.text(name));
            let fact = format_args!(
                "changed while this page was open, from {} to {}",
                quoted(before),
                quoted(after)
            );
            let changed = told(Code::ChangedMeanwhile, fact);
            changed.field(name).into_faults()
        })
        .collect();
    if faults.is_empty() {
        return Ok(());
    }
    let next = "what you typed is still below: compare it with what has changed, then save again";
    faults.extend(refuse(Code::ChangedMeanwhile, "nothing was saved", next).into_faults());
    Err(refuse_all(faults).with_kind(Kind::Stale))
}

fn quoted(text: &str) -> String {
    match text {
        "" => "nothing".to_owned(),
        text => format!("“{text}”"),
    }
}

/// What a refused form shows: what was typed, and everything else as it is `now`.
#[must_use]
pub fn merged(form: &Form, now: Form, names: &[&str]) -> Form {
    names.iter().fold(showing(now, names), |merged, name| {
        match is_typed(form, name) {
            true => merged.with(name, form.text(name)),
            false => merged,
        }
    })
}

/// The refusal of a button whose subject has changed since the page was made.
pub fn changed() -> Error {
    refuse(
        Code::ChangedMeanwhile,
        "this was changed while the page was open, so nothing was done",
        "look at its current state, then decide again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["name", "scopes"];

    fn form(name: &str, scopes: &str) -> Form {
        Form::default().with("name", name).with("scopes", scopes)
    }

    #[test]
    fn a_change_under_a_form_is_named_and_what_was_typed_is_kept() {
        let shown = showing(form("a", "read write"), &NAMES);
        assert_eq!(
            check(&shown, &form("a", "read write"), &NAMES, Refuse::Any),
            Ok(())
        );
        let sent = shown.with("name", "b");
        let now = form("a", "read");
        let error = check(&sent, &now, &NAMES, Refuse::Any).unwrap_err();
        assert_eq!(error.kind(), Kind::Stale);
        assert_eq!(
            error.faults()[0].words(keystile_model::error::Surface::Console),
            "`scopes`: changed while this page was open, from “read write” to “read”"
        );
        assert_eq!(check(&sent, &now, &NAMES, Refuse::Typed), Ok(()));
        let again = merged(&sent, now.clone(), &NAMES);
        assert_eq!((again.text("name"), again.text("scopes")), ("b", "read"));
        assert_eq!(check(&again, &now, &NAMES, Refuse::Any), Ok(()));
        assert!(is_typed(&again, "name") && !is_typed(&again, "scopes"));
    }

    #[test]
    fn a_form_that_does_not_say_what_it_showed_is_refused() {
        let now = form("a", "");
        let error = check(&now, &now, &NAMES, Refuse::Any).unwrap_err();
        assert_eq!(error.kind(), Kind::Stale);
    }
}
