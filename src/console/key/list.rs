//! Lists of keys.

use axum::response::{IntoResponse as _, Response};
use keystile_api::encoded;
use keystile_api::key::{Issue, KeyPage, KeyView, List, Revoke};
use keystile_core::key::KeyId;
use keystile_model::record::Status;
use keystile_server::problem::Problem;
use maud::{Markup, html};

use super::super::context::PageContext;
use super::super::form::Form;
use super::super::page::{FormState, Page, Section, see_other};
use super::super::proof::VERSION;
use super::super::sign_in::is_client;
use super::super::widgets::{self, ListColumn, ago, chip, field, number};
use super::clients;

/// Keys per page, and how many are examined for it.
const PAGE: u32 = 50;

const SCAN: u32 = 5_000;

/// Where all keys are listed.
pub(super) const ALL: &str = "/console/keys";

/// What narrows a list down.
const FILTERS: [&str; 8] = [
    "search",
    "client",
    "status",
    "environment",
    "label",
    "expiring",
    "unused",
    "concern",
];

/// All keys, filtered by the query.
pub async fn list(cx: PageContext) -> Response {
    // A key that was pasted into the search does not stay in the address bar.
    if let Some(id) = pasted(cx.query.text("search")) {
        let query = cx.query.clone().with("search", id.to_string());
        return see_other(&query.target(ALL)).into_response();
    }
    let page = listing(&cx).await;
    cx.shown(page)
}

/// The id in a key, whole or cut short.
fn pasted(text: &str) -> Option<KeyId> {
    // Whatever its brand.
    let (_, rest) = text.rsplit_once('_')?;
    rest.get(..10).filter(|_| rest.len() > 10)?.parse().ok()
}

async fn listing(cx: &PageContext) -> Result<Page, Problem> {
    let client = cx.query.given("client").map(str::to_owned);
    let keys = found(cx, client).await?;
    let body = html! {
        (totals(cx, &keys).await?)
        (filters(&cx.query, ALL))
        (clients::named(cx).await?)
        (listed(&keys, cx, ALL, true))
        p.soft { "Keys that a restore of a backup lost are listed " a href="/console/lost-keys" { "on their own page" } "." }
    };
    let page = Page::new(Section::Keys, "Keys", body);
    Ok(match cx.may::<Issue>() {
        true => page.actions(html! { a.button href="/console/keys/new" { "New key" } }),
        false => page,
    })
}

/// How many there are: all, or those that match.
async fn totals(cx: &PageContext, keys: &KeyPage) -> Result<Markup, Problem> {
    // Of the whole store.
    if is_narrowed(&cx.query) || is_client(cx) {
        return Ok(html! {});
    }
    let all = cx.with::<List, _>("", |store, _| store.read(|tx| tx.numbers()));
    let all = all.await?;
    Ok(html! {
        @if !keys.keys.is_empty() {
            p.soft.totals { (number(all.keys)) " keys that are not revoked, of " (number(all.clients)) " clients" }
        }
    })
}

fn is_narrowed(query: &Form) -> bool {
    FILTERS.iter().any(|name| query.given(name).is_some())
}

/// The keys that match a page's query.
///
/// # Errors
/// Those of the operation.
pub async fn found(cx: &PageContext, client: Option<String>) -> Result<KeyPage, Problem> {
    let query = &cx.query;
    let mut asked = Form::default().with("order", "newest");
    for name in [
        "environment",
        "expiring",
        "cursor",
        "search",
        "unused",
        "concern",
        "order",
    ] {
        if let Some(value) = query.given(name) {
            asked = asked.with(name, value);
        }
    }
    if let Some(id) = pasted(query.text("search")) {
        asked = asked.with("search", id.to_string());
    }
    if query.text("expiring") == "never" {
        asked = asked.without("expiring").with("endless", "true");
        if query.text("order") == "ending" {
            // They are the last in that order, behind all that expire.
            asked = asked.with("order", "newest");
        }
    }
    let mut asked: List = asked
        .with_all("label", query.words("label"))
        .with_all("status", query.words("status"))
        .operation(&["status", "label"])?;
    asked.client = client;
    asked.limit = Some(PAGE);
    asked.scan = Some(SCAN);
    cx.run(asked).await
}

fn choices(all: &[(&str, &str)], query: &Form, name: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = all
        .iter()
        .map(|(value, word)| ((*value).to_owned(), (*word).to_owned()))
        .collect();
    // What a link asked for stays chosen.
    let own = query.text(name);
    if !own.is_empty() && all.iter().all(|(value, _)| value != own) {
        all.push((own.to_owned(), own.to_owned()));
    }
    all
}

fn states(query: &Form) -> Vec<(String, String)> {
    let mut all = vec![
        ("", "any"),
        ("active rotating pending disabled", "working or may work"),
    ];
    let words = [
        Status::Active,
        Status::Rotating,
        Status::Pending,
        Status::Disabled,
        Status::Expired,
        Status::Revoked,
    ];
    all.extend(words.iter().map(|s| (s.as_str(), s.as_str())));
    choices(&all, query, "status")
}

/// The filters of a list.
pub fn filters(query: &Form, path: &str) -> Markup {
    let draft = FormState::new(query, None);
    let unused = [
        ("", "any"),
        ("7d", "7 days"),
        ("30d", "30 days"),
        ("90d", "90 days"),
        ("365d", "a year"),
    ];
    let ends = [
        ("", "any"),
        ("7d", "within 7 days"),
        ("30d", "within 30 days"),
        ("90d", "within 90 days"),
        ("never", "never"),
    ];
    let orders = [
        ("", "newest first"),
        ("oldest", "oldest first"),
        ("ending", "expiring first"),
    ];
    let chosen = ["client", "environment", "label", "concern"];
    let chosen: Vec<&str> = chosen
        .into_iter()
        .filter(|n| query.given(n).is_some())
        .collect();
    html! {
        form.filters method="get" action=(path) role="search" aria-label="Keys" {
            (field("search", "Search").kind("search").placeholder("name, id, client or label").line(&draft))
            (field("status", "Status").choice(&draft, &states(query)))
            (field("unused", "Not used for").choice(&draft, &choices(&unused, query, "unused")))
            (field("expiring", "Expires").choice(&draft, &choices(&ends, query, "expiring")))
            (field("order", "Sorted").choice(&draft, &choices(&orders, query, "order")))
            @for name in chosen.iter().chain(&["since"]) {
                @for value in query.all(name) { input type="hidden" name=(name) value=(value); }
            }
            button.quiet type="submit" { "Show" }
        }
        @if !chosen.is_empty() {
            p.chosen {
                @for name in &chosen {
                    a.chip href=(query.clone().without(name).without("cursor").target(path)) title="Remove this filter" {
                        (name) ": " (query.all(name).join(" ")) " ×"
                    }
                    " "
                }
            }
        }
    }
}

/// A page of keys.
pub fn listed(keys: &KeyPage, cx: &PageContext, path: &str, with_client: bool) -> Markup {
    let query = cx.query.clone().without("done").without(VERSION);
    let first = query
        .given("cursor")
        .map(|_| query.clone().without("cursor").target(path));
    let next = keys
        .next
        .as_ref()
        .map(|n| query.clone().with("cursor", n.0.to_string()).target(path));
    let picks = cx.may::<Revoke>() && !keys.keys.is_empty();
    let shape = ListShape {
        with_client,
        picks,
        sorted: Some((&query, path)),
    };
    let rows = shape.table(
        &keys.keys,
        cx.now,
        nothing(cx, &query, path, next.is_some()),
    );
    html! {
        @if picks {
            form.bulk method="post" action=(ALL) data-bulk {
                (cx.seal())
                input type="hidden" name="back" value=(query.target(path));
                div.row {
                    label.check { input type="checkbox" data-all; span data-count="chosen" { "Choose all on this page" } }
                    span.actions {
                        button.quiet.small type="submit" name="do" value="disable" { "Disable…" }
                        button.quiet.small.danger type="submit" name="do" value="revoke" { "Revoke…" }
                    }
                }
                (rows)
            }
        } @else {
            (rows)
        }
        (widgets::pager(first, next))
    }
}

/// What stands in the place of an empty list.
fn nothing(cx: &PageContext, query: &Form, path: &str, more: bool) -> Markup {
    html! {
        @if more {
            p { "No match among the keys searched so far; there are more. Go on with the next page." }
        } @else if is_narrowed(query) || query.given("cursor").is_some() {
            p { "No key matches." }
            p { a href=(path) { "Show all keys" } }
        } @else {
            p { strong { "There are no keys yet." } }
            p { "A caller sends its key with each request, and the key says which client calls and what it may do." }
            @if path == ALL && cx.may::<Issue>() {
                p { a.button href="/console/keys/new" { "Issue the first key" } }
            }
        }
    }
}

/// Keys, one row each.
pub fn rows(keys: &[KeyView], now: u64, with_client: bool, empty: &str) -> Markup {
    let shape = ListShape {
        with_client,
        picks: false,
        sorted: None,
    };
    shape.table(keys, now, html! { (empty) })
}

/// What a list has beside its keys.
struct ListShape<'a> {
    with_client: bool,
    /// Keys can be chosen.
    picks: bool,
    /// The query and the path of a page whose list can be sorted.
    sorted: Option<(&'a Form, &'a str)>,
}

impl ListShape<'_> {
    fn table(&self, keys: &[KeyView], now: u64, empty: Markup) -> Markup {
        let mut columns = vec![ListColumn::new("Key")];
        if self.with_client {
            columns.push(ListColumn::new("Client"));
        }
        columns.extend(["Status", "Scopes", "Last used"].map(ListColumn::new));
        columns.push(self.by_age());
        columns.push(self.by_end());
        let rows: Vec<_> = keys.iter().map(|key| self.row(key, now)).collect();
        widgets::sorted_table("Keys", &columns, &rows, empty)
    }

    fn by_age(&self) -> ListColumn<'static> {
        let word = "Created";
        let Some((query, path)) = self.sorted else {
            return ListColumn::new(word);
        };
        let sort = |order: &str| {
            query
                .clone()
                .without("cursor")
                .with("order", order)
                .target(path)
        };
        match query.text("order") {
            "" | "newest" => ListColumn::sorted(word, sort("oldest"), Some("descending")),
            "oldest" => ListColumn::sorted(word, sort(""), Some("ascending")),
            _ => ListColumn::sorted(word, sort(""), None),
        }
    }

    fn by_end(&self) -> ListColumn<'static> {
        let word = "Expires";
        let Some((query, path)) = self.sorted else {
            return ListColumn::new(word);
        };
        let is_sorted = query.text("order") == "ending";
        let target = query.clone().without("cursor").with("order", "ending");
        ListColumn::sorted(word, target.target(path), is_sorted.then_some("ascending"))
    }

    fn row(&self, k: &KeyView, now: u64) -> Vec<Markup> {
        let used = k.usage.as_ref().and_then(|u| u.last_used.as_ref());
        let time = |at: Option<u64>, none: &str| {
            html! { @if let Some(at) = at { (ago(at, now)) } @else { span.soft { (none) } } }
        };
        let mut row = vec![
            self.name(k),
            chip(k.status.0.as_str()),
            widgets::few_tags(&k.scopes),
            time(used.map(|t| t.0), "none counted"),
            time(Some(k.created.0), ""),
            time(k.effective_expiry(), "never"),
        ];
        if self.with_client {
            let target = format!("/console/clients/{}", encoded(&k.client));
            row.insert(1, html! { a href=(target) { (k.client) } });
        }
        row
    }

    fn name(&self, k: &KeyView) -> Markup {
        let id = k.id.0.to_string();
        let target = format!("/console/keys/{id}");
        html! {
            div.named {
                @if self.picks {
                    input type="checkbox" name="id" value=(id) aria-label={ "Choose " (id) };
                }
                div {
                    @if k.name.is_empty() {
                        a href=(target) { code { (id) } }
                    } @else {
                        a href=(target) { (k.name) } " " code.soft { (id) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_key_is_reduced_to_its_id() {
        let id = |text: &str| pasted(text).map(|id| id.to_string());
        let key = "ks_live_0Ab3dEfGh1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        assert_eq!(id(key).as_deref(), Some("0Ab3dEfGh1"));
        assert_eq!(id("ks_live_0Ab3dEfGh1aa").as_deref(), Some("0Ab3dEfGh1"));
        for other in [
            "",
            "0Ab3dEfGh1",
            "ks_live_",
            "ks_live_0Ab",
            "billing worker",
        ] {
            assert_eq!(id(other), None, "{other}");
        }
    }
}
