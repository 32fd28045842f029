//! Going anywhere by a few letters: to a page, a client, a key. As a page, and as JSON for the script,
//! which shows it above any page.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use maud::html;
use serde::Serialize;

use super::context::PageContext;
use super::page::{FormState, Page, Section, menu};
use super::sign_in::is_client;
use super::widgets::{self, field};
use keystile_api::client;
use keystile_api::encoded;
use keystile_api::key::{self, KeyView};
use keystile_model::key::KeyOrder;
use keystile_server::problem::Problem;

/// Clients, and keys, that are offered.
const OFFERED: u32 = 6;
/// Keys that are searched: a list that grows while somebody types has to be quick.
const SCAN: u32 = 1_000;

/// Somewhere to go.
#[derive(Serialize)]
struct Place {
    /// `Page`, `Client`, `Key`.
    kind: &'static str,
    word: String,
    /// What tells it from others.
    more: String,
    target: String,
}

/// The page.
pub async fn show(cx: PageContext) -> Response {
    let page = page(&cx).await;
    cx.shown(page)
}

/// The same for the script.
pub async fn offer(cx: PageContext) -> Response {
    match places(&cx).await {
        Ok(places) => Json(places).into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn page(cx: &PageContext) -> Result<Page, Problem> {
    let places = places(cx).await?;
    let draft = FormState::new(&cx.query, None);
    let row = |place: &Place| {
        vec![
            html! { a href=(place.target) { (place.word) } },
            html! { (place.kind) },
            html! { span.soft { (place.more) } },
        ]
    };
    let body = html! {
        form.filters method="get" action="/console/go" role="search" aria-label="Go to" {
            (field("search", "Go to").kind("search").placeholder("a page, a client, a key").line(&draft))
            button.quiet type="submit" { "Show" }
        }
        (widgets::table("Places", &["Where", "What", ""], places.iter().map(row).collect(), "Nothing has that in its name."))
    };
    Ok(Page::new(Section::Elsewhere, "Go to", body))
}

async fn places(cx: &PageContext) -> Result<Vec<Place>, Problem> {
    let search = cx.query.text("search").to_lowercase();
    let mut all: Vec<Place> = menu(cx)
        .filter(|(word, _)| word.to_lowercase().contains(&search))
        .map(|(word, target)| Place {
            kind: "Page",
            word: word.to_owned(),
            more: String::new(),
            target: target.to_owned(),
        })
        .collect();
    if search.is_empty() {
        return Ok(all);
    }
    if !is_client(cx) {
        let asked = client::List {
            search: Some(search.clone()),
            limit: Some(OFFERED),
            ..client::List::default()
        };
        all.extend(cx.run(asked).await?.clients.into_iter().map(|row| {
            let client = row.client;
            Place {
                kind: "Client",
                target: format!("/console/clients/{}", encoded(&client.client)),
                word: client.client,
                more: client.description,
            }
        }));
    }
    let asked = key::List {
        // An id is written in both cases.
        search: Some(cx.query.text("search").to_owned()),
        order: KeyOrder::Newest,
        limit: Some(OFFERED),
        scan: Some(SCAN),
        ..key::List::default()
    };
    all.extend(cx.run(asked).await?.keys.iter().map(key_place));
    Ok(all)
}

fn key_place(key: &KeyView) -> Place {
    let id = key.id.0.to_string();
    let (word, more) = match key.name.is_empty() {
        true => (id.clone(), key.client.clone()),
        false => (key.name.clone(), format!("{id}, {}", key.client)),
    };
    Place {
        kind: "Key",
        word,
        more,
        target: format!("/console/keys/{id}"),
    }
}
