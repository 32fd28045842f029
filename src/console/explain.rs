//! Why a request is let in or refused. The key is posted, so that it is never in a URL.

use axum::response::Response;
use maud::{Markup, html};

use super::context::{PageContext, SubmittedForm};
use super::form::Form;
use super::page::{FormState, Page, Section};
use super::widgets::{self, field, time};
use keystile_api::explain::{Explain, Explanation};
use keystile_server::problem::Problem;

/// The form, filled from the URL except for secrets.
pub async fn form(cx: PageContext) -> Response {
    let form = cx.query.clone().without("key");
    let page = page(&cx, &form, None, None);
    cx.shown(Ok(page))
}

/// The answer.
pub async fn ask(SubmittedForm { cx, form }: SubmittedForm) -> Response {
    let asked = form.clone().without("tls").without("key");
    let done = match asked.operation::<Explain>(&[]) {
        Ok(mut asked) => {
            asked.key = form.secret("key");
            asked.tls = form.has("tls", "true");
            cx.run(asked).await
        }
        Err(e) => Err(e.into()),
    };
    // An id may be shown again; anything longer may be a full key.
    let form = match form.text("key").len() {
        0..=10 => form,
        _ => form.without("key"),
    };
    let page = match &done {
        Ok(answer) => page(&cx, &form, None, Some(answer)),
        Err(problem) => page(&cx, &form, Some(problem), None),
    };
    cx.shown(Ok(page))
}

fn page(
    cx: &PageContext,
    form: &Form,
    problem: Option<&Problem>,
    answer: Option<&Explanation>,
) -> Page {
    let draft = FormState::new(form, problem);
    let methods: Vec<(String, String)> =
        ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
            .iter()
            .map(|m| ((*m).to_owned(), (*m).to_owned()))
            .collect();
    let body = html! {
        form.card method="post" action="/console/explain" {
            (cx.seal())
            (draft.summary())
            div.grid {
                (field("key", "Key").placeholder("id, or the whole key").hint("It is not stored.").line(&draft))
                (field("method", "Method").choice(&draft, &methods))
                (field("path", "Path").needed().placeholder("/v1/users/7").line(&draft))
                (field("host", "Host").placeholder("api.example.com").line(&draft))
                (field("ip", "From address").placeholder("192.0.2.1").line(&draft))
                (field("at", "When").placeholder("now").line(&draft))
            }
            label.check {
                input type="checkbox" name="tls" value="true" checked[form.has("tls", "true")];
                span { "Over TLS" }
            }
            button type="submit" { "Explain" }
        }
        @if let Some(answer) = answer { (told(answer, cx.now)) }
    };
    Page::new(Section::Explain, "Explain a request", body).refused(problem)
}

fn told(answer: &Explanation, now: u64) -> Markup {
    let good = answer.code == "ok";
    html! {
        section.card aria-labelledby="verdict" {
            h2 #verdict class={ @if good { "good" } @else { "bad" } } {
                @if good { "Let in" } @else { "Refused: " (answer.status) " " code { (answer.code) } }
            }
            @if !good || !answer.limits_seen { p { (super::form::sentence(&answer.detail)) } }
            @if let Some(hint) = &answer.hint { p.soft { (super::form::sentence(hint)) } }
            @if !good && answer.shadow { (widgets::hint(html! { p { "The policy is in shadow mode: the request is counted as refused, but let in." } })) }
            ol.rules {
                @for rule in &answer.rules {
                    li class={ @if rule.held { "held" } @else { "broken" } } {
                        span.verdict { @if rule.held { "holds" } @else { "fails" } }
                        div { strong { (rule.rule) } p { (rule.text) } }
                    }
                }
            }
            (widgets::facts(vec![
                ("Client", html! { @if let Some(client) = &answer.client { (client) } @else { span.soft { "nobody" } } }),
                ("Key", html! { @if let Some(key) = &answer.key { a href={ "/console/keys/" (key) } { code { (key) } } } @else { span.soft { "none" } } }),
                ("Route", html! { @if let Some(route) = &answer.route { code { (route) } } @else { span.soft { "none" } } }),
                ("Time", time(answer.at.0, now)),
                ("Keyset", html! { code { (answer.keyset_version) } }),
            ]))
        }
    }
}
