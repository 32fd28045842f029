//! Lists of keys.

use axum::response::Response;
use keystile_api::encoded;
use keystile_api::key::{KeyPage, KeyView, List};
use keystile_model::record::Status;
use keystile_server::problem::Problem;
use maud::{Markup, html};

use super::super::context::PageContext;
use super::super::form::Form;
use super::super::page::{FormState, Page, Section};
use super::super::widgets;
use super::super::widgets::{chip, field, maybe_time};

/// Keys per page, and how many are examined for it.
const PAGE: u32 = 50;

const SCAN: u32 = 5_000;

/// All keys, filtered by the query.
pub async fn list(cx: PageContext) -> Response {
    let page = listing(&cx).await;
    cx.shown(page)
}

async fn listing(cx: &PageContext) -> Result<Page, Problem> {
    let client = cx.query.given("client").map(str::to_owned);
    let keys = found(cx, client).await?;
    let body = html! {
        (filters(&cx.query, "/console/keys", true))
        (listed(&keys, cx, "/console/keys", true))
    };
    let lost = html! { a.button.quiet href="/console/lost-keys" { "Lost by a restore" } };
    Ok(Page::new(Section::Keys, "Keys", body).actions(lost))
}

/// The keys that match a page's query.
///
/// # Errors
/// Those of the operation.
pub async fn found(cx: &PageContext, client: Option<String>) -> Result<KeyPage, Problem> {
    let query = cx.query.clone();
    let mut asked = Form::default();
    for name in ["status", "environment", "expiring", "cursor"] {
        if let Some(value) = query.given(name) {
            asked = asked.with(name, value);
        }
    }
    let mut asked: List = asked
        .with_all("label", query.words("label"))
        .operation(&["status", "label"])?;
    asked.client = client;
    asked.limit = Some(PAGE);
    asked.scan = Some(SCAN);
    cx.run(asked).await
}

/// The filters of a list.
pub fn filters(query: &Form, path: &str, of_all: bool) -> Markup {
    let draft = FormState::new(query, None);
    let states: Vec<String> = [
        Status::Active,
        Status::Rotating,
        Status::Pending,
        Status::Disabled,
        Status::Expired,
        Status::Revoked,
    ]
    .iter()
    .map(|s| s.as_str().to_owned())
    .collect();
    html! {
        form.filters method="get" action=(path) role="search" aria-label="Keys" {
            @if of_all { (field("client", "Client").line(&draft)) }
            (field("status", "Status").choice(&draft, &widgets::options("any", &states)))
            (field("expiring", "Expires before").placeholder("30d").line(&draft))
            (field("label", "Label").placeholder("team=web").line(&draft))
            @if let Some(since) = query.given("since") { input type="hidden" name="since" value=(since); }
            button.quiet type="submit" { "Show" }
        }
    }
}

/// A page of keys.
pub fn listed(keys: &KeyPage, cx: &PageContext, path: &str, with_client: bool) -> Markup {
    let query = cx.query.clone().without("done");
    let first = query
        .given("cursor")
        .map(|_| query.clone().without("cursor").target(path));
    let next = keys
        .next
        .as_ref()
        .map(|n| query.clone().with("cursor", n.0.to_string()).target(path));
    let empty = match next {
        Some(_) => "No match among the records searched so far; there are more.",
        None => "No matching keys.",
    };
    html! {
        (rows(&keys.keys, cx.now, with_client, empty))
        (widgets::pager(first, next))
    }
}

/// Keys, one row each.
pub fn rows(keys: &[KeyView], now: u64, with_client: bool, empty: &str) -> Markup {
    let mut heads = vec!["Key", "Name", "Status", "Scopes", "Plan", "Expires"];
    if with_client {
        heads.insert(1, "Client");
    }
    let row = |k: &KeyView| {
        let id = k.id.0.to_string();
        let mut row = vec![
            html! { a href={ "/console/keys/" (id) } { code { (id) } } },
            html! { @if k.name.is_empty() { span.soft { "–" } } @else { (k.name) } },
            chip(k.status.0.as_str()),
            widgets::tags(&k.scopes),
            html! { @if let Some(plan) = &k.effective_plan { code { (plan) } } @else { span.soft { "–" } } },
            maybe_time(k.effective_expiry(), now, "never"),
        ];
        if with_client {
            let target = format!("/console/clients/{}", encoded(&k.client));
            row.insert(1, html! { a href=(target) { (k.client) } });
        }
        row
    };
    widgets::table("Keys", &heads, keys.iter().map(row).collect(), empty)
}
