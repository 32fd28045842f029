//! The policy: what routes require, an editor that shows the effects of a change, and the history.

mod editor;
pub mod history;

use axum::response::Response;
use maud::{Markup, html};

use super::context::{PageContext, SubmittedForm};
use super::form::Form;
use super::guide::{limits_words, methods, needs};
use super::page::{Page, Section};
use super::widgets;
use editor::{Tried, editor, intended};
use keystile_api::policy::{Apply, Check, Compare, Show};
use keystile_api::{Operation as _, guide};
use keystile_model::error::{Code, Result, refuse};
use keystile_server::problem::Problem;

/// What is in force.
pub async fn show(cx: PageContext) -> Response {
    let page = page(&cx).await;
    cx.shown(page)
}

async fn page(cx: &PageContext) -> Result<Page, Problem> {
    let revision = match cx.query.given("revision") {
        Some(n) => Form::default().with("revision", n).operation::<Show>(&[])?,
        None => Show { revision: None },
    };
    let former = revision.revision.is_some();
    let policy = cx.run(revision).await?;
    let body = html! {
        @if former {
            (widgets::copyable("text", "As it was written", &policy.text))
        } @else {
            (in_force(&cx.run(guide::Show {}).await?))
            details {
                summary { "As it is written" }
                (widgets::copyable("text", "policy.yaml", &policy.text))
            }
        }
    };
    let title = match former {
        true => format!("Policy, revision {}", policy.revision),
        false => "Policy".to_owned(),
    };
    let page = Page::new(Section::Policy, title, body);
    let actions = html! {
        a.button.quiet href="/console/policy/history" { "History" }
        @if cx.may::<Apply>() && !former { a.button href="/console/policy/edit" { "Edit" } }
        @else if !former { a.button.quiet href="/console/policy/edit" { "Try a change" } }
    };
    Ok(match former {
        true => page.up("/console/policy/history", "History"),
        false => page,
    }
    .actions(actions))
}

fn in_force(guide: &guide::Guide) -> Markup {
    let routes = guide.routes.iter().map(|r| {
        vec![
            html! { code { (r.path) } },
            methods(r),
            html! { @if r.hosts.is_empty() { span.soft { "any" } } @else { (widgets::tags(&r.hosts)) } },
            needs(r),
            html! { (r.cost) },
            html! { @if let Some(limit) = &r.limit { code { (limit) } } @else { span.soft { "–" } } },
        ]
    });
    let plans = guide.plans.iter().map(|p| {
        vec![
            html! { code { (p.plan) } },
            limits_words(&p.limits),
            html! { @if let Some(quota) = &p.quota { (quota) } @else { span.soft { "none" } } },
        ]
    });
    html! {
        section aria-labelledby="routes" {
            h2 #routes { "Routes" }
            (widgets::table("Routes", &["Path", "Methods", "Hosts", "Needs", "Cost", "Limit"], routes.collect(), "There are no routes."))
            p.soft {
                "The most specific route wins. A request that no route matches "
                @if guide.unmatched_denied { "is refused." } @else { "needs any key." }
            }
        }
        section aria-labelledby="plans" {
            h2 #plans { "Plans" }
            (widgets::table("Plans", &["Plan", "Limits", "Quota"], plans.collect(), "There are no plans."))
        }
    }
}

/// The editor.
pub async fn edit(cx: PageContext) -> Response {
    let page = match cx.run(Show { revision: None }).await {
        Ok(policy) => {
            let form = Form::default()
                .with("text", policy.text)
                .with("revision", policy.revision.to_string());
            Ok(editor(&cx, &form, None, None))
        }
        Err(problem) => Err(problem),
    };
    cx.shown(page)
}

/// Checks a policy and shows its effects, or applies it.
pub async fn submit(SubmittedForm { cx, form }: SubmittedForm) -> Response {
    let text = form.lines("text");
    if form.text("do") == "apply" {
        match unconfirmed(&cx, &form).await {
            Ok(None) => {}
            Ok(Some(page)) => return cx.shown(Ok(page)),
            Err(problem) => return cx.shown(Ok(editor(&cx, &form, Some(&problem), None))),
        }
        match apply(&cx, &form, text.clone()).await {
            Ok(true) => return cx.go("/console/policy", "applied"),
            Ok(false) => return cx.go("/console/policy", "unchanged"),
            Err(problem) if problem.status == 412 => {
                return overtaken(&cx, form, text, &problem).await;
            }
            Err(problem) => {
                return cx.shown(Ok(editor(&cx, &form, Some(&problem), None)));
            }
        }
    }
    let page = match &attempt(&cx, text).await {
        Ok(tried) => editor(&cx, &form, None, Some(tried)),
        Err(problem) => editor(&cx, &form, Some(problem), None),
    };
    cx.shown(Ok(page))
}

/// The editor once more, if the policy opens something and that was not confirmed.
///
/// # Errors
/// It cannot be compared with the one in force; it is not applied then.
async fn unconfirmed(cx: &PageContext, form: &Form) -> Result<Option<Page>, Problem> {
    let text = form.lines("text");
    let tried = attempt(cx, text.clone()).await?;
    let is_asked = tried.opens() > 0 && form.text("opens") != intended(&text, &tried);
    Ok(is_asked.then(|| editor(cx, form, None, Some(&tried))))
}

/// Somebody applied another policy while this one was being written: the text is kept, and its
/// differences from that one are shown before it can be applied.
async fn overtaken(cx: &PageContext, form: Form, text: String, problem: &Problem) -> Response {
    let tried = attempt(cx, text).await.ok();
    let now = tried.as_ref().map(|t| t.compared.revision.to_string());
    let form = match now {
        Some(now) => form.with("revision", now),
        None => form,
    };
    cx.shown(Ok(editor(cx, &form, Some(problem), tried.as_ref())))
}

async fn attempt(cx: &PageContext, text: String) -> Result<Tried, Problem> {
    let name = "policy.yaml".to_owned();
    let checked = cx
        .run(Check {
            name: name.clone(),
            text: text.clone(),
        })
        .await?;
    let compared = cx.run(Compare { name, text }).await?;
    Ok(Tried { checked, compared })
}

/// Applies it, if nobody else has applied another one since it was loaded.
async fn apply(cx: &PageContext, form: &Form, text: String) -> Result<bool, Problem> {
    let seen = form.text("revision").to_owned();
    let name = "policy.yaml".to_owned();
    let (asked, ahead) = cx.read_ahead(Apply { name, text }).await?;
    cx
        .with::<Apply, _>("", move |store, world| {
            store.together(|store| {
                let current = Show { revision: None }.run(store, world)?.revision;
                if current.to_string() != seen {
                    return Err(refuse(
                        Code::ChangedMeanwhile,
                        format_args!("revision {current} was applied since you loaded this one"),
                        "what your text would change in that one is shown below: apply it if this is intended, or see that one under History",
                    ));
                }
                Ok(asked.run_after(store, world, &ahead)?.changed)
            })
        })
        .await
}
