//! The first page: clients and keys, usage, what expires soon, recent changes.

use axum::response::Response;
use maud::{Markup, html};

use super::chart::{self, Bar, Series};
use super::context::PageContext;
use super::page::{Page, Section};
use super::sign_in::is_client;
use super::widgets::{self, chip, number};
use super::{key, portal, usage};
use keystile_api::overview::{Overview, Show};
use keystile_model::when;
use keystile_server::problem::Problem;

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
    let body = html! {
        div.figures {
            (used.figures())
            (widgets::figure(&number(seen.clients), "clients", Some("/console/clients")))
            (widgets::figure(&number(seen.keys), "keys not revoked", Some("/console/keys")))
            (widgets::figure(&number(seen.expiring_by_day.iter().map(|d| d.count).sum()), "keys expire within 30 days", Some("#ending")))
            (widgets::figure(&format!("r{}", seen.policy_revision), "policy in force", Some("/console/policy")))
        }
        (used.shown(cx, "/console"))
        (used.odd(cx))
        section.card aria-labelledby="envoys" {
            h2 #envoys { "Envoys" }
            (envoys(cx, &seen))
        }
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

fn envoys(cx: &PageContext, seen: &Overview) -> Markup {
    let fleet = cx.fleet();
    let connected: Vec<_> = fleet
        .nodes
        .iter()
        .filter(|n| n.state != "disconnected")
        .collect();
    let proven = connected
        .iter()
        .filter(|n| n.in_force.is_some_and(|v| v >= seen.version))
        .count();
    let behind = connected.len().saturating_sub(proven);
    html! {
        (widgets::facts(vec![
            ("Keyset", html! { code { (seen.version) } " " span.soft { "changed " (when::relative(seen.changed.0, cx.now)) } }),
            ("Connected", html! { (connected.len()) }),
            ("In force", html! {
                @if connected.is_empty() { span.soft { "no Envoy is connected" } }
                @else if behind == 0 { (chip("active")) " all" }
                @else { (chip("lagging")) " " (proven) " of " (connected.len()) }
            }),
        ]))
        p { a href="/console/fleet" { "See all Envoys" } }
    }
}

fn day(seconds: u64, values: Vec<u64>) -> Bar {
    let day = when::rfc3339(seconds);
    let (date, short) = (day.get(..10), day.get(8..10));
    Bar {
        label: date.unwrap_or_default().to_owned(),
        short: short.unwrap_or_default().to_owned(),
        values,
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
