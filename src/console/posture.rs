//! What should worry whoever is responsible: how many keys of each kind, and what to do about
//! them.

use axum::response::Response;
use keystile_api::key::{KeyConcern, Posture, posture};
use keystile_api::overview::Show;
use keystile_model::wire::word_of;
use keystile_server::problem::Problem;
use maud::{Markup, html};

use super::context::PageContext;
use super::page::{Page, Section};
use super::widgets::{self, chip, number, time};

/// How many keys are looked at, so that the page is there at once.
const MOST: u64 = 5_000;

/// The page.
pub async fn show(cx: PageContext) -> Response {
    let page = page(&cx).await;
    cx.shown(page)
}

/// A kind of keys: what it is, and what can be done about it.
pub fn words(concern: KeyConcern) -> (&'static str, &'static str) {
    match concern {
        KeyConcern::Endless => (
            "Never expire",
            "A forgotten key works for ever. Give it an end, or rotate it with one.",
        ),
        KeyConcern::Unlimited => (
            "Without a limit or quota",
            "One caller can use up what all share. Give the client a plan with limits.",
        ),
        KeyConcern::NeverUsed => (
            "Never used since they were issued a week ago or earlier",
            "Nobody would miss it. Disable it, and revoke it if nobody asks.",
        ),
        KeyConcern::Unused => (
            "Not used for 90 days",
            "It may be lost or forgotten. Disable it, and revoke it if nobody asks.",
        ),
        KeyConcern::Overdue => (
            "Older than their rotation allows",
            "Ask its client to fetch the successor, or rotate it.",
        ),
        KeyConcern::EveryScope => (
            "With every scope",
            "If it leaks, everything is open. Remove the scopes that it does not need.",
        ),
        KeyConcern::Ownerless => (
            "Nobody is named as responsible",
            "Nobody can be asked when it misbehaves. Add an “owner” label to its client.",
        ),
    }
}

async fn page(cx: &PageContext) -> Result<Page, Problem> {
    let found = cx
        .with::<Show, _>("", |store, world| posture(store, world, MOST))
        .await?;
    let (some, none): (Vec<_>, Vec<_>) = found.concerns.iter().partition(|(_, n)| *n > 0);
    let row = |(concern, n): &&(KeyConcern, u64)| {
        let (what, advice) = words(*concern);
        let target = format!("/console/keys?concern={}", word_of(concern));
        vec![
            html! { a href=(target) { (what) } },
            html! { strong { (number(*n)) } },
            html! { (advice) },
            html! { a.button.quiet.small href=(target) aria-label={ "Show the keys: " (what) } { "Show keys" } },
        ]
    };
    let body = html! {
        (scope(&found, cx.now))
        (widgets::table(
            "What deserves a look",
            &["Keys", "How many", "What to do", ""],
            some.iter().map(row).collect(),
            "Nothing here deserves a look.",
        ))
        @if !none.is_empty() {
            section aria-labelledby="good" {
                h2 #good { "In order" }
                ul.plainly {
                    @for (concern, _) in &none { li { (chip("good")) " " (words(*concern).0) ": none" } }
                }
            }
        }
    };
    Ok(Page::new(Section::Posture, "Posture", body))
}

/// What the numbers are of.
fn scope(found: &Posture, now: u64) -> Markup {
    html! {
        p.soft.totals {
            @if found.is_whole { "Of all keys that can be used." }
            @else { "Of the " (number(found.searched)) " newest keys; those that can be used." }
            @match &found.counted_since {
                Some(since) => { " Requests have been counted since " (time(since.0, now)) "." },
                None => " No requests have been counted, so every key counts as never used.",
            }
        }
    }
}
