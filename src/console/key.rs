//! Keys: lists, and a key with everything that can be done to it.

mod clients;
mod facts;
mod list;
mod off;
mod several;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};

use super::context::{PageContext, SubmittedForm};
use super::form::{Form, pairs_text};
use super::page::{FormState, Page, Section};
use super::sign_in::is_client;
use super::snapshot::{self, Refuse};
use super::usage::{self, UsageOf};
use super::widgets;
use super::widgets::field;
pub use clients::choose;
use facts::{facts, lately};
use keystile_api::audit;
use keystile_api::key::{KeyView, Revoke, Show, Update};
use keystile_api::{Operation as _, encoded};
use keystile_model::error::Result;
use keystile_model::key::PROPERTIES;
use keystile_model::record::Status;
use keystile_model::wire::{Id, labels};
use keystile_server::problem::Problem;
pub use list::{filters, found, list, listed, rows};
pub use off::{disable, enable, revoke};
pub use several::several;

/// One key.
pub async fn show(cx: PageContext, Path(id): Path<String>) -> Response {
    let page = page(&cx, &id, None, None).await;
    cx.shown(page)
}

fn id(text: &str) -> Result<Id, Problem> {
    let form = Form::default().with("id", text);
    Ok(form.operation::<Show>(&[])?.id)
}

/// A key, with the result of a form about it.
async fn page(
    cx: &PageContext,
    text: &str,
    sent: Option<&Form>,
    problem: Option<&Problem>,
) -> Result<Page, Problem> {
    let key = cx.run(Show { id: id(text)? }).await?;
    let used = usage::seen(cx, UsageOf::Key(key.id.clone())).await?;
    let left = usage::quotas(cx, vec![key.id.clone()]).await?;
    let left = left.and_then(|all| all.into_iter().next());
    let own = format!("/console/keys/{}", key.id.0);
    let records = match cx.may::<audit::List>() {
        true => {
            let asked = audit::List {
                subject: Some(key.id.0.to_string()),
                limit: Some(10),
                ..audit::List::default()
            };
            Some(cx.run(asked).await?.records)
        }
        false => None,
    };
    let client = format!("/console/clients/{}", encoded(&key.client));
    let acts = cx.may::<Revoke>();
    let day = usage::last_day(cx, vec![UsageOf::Key(key.id.clone())]).await?;
    let day = day.and_then(|days| days.into_iter().next());
    let effect = usage::in_use(&key, day, cx.now);
    let body = html! {
        (facts(&key, cx.now))
        (lately(&key, left.as_ref(), cx.now))
        (used.shown(cx, &own))
        @if acts { (changes(cx, &key, &effect, sent, problem)) }
        @if let Some(records) = &records {
            section aria-labelledby="log" {
                h2 #log { "History" }
                (super::audit::rows(records, "No records yet."))
            }
        }
    };
    let title = match key.name.is_empty() {
        true => format!("Key {}", key.id.0),
        false => format!("{} ({})", key.name, key.id.0),
    };
    let page = Page::new(Section::Keys, title, body).refused(problem);
    Ok(match is_client(cx) {
        true => page.up("/console", "Your keys"),
        false => page.up(client, key.client.clone()),
    })
}

/// What can be done to it.
fn changes(
    cx: &PageContext,
    key: &KeyView,
    effect: &Markup,
    sent: Option<&Form>,
    problem: Option<&Problem>,
) -> Markup {
    let id = key.id.0.to_string();
    let revoked = key.status.0 == Status::Revoked;
    let held = snapshot::showing(current(key), &FIELDS);
    let form = sent.unwrap_or(&held);
    let of = |verb: &str| problem.filter(|_| form.text("do") == verb);
    let (rename, rotate, revoke) = (
        FormState::new(form, of("update")),
        FormState::new(form, of("rotate")),
        FormState::new(form, of("revoke")),
    );
    let enable = FormState::new(form, of("enable"));
    html! {
        @if revoked {
            (widgets::hint(html! { p { "This key is revoked permanently and can no longer be changed." } }))
        } @else {
            div.columns {
                (rotation(cx, key, form, &rotate))
                (off(cx, key, effect, &enable, &revoke))
            }
            (change(cx, &id, form, &rename))
        }
    }
}

fn rotation(cx: &PageContext, key: &KeyView, form: &Form, rotate: &FormState<'_>) -> Markup {
    let at = |verb: &str| format!("/console/keys/{}/{verb}", key.id.0);
    let expired = key.status.0 == Status::Expired;
    html! {
        section.card aria-labelledby="rotate" {
            h2 #rotate { "Rotate" }
            p { "A new key with the same rules replaces this one. This one goes on working for a while, so that you have time to switch over." }
            (rotate.summary())
            @if expired {
                p.soft { "This key has expired: create a new one instead." }
            } @else {
                form method="post" action=(at("rotate")) {
                    (cx.seal()) (cx.nonce(form)) (cx.seen(key))
                    (field("grace", "This one goes on working for").placeholder("24h").hint("24h, 7d, or 0 for not at all.").line(rotate))
                    button type="submit" { "Rotate" }
                }
                details {
                    summary { "The key was due, and its successor is ready" }
                    form method="post" action=(at("fetch")) {
                        (cx.seal()) (cx.nonce(form)) (cx.seen(key))
                        p { "If a plan rotates keys automatically, fetch the new key here; this works once." }
                        button.quiet type="submit" { "Fetch successor" }
                    }
                }
            }
        }
    }
}

/// Switching it off, for a while or for good.
fn off(
    cx: &PageContext,
    key: &KeyView,
    effect: &Markup,
    enable: &FormState<'_>,
    revoke: &FormState<'_>,
) -> Markup {
    let id = key.id.0.to_string();
    let at = |verb: &str| format!("/console/keys/{id}/{verb}");
    let own = is_client(cx);
    html! {
        section.card aria-labelledby="off" {
            (enable.summary())
            @if key.disabled {
                h2 #off { "Enable" }
                @if own {
                    p { "This key is disabled. The operator of this API can enable it again." }
                } @else {
                    p { "This key is disabled and can be enabled again." }
                    form method="post" action=(at("enable")) { (cx.seal()) (cx.seen(key)) button type="submit" { "Enable" } }
                }
            } @else {
                h2 #off { "Disable" }
                p {
                    (effect) " Its requests are refused until "
                    @if own { "the operator of this API enables" } @else { "you enable" } " it again."
                }
                form method="post" action=(at("disable")) { (cx.seal()) button.quiet type="submit" { "Disable" } }
            }
            h2 { "Revoke" }
            p {
                @if key.disabled { (effect) " " }
                "Revokes the key permanently: this cannot be undone. "
                @if !key.disabled { "Disabling it stops its requests as quickly." }
            }
            (revoke.summary())
            form method="post" action=(at("revoke")) data-confirm=(id) {
                (cx.seal())
                (field("reason", "Reason").hint("For the audit log.").line(revoke))
                (field("confirm", &format!("Type {id} to confirm")).needed().line(revoke))
                button.danger type="submit" { "Revoke permanently" }
            }
        }
    }
}

fn change(cx: &PageContext, id: &str, form: &Form, rename: &FormState<'_>) -> Markup {
    html! {
        section.card aria-labelledby="change" {
            h2 #change { "Change" }
            (rename.summary())
            form method="post" action={ "/console/keys/" (id) } {
                (cx.seal()) (snapshot::hidden(form, &FIELDS))
                div.grid {
                    @for property in PROPERTIES {
                        @if let Some(hint) = property.change_hint {
                            (field(property.name, property.label).placeholder(property.placeholder).hint(hint).line(rename))
                        }
                    }
                }
                button type="submit" { "Save" }
            }
        }
    }
}

/// The fields of the form that changes a key.
static FIELDS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let changed = PROPERTIES.iter().filter(|p| p.change_hint.is_some());
    changed.map(|p| p.name).collect()
});

/// A key as the fields of the form that changes it.
fn current(key: &KeyView) -> Form {
    let form = Form::default().with("grace", "24h");
    let fields = key.words().filter(|(p, _)| p.change_hint.is_some());
    fields.fold(form, |form, (property, held)| match property.name {
        "labels" => form.with("labels", pairs_text(&key.labels)),
        name => form.with(name, held.join(" ")),
    })
}

/// Changes the edited fields, if nothing that the form showed has changed.
pub async fn update(
    Path(text): Path<String>,
    SubmittedForm { cx, form }: SubmittedForm,
) -> Response {
    let form = form.with("do", "update");
    let word = match FIELDS.iter().any(|name| snapshot::is_typed(&form, name)) {
        true => "updated",
        false => "as-it-was",
    };
    match changed(&cx, &text, &form).await {
        Ok(()) => cx.go(&format!("/console/keys/{}", encoded(&text)), word),
        Err(problem) => again(&cx, &text, &form, problem).await,
    }
}

async fn changed(cx: &PageContext, text: &str, form: &Form) -> Result<(), Problem> {
    let update = typed(text, form)?;
    let form = form.clone();
    cx.with::<Update, _>(text, move |store, world| {
        store.together(|store| {
            let id = update.id.clone();
            let now = current(&Show { id }.run(store, world)?);
            snapshot::check(&form, &now, &FIELDS, Refuse::Any)?;
            update.run(store, world).map(drop)
        })
    })
    .await
}

/// The edited value.
fn typed(text: &str, form: &Form) -> keystile_model::error::Result<Update> {
    let mut update: Update = Form::default().with("id", text).operation(&[])?;
    let fields = PROPERTIES.iter().filter(|p| p.change_hint.is_some());
    for property in fields.filter(|p| snapshot::is_typed(form, p.name)) {
        match property.name {
            "labels" => {
                let (pairs, gone) = typed_labels(form)?;
                (update.labels, update.remove_labels) = (Some(pairs), gone);
            }
            name if property.many => update.set(name, &form.words(name))?,
            name => {
                let text = form.given(name).map(str::to_owned);
                update.set(name, text.as_slice())?;
            }
        }
    }
    Ok(update)
}

/// The labels to set, and the names of those to remove.
///
/// # Errors
/// What is not a label.
pub fn typed_labels(
    form: &Form,
) -> keystile_model::error::Result<(BTreeMap<String, String>, Vec<String>)> {
    let pairs: BTreeMap<String, String> = labels(&form.pairs("labels"))?.into_iter().collect();
    let before = form.pairs(&snapshot::was("labels"));
    let names = before.iter().filter_map(|p| Some(p.split_once('=')?.0));
    let gone = names.filter(|name| !pairs.contains_key(*name));
    let gone = gone.map(str::to_owned).collect();
    Ok((pairs, gone))
}

async fn again(cx: &PageContext, text: &str, form: &Form, problem: Problem) -> Response {
    let key = match cx
        .run(Show {
            id: match id(text) {
                Ok(id) => id,
                Err(p) => return cx.shown(Err(p)),
            },
        })
        .await
    {
        Ok(key) => key,
        Err(_) => return cx.shown(Err(problem)),
    };
    // Fields that the form does not have are shown as they are.
    let mut filled = snapshot::merged(form, current(&key), &FIELDS);
    for name in ["grace", "reason", "confirm", "do"] {
        if !form.all(name).is_empty() {
            filled = filled.with(name, form.text(name));
        }
    }
    let page = page(cx, text, Some(&filled), Some(&problem)).await;
    cx.shown(page)
}

/// The page after a refused form about a key.
pub async fn refused(cx: &PageContext, text: &str, form: Form, problem: Problem) -> Response {
    again(cx, text, &form, problem).await
}
