//! Webhooks.

pub mod attempts;
mod outcome;

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};

use super::confirm::{Confirmation, unless_sure};
use super::context::{PageContext, SubmittedForm};
use super::form::Form;
use super::page::{FormState, Page, Section};
use super::snapshot::{self, Refuse};
use super::widgets::{self, field, number};
use keystile_api::webhook::{Create, Delete, List, WebhookView};
use keystile_api::{Operation as _, encoded};
use keystile_model::{events, plural};
use keystile_server::problem::Problem;

/// All requests.
pub async fn list(cx: PageContext) -> Response {
    let page = page(&cx, &Form::default(), None).await;
    cx.shown(page)
}

async fn page(cx: &PageContext, form: &Form, problem: Option<&Problem>) -> Result<Page, Problem> {
    let all = cx.run(List {}).await?.webhooks;
    let draft = FormState::new(form, problem);
    let row = |w: &WebhookView| {
        vec![
            html! { a href={ "/console/webhooks/" (encoded(&w.name)) } { (w.name) } },
            html! { code.long { (w.url) } },
            widgets::tags(&w.events),
            outcome::state(w),
            html! {
                @match &w.last_delivery {
                    Some(last) => { (outcome::answer(last)) " " span.soft { (widgets::ago(last.at.0, cx.now)) } },
                    None => span.soft { "nothing sent yet" },
                }
            },
            html! { (number(w.waiting)) },
            html! {
                @if cx.may::<Delete>() {
                    form method="post" action={ "/console/webhooks/" (encoded(&w.name)) "/delete" } {
                        (cx.seal()) (snapshot::hidden(&snapshot::showing(current(w), &FIELDS), &FIELDS))
                        button.quiet.small.danger type="submit" aria-label={ "Remove " (w.name) } { "Remove" }
                    }
                }
            },
        ]
    };
    let body = html! {
        (widgets::table(
            "Webhooks",
            &["Webhook", "Address", "Events", "State", "Last answer", "Waiting", ""],
            all.iter().map(row).collect(),
            "There are no webhooks. One tells another program what happens here: that a key expires soon, was revoked or has leaked.",
        ))
        @if cx.may::<Create>() {
            section.card aria-labelledby="new" {
                h2 #new { "New webhook" }
                (draft.summary())
                form method="post" action="/console/webhooks" {
                    (cx.seal()) (cx.nonce(form))
                    div.grid {
                        (field("name", "Name").needed().placeholder("ops").line(&draft))
                        (field("url", "Address").needed().placeholder("https://hooks.example.com/keystile").line(&draft))
                        (field("events", "Events").placeholder("key.revoke key.*").hint("Actions of the audit log. Empty: all.").list("known-events").line(&draft))
                    }
                    (known_events())
                    button type="submit" { "Create" }
                }
            }
        }
    };
    Ok(Page::new(Section::Webhooks, "Webhooks", body).refused(problem))
}

/// What can be chosen from while events are typed.
fn known_events() -> Markup {
    html! {
        datalist id="known-events" {
            @for event in events::EVENTS { option value=(event) {} }
        }
    }
}

/// Makes one.
pub async fn create(SubmittedForm { cx, form }: SubmittedForm) -> Response {
    let done = match form.operation::<Create>(&["events"]) {
        Ok(asked) => cx.once(asked, &form).await,
        Err(e) => Err(e.into()),
    };
    let page = match done {
        Ok(made) => {
            let secret = made.as_ref().and_then(|m| m.secret.as_ref());
            let body = html! {
                section.card {
                    @if let Some(secret) = secret {
                        (widgets::secret(secret.expose_secret(), "Its secret"))
                        p { "The receiver uses it to check that messages come from here." }
                    } @else {
                        (widgets::already_done("If it is lost, remove the webhook and create it again."))
                    }
                    p { a.button href="/console/webhooks" { "Continue" } }
                }
            };
            let title = format!("Webhook {}", form.text("name"));
            Ok(Page::new(Section::Webhooks, title, body))
        }
        Err(problem) => page(&cx, &form, Some(&problem)).await,
    };
    cx.shown(page)
}

/// What distinguishes a webhook from a later one of the same name.
const FIELDS: [&str; 3] = ["url", "events", "created"];

fn current(hook: &WebhookView) -> Form {
    Form::default()
        .with("url", hook.url.as_str())
        .with("events", hook.events.join(" "))
        .with("created", keystile_model::when::rfc3339(hook.created.0))
}

async fn asking(cx: &PageContext, name: &str, form: &Form) -> Result<Page, Problem> {
    let all = cx.with::<Delete, _>(name, |store, world| List {}.run(store, world));
    let all = all.await?.webhooks;
    let waiting = all.iter().find(|w| w.name == name).map_or(0, |w| w.waiting);
    let question = Confirmation {
        title: format!("Remove the webhook {name}?"),
        effect: html! {
            p {
                "Its receiver gets no more messages. "
                @if waiting > 0 { strong { (plural::count(usize::try_from(waiting).unwrap_or(usize::MAX), "message")) } " that it has not received yet will be discarded. " }
                "Its secret is lost: a new webhook gets another one."
            }
        },
        action: &format!("/console/webhooks/{}/delete", encoded(name)),
        button: "Remove webhook",
        back: "/console/webhooks",
        typed: None,
        instead: html! {},
    };
    let page = question.page(cx, Section::Webhooks, form, None);
    Ok(page.up("/console/webhooks", "Webhooks"))
}

/// Removes a webhook, once that is confirmed, if it is the one that the page showed.
pub async fn delete(
    Path(name): Path<String>,
    SubmittedForm { cx, form }: SubmittedForm,
) -> Response {
    if let Some(question) = unless_sure(&cx, &form, asking(&cx, &name, &form)).await {
        return question;
    }
    let done = cx
        .with::<Delete, _>(&name.clone(), move |store, world| {
            store.together(|store| {
                let all = List {}.run(store, world)?.webhooks;
                if let Some(now) = all.iter().find(|w| w.name == name) {
                    snapshot::check(&form, &current(now), &FIELDS, Refuse::Any)?;
                }
                Delete { name }.run(store, world)
            })
        })
        .await;
    match done {
        Ok(_) => cx.go("/console/webhooks", "webhook-removed"),
        Err(problem) => cx.shown(Err(problem)),
    }
}
