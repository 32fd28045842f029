//! Clients on the pages of keys: those that a search names, and the one to issue a key to.

use axum::response::Response;
use keystile_api::client::{Create, List};
use keystile_api::encoded;
use keystile_server::problem::Problem;
use maud::{Markup, html};

use super::super::context::PageContext;
use super::super::page::{FormState, Page, Section, see_other};
use super::super::widgets::{field, number};

/// Clients that are named beside the keys that a search finds.
const NAMED: u32 = 5;
/// Clients that are offered while a name is typed.
const OFFERED: u32 = 200;

/// The clients whose name or description contains what is searched for.
pub(super) async fn named(cx: &PageContext) -> Result<Markup, Problem> {
    let Some(search) = cx.query.given("search") else {
        return Ok(html! {});
    };
    let asked = List {
        search: Some(search.to_owned()),
        limit: Some(NAMED),
        ..List::default()
    };
    let found = cx.run(asked).await?;
    let all = format!("/console/clients?search={}", encoded(search));
    Ok(html! {
        @if !found.clients.is_empty() {
            p.chosen {
                span.soft { "Clients: " }
                @for row in &found.clients {
                    @let name = &row.client.client;
                    a href={ "/console/clients/" (encoded(name)) } { (name) }
                    " " span.soft { (number(row.keys)) @if row.keys == 1 { " key" } @else { " keys" } } " "
                }
                @if found.next.is_some() { a href=(all) { "more" } }
            }
        }
    })
}

/// Asks for the client of a new key.
pub async fn choose(cx: PageContext) -> Response {
    if let Some(name) = cx.query.given("client") {
        return see_other(&format!("/console/clients/{}/issue", encoded(name)));
    }
    let page = choosing(&cx).await;
    cx.shown(page)
}

async fn choosing(cx: &PageContext) -> Result<Page, Problem> {
    let asked = List {
        limit: Some(OFFERED),
        ..List::default()
    };
    let offered = cx.run(asked).await?.clients;
    let draft = FormState::new(&cx.query, None);
    let body = html! {
        @if offered.is_empty() {
            div.empty {
                p { strong { "Every key belongs to a client, and there is none yet." } }
                p { "A client is whoever calls your API: a customer, a team, a service." }
                @if cx.may::<Create>() { p { a.button href="/console/clients/new" { "Create the first client" } } }
            }
        } @else {
            form.card method="get" action="/console/keys/new" {
                (field("client", "Client").needed().hint("Whoever calls your API: its keys share its plan and limits.").list("clients").line(&draft))
                datalist #clients { @for row in &offered { option value=(row.client.client) {} } }
                div.row {
                    button type="submit" { "Continue" }
                    @if cx.may::<Create>() { a.button.quiet href="/console/clients/new" { "New client" } }
                }
            }
        }
    };
    Ok(Page::new(Section::Keys, "New key", body).up("/console/keys", "Keys"))
}
