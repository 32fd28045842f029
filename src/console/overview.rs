//! The first page: clients and keys, usage, what expires soon, recent changes.

use axum::response::Response;
use maud::{Markup, html};

use super::chart::{self, Bar, Series};
use super::context::PageContext;
use super::page::{Page, Section};
use super::sign_in::is_client;
use super::widgets::{self, chip, number};
use super::{fleet, key, portal, usage};
use keystile_api::fleet::FleetNode;
use keystile_api::overview::{Overview, Show};
use keystile_model::plural;
use keystile_model::when;
use keystile_server::problem::Problem;

/// Days whose expiring keys need somebody now.
const WEEK: usize = 7;

/// The page.
pub async fn show(cx: PageContext) -> Response {
    let page = match is_client(&cx) {
        true => portal::home(&cx).await,
        false => page(&cx).await,
    };
    cx.shown(page)
}

async fn page(cx: &PageContext) -> Result<Page, Problem> {
    let seen = cx.run(Show {}).await?;
    let used = usage::seen(cx, usage::UsageOf::All).await?;
    let fleet = cx.fleet();
    let soon: u64 = seen
        .expiring_by_day
        .iter()
        .take(WEEK)
        .map(|d| d.count)
        .sum();
    let body = html! {
        section.card aria-labelledby="envoys" {
            div.row {
                h2 #envoys { "Envoys" }
                a href="/console/fleet" { "See all Envoys" }
            }
            (fleet::health(&fleet.nodes, seen.version, cx.now))
        }
        (hand(&fleet.nodes, seen.version, soon, &used))
        div.figures {
            (used.figures())
            (widgets::figure(&number(seen.clients), "clients", Some("/console/clients")))
            (widgets::figure(&number(seen.keys), "keys not revoked", Some("/console/keys")))
            (widgets::figure(&number(seen.expiring_by_day.iter().map(|d| d.count).sum()), "keys expire within 30 days", Some("#ending")))
            (widgets::figure(&format!("r{}", seen.policy_revision), "policy in force", Some("/console/policy")))
        }
        (used.shown(cx, "/console"))
        (used.odd(cx))
        div.columns {
            section.card {
                (chart::bars(&expiring(&seen)))
            }
            @if let Some(activity) = activity(&seen) {
                section.card { (chart::bars(&activity)) }
            }
        }
        section aria-labelledby="ending" {
            h2 #ending { "Keys that expire next" }
            (key::rows(&seen.expiring, cx.now, true, "No key expires within 30 days."))
        }
    };
    Ok(Page::new(Section::Overview, "Overview", body))
}

/// What needs somebody today: each with a way to it.
fn hand(nodes: &[FleetNode], version: u64, soon: u64, used: &usage::UsageShown) -> Markup {
    let count = |is: &dyn Fn(&FleetNode) -> bool| nodes.iter().filter(|n| is(n)).count();
    let gone = count(&|n| n.state == "disconnected");
    let behind = count(&|n| n.state != "disconnected" && n.in_force.is_none_or(|v| v < version));
    let mut all = Vec::new();
    let mut add = |n: u64, word: &str, words: String, target: &str| {
        if n > 0 {
            all.push(html! { a href=(target) { (chip(word)) " " (words) } });
        }
    };
    let envoys = |n: usize| plural::count(n, "Envoy");
    add(
        gone as u64,
        "disconnected",
        format!("{} not connected", envoys(gone)),
        "/console/fleet",
    );
    add(
        behind as u64,
        "behind",
        format!("{} without proof of the latest keyset", envoys(behind)),
        "/console/fleet",
    );
    let keys = plural::count(usize::try_from(soon).unwrap_or(usize::MAX), "key");
    add(
        soon,
        "expiring",
        format!("{keys} expiring within 7 days"),
        "/console/keys?expiring=7d&order=ending",
    );
    for (words, n, target) in used.odd_by_kind() {
        let keys = plural::count(usize::try_from(n).unwrap_or(usize::MAX), "key");
        add(n, "unusual", format!("{keys}: {words}"), &target);
    }
    html! {
        section aria-labelledby="hand" {
            h2 #hand { "Needs attention" }
            @if all.is_empty() { p.soft { "Nothing at the moment." } }
            @else { ul.plainly { @for line in &all { li { (line) } } } }
            p { a href="/console/posture" { "What else deserves a look" } }
        }
    }
}

fn day(seconds: u64, values: Vec<u64>) -> Bar {
    let day = when::rfc3339(seconds);
    let (date, short) = (day.get(..10), day.get(8..10));
    Bar {
        label: date.unwrap_or_default().to_owned(),
        short: short.unwrap_or_default().to_owned(),
        values,
        target: None,
    }
}

fn expiring(seen: &Overview) -> Series<'static> {
    Series {
        title: "Keys that expire, by day",
        axis: "Day",
        parts: vec!["keys"],
        bars: seen
            .expiring_by_day
            .iter()
            .map(|d| day(d.day.0, vec![d.count]))
            .collect(),
    }
}

fn activity(seen: &Overview) -> Option<Series<'static>> {
    let days = seen.activity.as_ref()?;
    Some(Series {
        title: "Changes, by day",
        axis: "Day",
        parts: vec!["done", "refused"],
        bars: days
            .iter()
            .map(|d| day(d.day.0, vec![d.done, d.refused]))
            .collect(),
    })
}
