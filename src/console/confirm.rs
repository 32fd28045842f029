//! The question before something that is hard to undo, with its effect stated.

use axum::response::Response;
use maud::{Markup, html};

use super::context::PageContext;
use super::form::Form;
use super::page::{FormState, Page, Section};
use super::widgets::field;
use keystile_server::problem::Problem;

/// The field that says that the question was answered.
const SURE: &str = "sure";

/// Whether a form comes from the page that asked.
fn is_sure(form: &Form) -> bool {
    form.has(SURE, "true")
}

/// The question, unless the form comes from the page that asked it.
pub async fn unless_sure(
    cx: &PageContext,
    form: &Form,
    question: impl Future<Output = Result<Page, Problem>>,
) -> Option<Response> {
    match is_sure(form) {
        true => None,
        false => Some(cx.shown(question.await)),
    }
}

/// What is asked.
pub struct Confirmation<'a> {
    /// The headline: `Revoke 3 keys?`
    pub title: String,
    /// What will happen, and to whom.
    pub effect: Markup,
    /// Where the answer goes.
    pub action: &'a str,
    /// The word on the button.
    pub button: &'a str,
    /// Where the way back leads.
    pub back: &'a str,
    /// What has to be typed, if anything; then a reason can be given, too.
    pub typed: Option<String>,
    /// Something milder, below.
    pub instead: Markup,
}

impl Confirmation<'_> {
    /// The page that asks; it sends the fields of the form once more.
    pub fn page(
        &self,
        cx: &PageContext,
        section: Section,
        form: &Form,
        problem: Option<&Problem>,
    ) -> Page {
        let draft = FormState::new(form, problem);
        let kept = form.clone().without("csrf").without("confirm");
        let kept = kept.without("reason").without(SURE);
        let body = html! {
            section.card.question {
                (self.effect)
                (draft.summary())
                form method="post" action=(self.action) data-confirm=[self.typed.as_deref()] {
                    (cx.seal())
                    (kept.hidden())
                    input type="hidden" name=(SURE) value="true";
                    @if let Some(typed) = &self.typed {
                        (field("reason", "Reason").hint("For the audit log.").line(&draft))
                        (field("confirm", &format!("Type {typed} to confirm")).needed().line(&draft))
                    }
                    div.row {
                        button.danger type="submit" { (self.button) }
                        a.button.quiet href=(self.back) { "Cancel" }
                    }
                }
                (self.instead)
            }
        };
        Page::new(section, self.title.clone(), body).refused(problem)
    }
}
