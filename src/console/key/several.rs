//! Disabling and revoking several keys at once: all of them, or none.

use std::collections::BTreeSet;

use axum::response::Response;
use keystile_api::Operation as _;
use keystile_api::Pace;
use keystile_api::key::{Disable, KeyView, RevokeAll, Show};
use keystile_model::error::Result;
use keystile_model::plural;
use keystile_model::record::Status;
use keystile_model::wire::Id;
use keystile_model::world::World;
use keystile_server::problem::Problem;
use keystile_store::Store;
use keystile_system as system;
use maud::{Markup, html};

use super::super::confirm::{Confirmation, unless_sure};
use super::super::context::{PageContext, SubmittedForm};
use super::super::form::{Form, unconfirmed};
use super::super::page::{Page, Section};
use super::super::sign_in::is_client;
use super::super::usage::{DayCounts, UsageOf, last_day};
use super::super::widgets::{self, ago, chip, number};
use super::list::ALL;

/// The most keys at once: more than a page has.
const MOST: usize = 200;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Disable,
    Revoke,
}

impl Deed {
    fn asked(form: &Form) -> Self {
        match form.text("do") {
            "revoke" => Self::Revoke,
            _ => Self::Disable,
        }
    }

    /// Whether there is anything left to do about a key.
    fn concerns(self, key: &KeyView) -> bool {
        match self {
            Self::Disable => key.status.0 != Status::Revoked && !key.disabled,
            Self::Revoke => key.status.0 != Status::Revoked,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Disable => "Disable",
            Self::Revoke => "Revoke",
        }
    }
}

/// Asks about the chosen keys, and does it once that is confirmed.
pub async fn several(SubmittedForm { cx, form }: SubmittedForm) -> Response {
    let back = back(&form);
    let deed = Deed::asked(&form);
    let keys = match chosen(&cx, &form).await {
        Ok(keys) => keys.into_iter().filter(|k| deed.concerns(k)).collect(),
        Err(problem) => return cx.shown(Err(problem)),
    };
    let keys: Vec<KeyView> = keys;
    if keys.is_empty() {
        return cx.go(&back, "none-chosen");
    }
    let question = asking(&cx, &form, deed, &keys, None);
    if let Some(question) = unless_sure(&cx, &form, question).await {
        return question;
    }
    let began = system::nanoseconds();
    match done(&cx, &form, deed, &keys).await {
        Ok(word) => cx.go_proven(&back, word, began).await,
        Err(problem) => {
            let page = asking(&cx, &form, deed, &keys, Some(&problem)).await;
            cx.shown(page)
        }
    }
}

/// The list that the keys were chosen on. Only ever a page of ours.
fn back(form: &Form) -> String {
    let back = form.text("back");
    let ours = [ALL, "/console/clients/", "/console?"];
    let is_ours = back == "/console" || ours.iter().any(|start| back.starts_with(start));
    match is_ours && back.bytes().all(|b| b.is_ascii_graphic()) {
        true => back.to_owned(),
        false => ALL.to_owned(),
    }
}

/// The keys as they are now.
async fn chosen(cx: &PageContext, form: &Form) -> Result<Vec<KeyView>, Problem> {
    let mut ids: Vec<String> = form.all("id").iter().take(MOST).cloned().collect();
    let mut seen = BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    let asked = |id: &String| {
        Form::default()
            .with("id", id.as_str())
            .operation::<Show>(&[])
    };
    let asked: Vec<Show> = ids.iter().map(asked).collect::<Result<_>>()?;
    cx.with::<Show, _>("", move |store, world| {
        asked
            .into_iter()
            .map(|show| show.run(store, world))
            .collect()
    })
    .await
}

async fn done(
    cx: &PageContext,
    form: &Form,
    deed: Deed,
    keys: &[KeyView],
) -> Result<&'static str, Problem> {
    let ids: Vec<Id> = keys.iter().map(|k| k.id.clone()).collect();
    if deed == Deed::Disable {
        disable(cx, ids).await?;
        return Ok("keys-disabled");
    }
    let count = keys.len().to_string();
    if form.text("confirm") != count {
        return Err(unconfirmed(&count, "type the number of keys").into());
    }
    let reason = form.text("reason").to_owned();
    cx.run(RevokeAll { ids, reason }).await?;
    Ok("keys-revoked")
}

/// In one transaction, each with its own audit record.
async fn disable(cx: &PageContext, ids: Vec<Id>) -> Result<(), Problem> {
    let all = move |store: &mut Store, world: &World| {
        store.together(|store| {
            ids.into_iter()
                .try_for_each(|id| Disable { id }.run(store, world).map(drop))
        })
    };
    cx.with_at::<Disable, _>("", Pace::Urgent, all).await
}

async fn asking(
    cx: &PageContext,
    form: &Form,
    deed: Deed,
    keys: &[KeyView],
    problem: Option<&Problem>,
) -> Result<Page, Problem> {
    let of = keys.iter().map(|k| UsageOf::Key(k.id.clone())).collect();
    let days = last_day(cx, of).await?;
    let (count, back) = (keys.len(), back(form));
    let words = plural::count(count, "key");
    // Keys that need nothing done are not sent again.
    let ids = keys.iter().map(|k| k.id.0.to_string()).collect();
    let form = form.clone().with_all("id", ids);
    let question = Confirmation {
        title: match deed {
            Deed::Disable => format!("Disable {words}?"),
            Deed::Revoke => format!("Revoke {words} permanently?"),
        },
        effect: effect(deed, keys, days.as_deref(), cx.now),
        action: ALL,
        button: &format!("{} {words}", deed.word()),
        back: &back,
        typed: (deed == Deed::Revoke).then(|| count.to_string()),
        instead: html! {
            @if deed == Deed::Revoke && keys.iter().any(|k| !k.disabled) {
                p.soft {
                    "Not sure? Disabling stops the same requests as quickly"
                    @if is_client(cx) { ", and the operator of this API can enable the keys again." }
                    @else { ", and you can enable the keys again." }
                }
                form method="post" action=(ALL) {
                    (cx.seal())
                    (form.clone().without("csrf").without("confirm").without("reason").without("sure").with("do", "disable").hidden())
                    button.quiet type="submit" { "Disable instead" }
                }
            }
        },
    };
    Ok(question
        .page(cx, Section::Keys, &form, problem)
        .up(back.clone(), "Back to the list"))
}

/// What happens, and who notices.
fn effect(deed: Deed, keys: &[KeyView], days: Option<&[DayCounts]>, now: u64) -> Markup {
    let requests = |i: usize| days.and_then(|d| d.get(i)).map(|d| d.requests);
    let all: u64 = (0..keys.len()).filter_map(requests).sum();
    let busy = (0..keys.len())
        .filter_map(requests)
        .filter(|n| *n > 0)
        .count();
    let row = |(i, key): (usize, &KeyView)| {
        let used = key.usage.as_ref().and_then(|u| u.last_used.as_ref());
        vec![
            html! { (key.name) " " code.soft { (key.id.0) } },
            html! { (key.client) },
            chip(key.status.0.as_str()),
            html! { @if let Some(at) = used { (ago(at.0, now)) } @else { span.soft { "none counted" } } },
            html! { @if let Some(n) = requests(i) { (number(n)) } @else { span.soft { "not known" } } },
        ]
    };
    html! {
        p {
            @match (days, all) {
                (None, _) => "Whether they are in use is not known, because no requests have been counted.",
                (Some(_), 0) => "None of them had a request in the last 24 hours.",
                (Some(_), _) => {
                    strong { (busy) " of " (keys.len()) } " had requests in the last 24 hours: " strong { (number(all)) } " in all."
                },
            }
            " Envoys refuse them with 401 as soon as they have the new keyset. "
            @match deed {
                Deed::Disable => "They can be enabled again at any time.",
                Deed::Revoke => "This cannot be undone.",
            }
        }
        (widgets::table(
            "Chosen keys",
            &["Key", "Client", "Status", "Last used", "Requests in 24 hours"],
            keys.iter().enumerate().map(row).collect(),
            "",
        ))
    }
}
