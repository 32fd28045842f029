//! The revisions of the policy, and putting one of them in force again.

use axum::response::Response;
use maud::html;

use super::attempt;
use super::editor::meaning;
use crate::confirm::{Confirmation, unless_sure};
use crate::context::{PageContext, SubmittedForm};
use crate::form::Form;
use crate::page::{Page, Section};
use crate::snapshot::SEEN;
use crate::widgets::{self, chip, number, time};
use keystile_api::Operation as _;
use keystile_api::policy::{History, RevisionView, Rollback, Show};
use keystile_model::error::{Code, refuse};
use keystile_server::problem::Problem;

/// The revisions of the policy.
pub async fn show(cx: PageContext) -> Response {
    let page = page(&cx).await;
    cx.shown(page)
}

async fn page(cx: &PageContext) -> Result<Page, Problem> {
    let all = cx.run(History {}).await?.revisions;
    let last = all.last().map(|r| r.revision);
    let row = |r: &RevisionView| {
        let n = r.revision;
        vec![
            html! { a href={ "/console/policy?revision=" (n) } { "Revision " (n) } },
            time(r.applied.0, cx.now),
            html! { (number(r.lines)) " lines" },
            html! {
                @if Some(n) == last {
                    (chip("active")) " in force"
                } @else if cx.may::<Rollback>() {
                    form method="post" action="/console/policy/rollback" {
                        (cx.seal())
                        input type="hidden" name="revision" value=(n);
                        input type="hidden" name=(SEEN) value=(last.unwrap_or_default());
                        button.quiet.small type="submit" aria-label={ "Put revision " (n) " in force again" } { "Put in force again" }
                    }
                }
            },
        ]
    };
    let body = widgets::table(
        "Revisions",
        &["Revision", "Applied", "Size", ""],
        all.iter().rev().map(row).collect(),
        "No policy has been applied yet.",
    );
    Ok(Page::new(Section::Policy, "History of the policy", body).up("/console/policy", "Policy"))
}

/// Shows what a former revision would change, before it is put in force again.
async fn asking(cx: &PageContext, form: &Form) -> Result<Page, Problem> {
    let asked = form.operation::<Rollback>(&[])?;
    // What may not be done is refused before it is asked about.
    cx.with::<Rollback, _>("", |_, _| Ok(())).await?;
    let revision = asked.revision;
    let former = cx
        .run(Show {
            revision: Some(revision),
        })
        .await?;
    let tried = attempt(cx, former.text).await?;
    let back = "/console/policy/history";
    let question = Confirmation {
        title: format!("Put revision {revision} in force again?"),
        effect: meaning(&tried),
        action: "/console/policy/rollback",
        button: &format!("Put revision {revision} in force"),
        back,
        typed: None,
        instead: html! {},
    };
    let page = question.page(cx, Section::Policy, form, None);
    Ok(page.up(back, "History"))
}

/// Puts one of them in force again, once that is confirmed, if the one in force is the one that
/// the page showed.
pub async fn rollback(SubmittedForm { cx, form }: SubmittedForm) -> Response {
    if let Some(question) = unless_sure(&cx, &form, asking(&cx, &form)).await {
        return question;
    }
    let done = match form.operation::<Rollback>(&[]) {
        Ok(asked) => rolled_back(&cx, &form, asked).await,
        Err(e) => Err(e.into()),
    };
    match done {
        Ok(true) => cx.go("/console/policy", "applied"),
        Ok(false) => cx.go("/console/policy", "unchanged"),
        Err(problem) => cx.shown(Err(problem)),
    }
}

async fn rolled_back(cx: &PageContext, form: &Form, asked: Rollback) -> Result<bool, Problem> {
    let seen = form.text(SEEN).to_owned();
    let (asked, ahead) = cx.read_ahead(asked).await?;
    cx.with::<Rollback, _>("", move |store, world| {
        store.together(|store| {
            let current = Show { revision: None }.run(store, world)?.revision;
            if current.to_string() != seen {
                return Err(refuse(
                    Code::ChangedMeanwhile,
                    format_args!("revision {current} was applied since you loaded the history"),
                    "reload the page, then choose again",
                ));
            }
            Ok(asked.run_after(store, world, &ahead)?.changed)
        })
    })
    .await
}
