//! What a restore lost: keys that are in use but unknown, and keys that are valid again.

use axum::response::Response;
use maud::html;

use super::context::PageContext;
use super::form::Form;
use super::page::{Page, Section};
use super::widgets::{self, chip, time};
use keystile_api::encoded;
use keystile_api::lost::{List, LostView, UsedView};
use keystile_server::problem::Problem;

const PATH: &str = "/console/lost-keys";
const PAGE: u32 = 50;

/// The page.
pub async fn show(cx: PageContext) -> Response {
    let page = page(&cx).await;
    cx.shown(page)
}

async fn page(cx: &PageContext) -> Result<Page, Problem> {
    let mut asked = Form::default();
    if let Some(after) = cx.query.given("after") {
        asked = asked.with("after", after);
    }
    let mut asked: List = asked.operation(&[])?;
    asked.limit = Some(PAGE);
    let lost = cx.run(asked).await?;
    let published = |k: &LostView| {
        let id = k.id.0.to_string();
        vec![
            html! {
                @if k.state == "good_again" { a href={ "/console/keys/" (id) } { code { (id) } } }
                @else { code { (id) } }
            },
            html! { a href={ "/console/clients/" (encoded(&k.client)) } { (k.client) } },
            chip(&k.state.replace('_', "-")),
            widgets::maybe_time(k.last_used.as_ref().map(|t| t.0), cx.now, "–"),
        ]
    };
    let used = |k: &UsedView| vec![html! { code { (k.id.0) } }, time(k.last_used.0, cx.now)];
    let first = cx.query.given("after").map(|_| PATH.to_owned());
    let next = lost
        .next
        .as_ref()
        .map(|n| Form::default().with("after", n.0.to_string()).target(PATH));
    let body = html! {
        section aria-labelledby="used" {
            h2 #used { "In use, but unknown to the store" }
            (widgets::table("In use", &["Key", "Last used"], lost.in_use.iter().map(used).collect(), "There are none."))
        }
        section aria-labelledby="published" {
            h2 #published { "In the last keyset before the restore" }
            p.soft { "Unknown: the store does not have the key, and Envoys refuse it; issue a new one. Good again: the key was revoked or disabled after the backup was made; revoke or disable it again." }
            (widgets::table("Published", &["Key", "Client", "State", "Last used"], lost.published.iter().map(published).collect(), "There are none."))
            (widgets::pager(first, next))
        }
    };
    Ok(Page::new(Section::Keys, "Keys that a restore lost", body).up("/console/keys", "Keys"))
}
