//! The list of clients, with what each did in the last day.

use std::collections::BTreeMap;

use axum::response::Response;
use keystile_api::client::{ClientRow, Create, List};
use keystile_api::usage::Anomalies;
use keystile_api::{Operation as _, encoded, guide};
use keystile_model::error::Kind;
use keystile_server::problem::Problem;
use maud::{Markup, html};

use super::super::context::PageContext;
use super::super::form::Form;
use super::super::page::{FormState, Page, Section};
use super::super::usage::{DayCounts, UsageOf, last_day};
use super::super::widgets::{self, ago, field, number};

const PAGE: u32 = 50;
/// From which share of refused requests on a client deserves a look, in percent, and of how many
/// requests that says something.
const MANY_REFUSED: u64 = 20;
const FEW: u64 = 20;

/// All clients, filtered by the query.
pub async fn list(cx: PageContext) -> Response {
    let page = listing(&cx).await;
    cx.shown(page)
}

/// The names of the plans.
///
/// # Errors
/// Those of the operation.
pub async fn plans(cx: &PageContext) -> Result<Vec<String>, Problem> {
    let guide = cx.run(guide::Show {}).await?;
    Ok(guide.plans.into_iter().map(|p| p.plan).collect())
}

/// What is beside the name of a client.
struct Beside {
    days: Option<Vec<DayCounts>>,
    /// Anomalies of the last 7 days, by client.
    odd: BTreeMap<String, usize>,
}

async fn listing(cx: &PageContext) -> Result<Page, Problem> {
    let query = cx.query.clone().without("done");
    let mut asked = Form::default().with_all("label", query.words("label"));
    for name in ["search", "plan", "cursor"] {
        if let Some(value) = query.given(name) {
            asked = asked.with(name, value);
        }
    }
    let mut asked: List = asked.operation(&["label"])?;
    asked.limit = Some(PAGE);
    let found = cx.run(asked).await?;
    let plans = plans(cx).await?;
    let beside = beside(cx, &found.clients).await?;
    let first = query
        .given("cursor")
        .map(|_| query.clone().without("cursor").target("/console/clients"));
    let next = found
        .next
        .map(|n| query.clone().with("cursor", n).target("/console/clients"));
    let rows = (0..).zip(&found.clients);
    let rows: Vec<_> = rows.map(|(i, row)| beside.row(i, row, cx.now)).collect();
    let columns = [
        "Client",
        "Plan",
        "Keys",
        "Requests in 24 hours",
        "Health",
        "Created",
    ];
    let columns = columns.map(widgets::ListColumn::new);
    let body = html! {
        (filters(&query, &plans))
        (widgets::sorted_table("Clients", &columns, &rows, nothing(cx, &query)))
        (widgets::pager(first, next))
    };
    let page = Page::new(Section::Clients, "Clients", body);
    Ok(match cx.may::<Create>() {
        true => page.actions(html! { a.button href="/console/clients/new" { "New client" } }),
        false => page,
    })
}

fn filters(query: &Form, plans: &[String]) -> Markup {
    let draft = FormState::new(query, None);
    html! {
        form.filters method="get" action="/console/clients" role="search" aria-label="Clients" {
            (field("search", "Search").kind("search").placeholder("name or description").line(&draft))
            (field("plan", "Plan").choice(&draft, &widgets::options("any", plans)))
            (field("label", "Label").placeholder("team=web").line(&draft))
            button.quiet type="submit" { "Show" }
        }
    }
}

/// What stands in the place of an empty list.
fn nothing(cx: &PageContext, query: &Form) -> Markup {
    let is_narrowed = ["search", "plan", "label", "cursor"]
        .iter()
        .any(|n| query.given(n).is_some());
    html! {
        @if is_narrowed {
            p { "No client matches." }
            p { a href="/console/clients" { "Show all clients" } }
        } @else {
            p { strong { "There are no clients yet." } }
            p { "A client is whoever calls your API: a customer, a team, a service. Its keys share its plan and limits." }
            @if cx.may::<Create>() {
                p { a.button href="/console/clients/new" { "Create the first client" } }
            }
        }
    }
}

async fn beside(cx: &PageContext, rows: &[ClientRow]) -> Result<Beside, Problem> {
    let names = rows.iter().map(|r| r.client.client.clone());
    let days = last_day(cx, names.map(UsageOf::Client).collect()).await?;
    let odd = cx.with::<Anomalies, _>("", |store, world| {
        match Anomalies::default().run(store, world) {
            Ok(found) => Ok(found.anomalies),
            // The list is there without them.
            Err(e) if matches!(e.kind(), Kind::Store(_)) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    });
    let mut by_client = BTreeMap::new();
    for anomaly in odd.await? {
        if let Some(client) = anomaly.client {
            *by_client.entry(client).or_default() += 1;
        }
    }
    Ok(Beside {
        days,
        odd: by_client,
    })
}

impl Beside {
    fn row(&self, i: usize, row: &ClientRow, now: u64) -> Vec<Markup> {
        let c = &row.client;
        let target = format!("/console/clients/{}", encoded(&c.client));
        let day = self.days.as_ref().and_then(|d| d.get(i));
        vec![
            html! {
                a href=(target) { (c.client) }
                @if !c.description.is_empty() { div.soft { (c.description) } }
            },
            html! { @if let Some(plan) = &c.plan { code { (plan) } } @else { span.soft { "–" } } },
            html! { (number(row.keys)) },
            html! {
                @match day {
                    None => span.soft { "not counted" },
                    Some(day) => {
                        (number(day.requests))
                        @if day.refused > 0 { " " span.soft { (number(day.refused)) " refused" } }
                    },
                }
            },
            self.health(&c.client, day, &target),
            ago(c.created.0, now),
        ]
    }

    /// What about a client deserves a look.
    fn health(&self, name: &str, day: Option<&DayCounts>, target: &str) -> Markup {
        let odd = self.odd.get(name).copied().unwrap_or_default();
        let refused = day.filter(|d| d.requests >= FEW && d.refused_percent() >= MANY_REFUSED);
        html! {
            @if let Some(day) = refused {
                a.chip.is-refused href={ (target) "#usage" } { (day.refused_percent()) " % refused" } " "
            }
            @if odd > 0 {
                a.chip.is-behind href={ (target) "#odd" } { (plural_anomalies(odd)) }
            } @else if refused.is_none() {
                span.soft { "nothing unusual" }
            }
        }
    }
}

fn plural_anomalies(n: usize) -> String {
    match n {
        1 => "1 anomaly".to_owned(),
        n => format!("{n} anomalies"),
    }
}
