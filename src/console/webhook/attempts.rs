//! A webhook: the attempts to deliver to it, and what can be done about them.

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};

use super::super::context::{PageContext, SubmittedForm};
use super::super::form::Form;
use super::super::page::{Page, Section};
use super::super::widgets::{self, ago, facts, number, time};
use super::outcome;
use keystile_api::audit;
use keystile_api::webhook::{
    Deliveries, DeliveryView, Pause, Resend, Resume, Show, Test, WebhookView,
};
use keystile_api::{Operation, encoded};
use keystile_model::plural;
use keystile_server::problem::Problem;

/// Attempts on the page: all that are kept.
const SHOWN: u32 = 200;

/// One webhook.
pub async fn show(Path(name): Path<String>, cx: PageContext) -> Response {
    let page = page(&cx, name).await;
    cx.shown(page)
}

async fn page(cx: &PageContext, name: String) -> Result<Page, Problem> {
    let hook = cx.run(Show { name: name.clone() }).await?;
    let asked = Deliveries {
        name: name.clone(),
        limit: Some(SHOWN),
    };
    let all = cx.run(asked).await?.deliveries;
    let body = html! {
        @if hook.paused.is_some() {
            div.note.warn {
                p { "Paused: nothing is sent. "
                    (plural::count(usize::try_from(hook.waiting).unwrap_or(usize::MAX), "message"))
                    @if hook.waiting == 1 { " waits." } @else { " wait." }
                }
            }
        }
        section.card { (told(cx, &hook)) }
        section aria-labelledby="attempts" {
            h2 #attempts { "Deliveries" }
            (attempts(cx, &hook, &all))
            @if !all.is_empty() {
                p.soft { "The last " (SHOWN) " attempts are kept. A message that is not accepted is sent again for three days." }
            }
        }
    };
    let title = format!("Webhook {}", hook.name);
    let page = Page::new(Section::Webhooks, title, body).up("/console/webhooks", "Webhooks");
    Ok(page.actions(actions(cx, &hook)))
}

fn told(cx: &PageContext, hook: &WebhookView) -> Markup {
    facts(vec![
        ("State", outcome::state(hook)),
        ("Address", html! { code { (hook.url) } }),
        ("Events", widgets::tags(&hook.events)),
        ("Waiting", html! { (number(hook.waiting)) }),
        ("Created", time(hook.created.0, cx.now)),
    ])
}

/// A button that does one thing to a webhook.
fn button(cx: &PageContext, hook: &WebhookView, verb: &str, word: &str) -> Markup {
    html! {
        form method="post" action={ "/console/webhooks/" (encoded(&hook.name)) "/" (verb) } {
            (cx.seal()) (cx.seen(hook))
            button.quiet type="submit" { (word) }
        }
    }
}

fn actions(cx: &PageContext, hook: &WebhookView) -> Markup {
    html! {
        @if cx.may::<Test>() {
            @if hook.paused.is_some() {
                (button(cx, hook, "resume", "Resume"))
            } @else {
                (button(cx, hook, "test", "Send a test event"))
                (button(cx, hook, "pause", "Pause"))
            }
        }
    }
}

fn attempts(cx: &PageContext, hook: &WebhookView, all: &[DeliveryView]) -> Markup {
    let row = |d: &DeliveryView| {
        vec![
            html! {
                code { (d.event) } " "
                @if cx.may::<audit::List>() {
                    a.soft href={ "/console/audit?before=" (d.audit_seq.saturating_add(1)) } { "record " (d.audit_seq) }
                } @else {
                    span.soft { "record " (d.audit_seq) }
                }
            },
            ago(d.at.0, cx.now),
            outcome::answer(d),
            html! { (number(d.took_ms)) " ms" },
            html! { (d.attempt) },
            html! {
                @match &d.next {
                    Some(next) => (ago(next.0, cx.now)),
                    None => span.soft { "–" },
                }
            },
            html! {
                @if cx.may::<Resend>() {
                    form method="post" action={ "/console/webhooks/" (encoded(&hook.name)) "/resend" } {
                        (cx.seal())
                        input type="hidden" name="audit_seq" value=(d.audit_seq);
                        button.quiet.small type="submit" aria-label={ "Resend the message about record " (d.audit_seq) ", attempt " (d.attempt) } { "Resend" }
                    }
                }
            },
        ]
    };
    widgets::table(
        "Deliveries",
        &["Event", "When", "Answer", "Took", "Attempt", "Again", ""],
        all.iter().map(row).collect(),
        "Nothing was sent yet. A test event shows whether the receiver is there.",
    )
}

/// Sends a test event.
pub async fn test(Path(name): Path<String>, SubmittedForm { cx, .. }: SubmittedForm) -> Response {
    let done = cx.run(Test { name: name.clone() }).await.map(drop);
    back(&cx, &name, done, "webhook-tested")
}

/// Sends a message once more.
pub async fn resend(
    Path(name): Path<String>,
    SubmittedForm { cx, form }: SubmittedForm,
) -> Response {
    let done = match form.with("name", name.clone()).operation::<Resend>(&[]) {
        Ok(asked) => cx.run(asked).await.map(drop),
        Err(e) => Err(e.into()),
    };
    back(&cx, &name, done, "webhook-resent")
}

/// Pauses it.
pub async fn pause(
    Path(name): Path<String>,
    SubmittedForm { cx, form }: SubmittedForm,
) -> Response {
    let asked = Pause { name: name.clone() };
    as_seen(&cx, &name, asked, &form, "webhook-paused").await
}

/// Lets it go on.
pub async fn resume(
    Path(name): Path<String>,
    SubmittedForm { cx, form }: SubmittedForm,
) -> Response {
    let asked = Resume { name: name.clone() };
    as_seen(&cx, &name, asked, &form, "webhook-resumed").await
}

async fn as_seen<O: Operation>(
    cx: &PageContext,
    name: &str,
    asked: O,
    form: &Form,
    done: &str,
) -> Response {
    let result = cx.unchanged(asked, form).await.map(drop);
    back(cx, name, result, done)
}

/// To the webhook's page after something was done.
fn back(cx: &PageContext, name: &str, done: Result<(), Problem>, word: &str) -> Response {
    match done {
        Ok(()) => cx.go(&format!("/console/webhooks/{}", encoded(name)), word),
        Err(problem) => cx.shown(Err(problem)),
    }
}
