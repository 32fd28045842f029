//! Usage settings: how long it is kept, what counts as an anomaly, and what the policy lets Envoys
//! report.

use axum::response::Response;
use maud::{Markup, html};

use super::context::{PageContext, SubmittedForm};
use super::form::Form;
use super::page::{FormState, Page, Section};
use super::snapshot::{self, Refuse, was};
use super::widgets::{self, field};
use keystile_api::usage::{Configure, Forget, ShowSettings};
use keystile_api::{Operation as _, policy};
use keystile_model::error::{Code, Result, refuse, refuse_all};
use keystile_model::when;
use keystile_model::wire::Span;
use keystile_registry::usage::UsageSettings;
use keystile_server::problem::Problem;

const PATH: &str = "/console/settings";
/// The word to type to confirm forgetting.
const WORD: &str = "forget";

/// A setting: its field, its label, its hint, and how to read it.
struct Setting(
    &'static str,
    &'static str,
    &'static str,
    fn(&UsageSettings) -> String,
);

/// How long usage is kept.
const RETENTION: [Setting; 3] = [
    Setting("minutes", "Counts by minute", "An hour at least.", |s| {
        span(&s.minutes)
    }),
    Setting("hours", "Counts by hour", "A day at least.", |s| {
        span(&s.hours)
    }),
    Setting(
        "days",
        "Counts by day",
        "Networks and anomalies are kept as long.",
        |s| span(&s.days),
    ),
];

/// The rules for anomalies.
const RULES: [Setting; 6] = [
    Setting(
        "spike_factor",
        "Spike: times the usual",
        "An hour exceeds the highest hour of the previous 7 days by this factor.",
        |s| s.spike_factor.to_string(),
    ),
    Setting(
        "spike_minimum",
        "Spike: requests at least",
        "And the hour has more requests than this.",
        |s| s.spike_minimum.to_string(),
    ),
    Setting(
        "network_learning",
        "New network: after",
        "No new network is reported until this long after the first use of a key.",
        |s| span(&s.network_learning),
    ),
    Setting(
        "scope_denials",
        "Scope denials: in an hour",
        "This many requests lacked a scope.",
        |s| s.scope_denials.to_string(),
    ),
    Setting(
        "rotation_notice",
        "Rotated key in use: time left",
        "A replaced key is still let in when it has no more than this time left.",
        |s| span(&s.rotation_notice),
    ),
    Setting(
        "revoked_tries",
        "Revoked key tried: in an hour",
        "This many requests used it.",
        |s| s.revoked_tries.to_string(),
    ),
];

fn span(span: &Span) -> String {
    match span.0 {
        0 => "0".to_owned(),
        seconds => when::duration(seconds),
    }
}

fn all() -> impl Iterator<Item = &'static Setting> {
    RETENTION.iter().chain(&RULES)
}

fn names() -> Vec<&'static str> {
    all().map(|Setting(name, ..)| *name).collect()
}

/// Settings as the fields of the form that changes them.
fn current(settings: &UsageSettings) -> Form {
    let read = |form: Form, Setting(name, _, _, read): &Setting| form.with(name, read(settings));
    all().fold(Form::default(), read)
}

/// What is in force, and for an owner the form to change it.
pub async fn show(cx: PageContext) -> Response {
    let page = page(&cx, None, None).await;
    cx.shown(page)
}

async fn page(
    cx: &PageContext,
    sent: Option<&Form>,
    problem: Option<&Problem>,
) -> Result<Page, Problem> {
    let settings = cx.run(ShowSettings {}).await?;
    let policy = cx.run(policy::Show { revision: None }).await?.policy;
    let now = current(&settings);
    let held = match sent {
        Some(sent) if sent.text("do") != WORD => snapshot::merged(sent, now, &names()),
        _ => snapshot::showing(now, &names()),
    };
    let body = html! {
        @if cx.may::<Configure>() {
            (changing(cx, &held, problem.filter(|_| sent.is_none_or(|s| s.text("do") != WORD))))
        } @else {
            (shown("kept", "How long usage is kept", &RETENTION, &settings))
            (shown("odd", "What counts as an anomaly", &RULES, &settings))
            p.soft { "0 switches a rule off. An owner changes these settings." }
        }
        (told(cx, policy.get("report")))
        @if cx.may::<Forget>() { (forgetting(cx, sent, problem)) }
    };
    Ok(Page::new(Section::Settings, "Usage settings", body).refused(problem))
}

fn shown(id: &str, title: &str, some: &[Setting], settings: &UsageSettings) -> Markup {
    let facts = some.iter().map(|Setting(_, label, _, read)| {
        let value = read(settings);
        (*label, html! { code { (value) } })
    });
    html! {
        section.card aria-labelledby=(id) {
            h2 id=(id) { (title) }
            (widgets::facts(facts.collect()))
        }
    }
}

fn changing(cx: &PageContext, form: &Form, problem: Option<&Problem>) -> Markup {
    let draft = FormState::new(form, problem);
    let fields = |some: &[Setting]| {
        html! {
            div.grid {
                @for Setting(name, label, hint, _) in some {
                    input type="hidden" name=(was(name)) value=(form.text(&was(name)));
                    (field(name, label).hint(hint).needed().line(&draft))
                }
            }
        }
    };
    html! {
        section.card aria-labelledby="change" {
            h2 #change { "Retention and anomalies" }
            (draft.summary())
            form method="post" action=(PATH) {
                (cx.seal())
                fieldset { legend { "Kept for" } (fields(&RETENTION)) }
                fieldset {
                    legend { "Anomalies" }
                    p.soft { "0 switches a rule off." }
                    (fields(&RULES))
                }
                button type="submit" { "Save" }
            }
        }
    }
}

/// What Envoys report is decided by the policy.
fn told(cx: &PageContext, report: Option<&serde_json::Value>) -> Markup {
    let counted = report.filter(|r| r.get("usage").is_none_or(|u| u == true));
    let facts = counted.map(|report| {
        let address = report.get("address").and_then(|a| a.as_str());
        let address = match address.unwrap_or("truncated") {
            "full" => "in full",
            "none" => "not reported",
            _ => "truncated to the network",
        };
        let agent = match report.get("agent").is_some_and(|a| a == true) {
            true => "told",
            false => "not reported",
        };
        vec![
            ("Requests", html! { "by key, route and outcome" }),
            ("Addresses", html! { (address) }),
            ("User agents", html! { (agent) }),
        ]
    });
    html! {
        section.card aria-labelledby="told" {
            h2 #told { "What Envoys report" }
            @match facts {
                Some(facts) => (widgets::facts(facts)),
                None => p { "Nothing: the policy does not ask them to count." },
            }
            p.soft {
                "This is " code { "report" } " in "
                a href={ @if cx.may::<policy::Apply>() { "/console/policy/edit" } @else { "/console/policy" } } { "the policy" }
                "."
            }
        }
    }
}

fn forgetting(cx: &PageContext, sent: Option<&Form>, problem: Option<&Problem>) -> Markup {
    let empty = Form::default();
    let sent = sent.filter(|form| form.text("do") == WORD);
    let draft = FormState::new(sent.unwrap_or(&empty), problem.filter(|_| sent.is_some()));
    html! {
        section.card aria-labelledby="forget" {
            h2 #forget { "Forget" }
            p { "Permanently removes the addresses, networks and user agents of all keys. Counts stay." }
            (draft.summary())
            form method="post" action={ (PATH) "/forget" } data-confirm=(WORD) {
                (cx.seal())
                (field("confirm", &format!("Type {WORD} to confirm")).needed().line(&draft))
                button.danger type="submit" { "Forget permanently" }
            }
        }
    }
}

/// Changes the edited fields, unless they have changed in the meantime, and leaves all others as
/// they are.
pub async fn update(SubmittedForm { cx, form }: SubmittedForm) -> Response {
    let done = match typed(&form) {
        Ok(asked) => changed(&cx, &form, asked).await,
        Err(problem) => Err(problem),
    };
    match done {
        Ok(()) => cx.go(PATH, "updated"),
        Err(problem) => {
            let page = page(&cx, Some(&form), Some(&problem)).await;
            cx.shown(page)
        }
    }
}

async fn changed(cx: &PageContext, form: &Form, asked: Configure) -> Result<(), Problem> {
    let form = form.clone();
    cx.with::<Configure, _>("", move |store, world| {
        store.together(|store| {
            let now = current(&ShowSettings {}.run(store, world)?);
            snapshot::check(&form, &now, &names(), Refuse::Typed)?;
            asked.run(store, world).map(drop)
        })
    })
    .await
}

fn typed(form: &Form) -> Result<Configure, Problem> {
    let typed = names()
        .into_iter()
        .filter(|name| snapshot::is_typed(form, name));
    let mut asked = Form::default();
    let mut empty = Vec::new();
    for name in typed {
        match form.given(name) {
            Some(value) => asked = asked.with(name, value),
            None => {
                let next = format!("write a value, such as `{}`", form.text(&was(name)));
                let nothing = refuse(Code::FieldMissing, "this field is empty", next);
                empty.extend(nothing.field(name).into_faults());
            }
        }
    }
    if !empty.is_empty() {
        return Err(refuse_all(empty).into());
    }
    Ok(asked.operation(&[])?)
}

/// Forgets the addresses and user agents that used keys.
pub async fn forget(SubmittedForm { cx, form }: SubmittedForm) -> Response {
    let form = form.with("do", WORD);
    let done = match form.text("confirm") {
        WORD => cx.run(Forget {}).await,
        _ => Err(super::form::unconfirmed(WORD, "type it to continue").into()),
    };
    match done {
        Ok(_) => cx.go(PATH, "forgotten"),
        Err(problem) => {
            let page = page(&cx, Some(&form), Some(&problem)).await;
            cx.shown(page)
        }
    }
}
