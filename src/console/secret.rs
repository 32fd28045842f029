//! What is shown once: a key, a token, the secret of a webhook.

use maud::{Markup, html};

/// A secret, shown only once.
pub fn secret(text: &str, word: &str) -> Markup {
    html! {
        div.secret {
            label for="secret" { (word) }
            div.row {
                input #secret type="text" readonly value=(text) autocomplete="off" spellcheck="false" data-select;
                button type="button" data-copy="secret" { "Copy" }
            }
            p.soft { "It is shown only once and stored nowhere. Save it before you leave this page." }
        }
    }
}

/// The answer to a form that was sent again after its secret was shown; `next` says what to do
/// without it.
pub fn already_done(next: &str) -> Markup {
    html! {
        div.note {
            p { strong { "This was already done." } " The secret was shown then and is stored nowhere. " (next) }
        }
    }
}
