//! Keys: lists of them, and one with all that can be done to it.

mod facts;
mod list;

use std::collections::BTreeMap;

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};

use super::door::is_client;
use super::form::{Form, pairs_text};
use super::held::{self, Refuse};
use super::page::{Draft, Page, Section};
use super::part;
use super::part::field;
use super::usage::{self, Of};
use super::visit::{Sent, Visit};
use facts::{facts, lately};
use keystile_api::audit;
use keystile_api::client::labels;
use keystile_api::key::{Disable, Enable, KeyView, Revoke, Show, Update};
use keystile_api::{Operation as _, encoded};
use keystile_model::error::refuse_all;
use keystile_model::record::Status;
use keystile_model::wire::{Id, TimeWords, parsed_list};
use keystile_server::problem::Problem;
pub use list::{filters, found, list, listed, rows};

/// One key.
pub async fn show(visit: Visit, Path(id): Path<String>) -> Response {
    let page = page(&visit, &id, None, None).await;
    visit.shown(page)
}

fn id(text: &str) -> Result<Id, Problem> {
    let form = Form::default().with("id", text);
    Ok(form.operation::<Show>(&[])?.id)
}

/// One key, and what became of a form about it.
async fn page(
    visit: &Visit,
    text: &str,
    sent: Option<&Form>,
    problem: Option<&Problem>,
) -> Result<Page, Problem> {
    let key = visit.run(Show { id: id(text)? }).await?;
    let used = usage::seen(visit, Of::Key(key.id.clone())).await?;
    let left = usage::quotas(visit, vec![key.id.clone()]).await?;
    let left = left.and_then(|all| all.into_iter().next());
    let own = format!("/console/keys/{}", key.id.0);
    let records = match visit.may::<audit::List>() {
        true => {
            let asked = audit::List {
                subject: Some(key.id.0.to_string()),
                limit: Some(10),
                ..audit::List::default()
            };
            Some(visit.run(asked).await?.records)
        }
        false => None,
    };
    let client = format!("/console/clients/{}", encoded(&key.client));
    let acts = visit.may::<Revoke>();
    let body = html! {
        (facts(&key, visit.now))
        (lately(&key, left.as_ref(), visit.now))
        (used.shown(visit, &own))
        @if acts { (changes(visit, &key, sent, problem)) }
        @if let Some(records) = &records {
            section aria-labelledby="log" {
                h2 #log { "What was done to it" }
                (super::audit::rows(records, "Nothing was written down yet."))
            }
        }
    };
    let title = match key.name.is_empty() {
        true => format!("Key {}", key.id.0),
        false => format!("{} ({})", key.name, key.id.0),
    };
    let page = Page::new(Section::Keys, title, body).refused(problem);
    Ok(match is_client(visit) {
        true => page.up("/console", "Your keys"),
        false => page.up(client, key.client.clone()),
    })
}

/// What can be done to it.
fn changes(visit: &Visit, key: &KeyView, sent: Option<&Form>, problem: Option<&Problem>) -> Markup {
    let id = key.id.0.to_string();
    let revoked = key.status.0 == Status::Revoked;
    let held = held::showing(current(key), &FIELDS);
    let form = sent.unwrap_or(&held);
    let of = |verb: &str| problem.filter(|_| form.text("do") == verb);
    let (rename, rotate, revoke) = (
        Draft::new(form, of("update")),
        Draft::new(form, of("rotate")),
        Draft::new(form, of("revoke")),
    );
    let enable = Draft::new(form, of("enable"));
    html! {
        @if revoked {
            (part::hint(html! { p { "It is revoked, for good. Nothing can be done to it any more." } }))
        } @else {
            div.columns {
                (rotation(visit, key, form, &rotate))
                (off(visit, key, &enable, &revoke))
            }
            (change(visit, &id, form, &rename))
        }
    }
}

fn rotation(visit: &Visit, key: &KeyView, form: &Form, rotate: &Draft<'_>) -> Markup {
    let at = |verb: &str| format!("/console/keys/{}/{verb}", key.id.0);
    let expired = key.status.0 == Status::Expired;
    html! {
        section.card aria-labelledby="rotate" {
            h2 #rotate { "Rotate" }
            p { "A new key takes its place, with the same rules. This one works on for a while, so that you can exchange it without haste." }
            (rotate.summary())
            @if expired {
                p.soft { "It has ended: create a new one instead." }
            } @else {
                form method="post" action=(at("rotate")) {
                    (visit.seal()) (visit.nonce(form)) (visit.seen(key))
                    (field("grace", "This one works on for").placeholder("24h").hint("24h, 7d, or 0 for not at all.").line(rotate))
                    button type="submit" { "Rotate" }
                }
                details {
                    summary { "It was due, and its successor waits" }
                    form method="post" action=(at("fetch")) {
                        (visit.seal()) (visit.nonce(form)) (visit.seen(key))
                        p { "Where a plan rotates keys by itself, the new key is fetched here, once." }
                        button.quiet type="submit" { "Fetch the successor" }
                    }
                }
            }
        }
    }
}

/// Switching it off, for a while or for good.
fn off(visit: &Visit, key: &KeyView, enable: &Draft<'_>, revoke: &Draft<'_>) -> Markup {
    let id = key.id.0.to_string();
    let at = |verb: &str| format!("/console/keys/{id}/{verb}");
    let own = is_client(visit);
    html! {
        section.card aria-labelledby="off" {
            (enable.summary())
            @if key.disabled {
                h2 #off { "Enable" }
                @if own {
                    p { "It is switched off. Whoever runs this API can switch it on again." }
                } @else {
                    p { "It is switched off, and can be switched on again." }
                    form method="post" action=(at("enable")) { (visit.seal()) (visit.seen(key)) button type="submit" { "Enable" } }
                }
            } @else {
                h2 #off { "Disable" }
                @if own {
                    p { "Switches it off until whoever runs this API enables it again." }
                } @else {
                    p { "Switches it off until you enable it again." }
                }
                form method="post" action=(at("disable")) { (visit.seal()) button.quiet type="submit" { "Disable" } }
            }
            h2 { "Revoke" }
            p { "Switches it off for good. Whoever uses it is refused within seconds." }
            (revoke.summary())
            form method="post" action=(at("revoke")) data-confirm=(id) {
                (visit.seal())
                (field("reason", "Reason").hint("For the audit log.").line(revoke))
                (field("confirm", &format!("Type {id} to confirm")).needed().line(revoke))
                button.danger type="submit" { "Revoke for good" }
            }
        }
    }
}

fn change(visit: &Visit, id: &str, form: &Form, rename: &Draft<'_>) -> Markup {
    html! {
        section.card aria-labelledby="change" {
            h2 #change { "Change" }
            (rename.summary())
            form method="post" action={ "/console/keys/" (id) } {
                (visit.seal()) (held::hidden(form, &FIELDS))
                div.grid {
                    (field("name", "Name").line(rename))
                    (field("scopes", "Scopes").hint("Parted by spaces.").line(rename))
                    (field("plan", "Plan of its own").hint("Empty: its client's.").line(rename))
                    (field("limits", "Limits of its own").placeholder("100/1m:20").hint("Empty: those of its plan.").line(rename))
                    (field("expires", "Ends").placeholder("90d, 2027-01-31").hint("Empty: never.").line(rename))
                    (field("cidrs", "Only from").placeholder("10.0.0.0/8").hint("Empty: from everywhere.").line(rename))
                    (field("labels", "Labels").placeholder("team=web").hint(LABELS).line(rename))
                }
                button type="submit" { "Save" }
            }
        }
    }
}

/// How labels are typed.
pub const LABELS: &str =
    "Separated by spaces; quote a value that contains any: owner=\"Jane Doe\".";

/// The fields of the form that changes a key.
const FIELDS: [&str; 7] = [
    "name", "scopes", "plan", "limits", "expires", "cidrs", "labels",
];

/// A key as the fields of the form that changes it.
fn current(key: &KeyView) -> Form {
    let expires = key
        .expires
        .as_ref()
        .map(|t| keystile_model::when::rfc3339(t.0));
    Form::default()
        .with("name", key.name.clone())
        .with("scopes", key.scopes.join(" "))
        .with("plan", key.own_plan.clone().unwrap_or_default())
        .with("limits", key.limits.join(" "))
        .with("expires", expires.unwrap_or_default())
        .with("cidrs", key.cidrs.join(" "))
        .with("labels", pairs_text(&key.labels))
        .with("grace", "24h")
}

/// Changes what was typed over, if all that the form showed is as it was.
pub async fn update(Path(text): Path<String>, Sent { visit, form }: Sent) -> Response {
    let form = form.with("do", "update");
    let word = match FIELDS.iter().any(|name| held::is_typed(&form, name)) {
        true => "updated",
        false => "as-it-was",
    };
    match changed(&visit, &text, &form).await {
        Ok(()) => visit.go(&format!("/console/keys/{}", encoded(&text)), word),
        Err(problem) => again(&visit, &text, &form, problem).await,
    }
}

async fn changed(visit: &Visit, text: &str, form: &Form) -> Result<(), Problem> {
    let update = typed(text, form)?;
    let form = form.clone();
    visit
        .with::<Update, _>(text, move |store, world| {
            store.together(|store| {
                let id = update.id.clone();
                let now = current(&Show { id }.run(store, world)?);
                held::check(&form, &now, &FIELDS, Refuse::Any)?;
                update.run(store, world).map(drop)
            })
        })
        .await
}

/// What was typed over.
fn typed(text: &str, form: &Form) -> keystile_model::error::Result<Update> {
    let typed = |name: &str| held::is_typed(form, name);
    let mut update: Update = Form::default().with("id", text).operation(&[])?;
    if typed("name") {
        update.name = Some(form.text("name").to_owned());
    }
    if typed("scopes") {
        update.scopes = Some(form.words("scopes"));
    }
    if typed("plan") {
        update.plan = Some(form.given("plan").map(str::to_owned));
    }
    if typed("limits") {
        update.limits = Some(parsed_list("limits", &form.words("limits"))?);
    }
    if typed("expires") {
        let expires = form.given("expires").map(TimeWords::read).transpose();
        let expires = expires.map_err(|e| refuse_all(vec![format!("`expires`: {e}")]))?;
        update.expires = Some(expires);
    }
    if typed("cidrs") {
        update.cidrs = Some(parsed_list("cidrs", &form.words("cidrs"))?);
    }
    if typed("labels") {
        (update.labels, update.remove_labels) = typed_labels(form)?;
    }
    Ok(update)
}

/// The pairs to set, and the names of those to remove.
///
/// # Errors
/// What is no label.
pub fn typed_labels(
    form: &Form,
) -> keystile_model::error::Result<(BTreeMap<String, String>, Vec<String>)> {
    let pairs: BTreeMap<String, String> = labels(&form.pairs("labels"))?.into_iter().collect();
    let before = form.pairs(&held::was("labels"));
    let names = before.iter().filter_map(|p| Some(p.split_once('=')?.0));
    let gone = names.filter(|name| !pairs.contains_key(*name));
    let gone = gone.map(str::to_owned).collect();
    Ok((pairs, gone))
}

async fn again(visit: &Visit, text: &str, form: &Form, problem: Problem) -> Response {
    let key = match visit
        .run(Show {
            id: match id(text) {
                Ok(id) => id,
                Err(p) => return visit.shown(Err(p)),
            },
        })
        .await
    {
        Ok(key) => key,
        Err(_) => return visit.shown(Err(problem)),
    };
    // What the form does not say stands there as it is.
    let mut filled = held::merged(form, current(&key), &FIELDS);
    for name in ["grace", "reason", "confirm", "do"] {
        if !form.all(name).is_empty() {
            filled = filled.with(name, form.text(name));
        }
    }
    let page = page(visit, text, Some(&filled), Some(&problem)).await;
    visit.shown(page)
}

/// What is said when a form about a key was refused.
pub async fn refused(visit: &Visit, text: &str, form: Form, problem: Problem) -> Response {
    again(visit, text, &form, problem).await
}

/// Switches it off for now.
pub async fn disable(Path(text): Path<String>, Sent { visit, .. }: Sent) -> Response {
    let done = match id(&text) {
        Ok(id) => visit.run(Disable { id }).await,
        Err(problem) => Err(problem),
    };
    after(&visit, &text, done.map(drop), "disabled")
}

/// Switches it on again, if it is as the page showed it.
pub async fn enable(Path(text): Path<String>, Sent { visit, form }: Sent) -> Response {
    let done = match id(&text) {
        Ok(id) => visit.unchanged(Enable { id }, &form).await,
        Err(problem) => Err(problem),
    };
    match done {
        Err(problem) if problem.status == 412 => {
            again(&visit, &text, &form.with("do", "enable"), problem).await
        }
        done => after(&visit, &text, done.map(drop), "enabled"),
    }
}

fn after(visit: &Visit, text: &str, done: Result<(), Problem>, word: &str) -> Response {
    match done {
        Ok(()) => visit.go(&format!("/console/keys/{}", encoded(text)), word),
        Err(problem) => visit.shown(Err(problem)),
    }
}

/// Switches it off for good, if its id was typed.
pub async fn revoke(Path(text): Path<String>, Sent { visit, form }: Sent) -> Response {
    let form = form.with("do", "revoke");
    let id = match id(&text) {
        Ok(id) => id,
        Err(problem) => return visit.shown(Err(problem)),
    };
    if form.text("confirm") != id.0.to_string() {
        let e = refuse_all(vec![format!(
            "`confirm`: this is not `{}`; type the id of the key",
            id.0
        )]);
        return again(&visit, &text, &form, e.into()).await;
    }
    let reason = form.text("reason").to_owned();
    match visit.run(Revoke { id, reason }).await {
        Ok(_) => after(&visit, &text, Ok(()), "revoked"),
        Err(problem) => again(&visit, &text, &form, problem).await,
    }
}
