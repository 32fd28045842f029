//! Keys: lists of them, and one with all that can be done to it.

use std::collections::BTreeMap;

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};

use super::door::is_client;
use super::form::{Form, pairs_text};
use super::held::{self, Refuse};
use super::page::{Draft, Page, Section};
use super::part::{self, chip, field, maybe_time, time};
use super::usage::{self, Of};
use super::visit::{Sent, Visit};
use keystile_api::audit;
use keystile_api::client::labels;
use keystile_api::key::{Disable, Enable, KeyUse, KeyView, Keys, List, Revoke, Show, Update};
use keystile_api::usage::Left;
use keystile_api::{Operation as _, encoded};
use keystile_model::error::{Code, Result, told};
use keystile_model::record::Status;
use keystile_model::wire::{Id, TimeWords, parsed_list};
use keystile_server::problem::Problem;

/// Keys on one page, and how many are looked at for it.
const PAGE: u32 = 50;
const SCAN: u32 = 5_000;

/// All keys, or those that are asked for.
pub async fn list(visit: Visit) -> Response {
    let page = listing(&visit).await;
    visit.shown(page)
}

async fn listing(visit: &Visit) -> Result<Page, Problem> {
    let client = visit.query.given("client").map(str::to_owned);
    let keys = found(visit, client).await?;
    let body = html! {
        (filters(&visit.query, "/console/keys", true))
        (listed(&keys, visit, "/console/keys", true))
    };
    let lost = html! { a.button.quiet href="/console/lost-keys" { "Lost by a restore" } };
    Ok(Page::new(Section::Keys, "Keys", body).actions(lost))
}

/// The keys that a page's query asks for.
///
/// # Errors
/// Those of the operation.
pub async fn found(visit: &Visit, client: Option<String>) -> Result<Keys, Problem> {
    let query = visit.query.clone();
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
    visit.run(asked).await
}

/// What a list can be narrowed to.
pub fn filters(query: &Form, path: &str, of_all: bool) -> Markup {
    let draft = Draft::new(query, None);
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
            (field("status", "Status").choice(&draft, &part::options("any", &states)))
            (field("expiring", "Ends before").placeholder("30d").line(&draft))
            (field("label", "Label").placeholder("team=web").line(&draft))
            @if let Some(since) = query.given("since") { input type="hidden" name="since" value=(since); }
            button.quiet type="submit" { "Show" }
        }
    }
}

/// A page of keys.
pub fn listed(keys: &Keys, visit: &Visit, path: &str, with_client: bool) -> Markup {
    let query = visit.query.clone().without("done");
    let first = query
        .given("cursor")
        .map(|_| query.clone().without("cursor").target(path));
    let next = keys
        .next
        .as_ref()
        .map(|n| query.clone().with("cursor", n.0.to_string()).target(path));
    let empty = match next {
        Some(_) => "No match among the records searched so far; there are more.",
        None => "There are no such keys.",
    };
    html! {
        (rows(&keys.keys, visit.now, with_client, empty))
        (part::pager(first, next))
    }
}

/// Keys, a row each.
pub fn rows(keys: &[KeyView], now: u64, with_client: bool, empty: &str) -> Markup {
    let mut heads = vec!["Key", "Name", "Status", "Scopes", "Plan", "Ends"];
    if with_client {
        heads.insert(1, "Client");
    }
    let row = |k: &KeyView| {
        let id = k.id.0.to_string();
        let mut row = vec![
            html! { a href={ "/console/keys/" (id) } { code { (id) } } },
            html! { @if k.name.is_empty() { span.soft { "–" } } @else { (k.name) } },
            chip(k.status.0.as_str()),
            part::tags(&k.scopes),
            html! { @if let Some(plan) = &k.plan { code { (plan) } } @else { span.soft { "–" } } },
            maybe_time(k.ends(), now, "never"),
        ];
        if with_client {
            let target = format!("/console/clients/{}", encoded(&k.client));
            row.insert(1, html! { a href=(target) { (k.client) } });
        }
        row
    };
    part::table("Keys", &heads, keys.iter().map(row).collect(), empty)
}

/// One key.
pub async fn show(visit: Visit, Path(id): Path<String>) -> Response {
    let page = page(&visit, &id, None, None).await;
    visit.shown(page)
}

fn id(text: &str) -> Result<Id, Problem> {
    let form = Form::default().with("id", text);
    Ok(form.operation::<Show>(&[])?.id)
}

/// One key, and what became of a form about it.
async fn page(
    visit: &Visit,
    text: &str,
    sent: Option<&Form>,
    problem: Option<&Problem>,
) -> Result<Page, Problem> {
    let key = visit.run(Show { id: id(text)? }).await?;
    let used = usage::seen(visit, Of::Key(key.id.clone())).await?;
    let left = usage::quotas(visit, vec![key.id.clone()]).await?;
    let left = left.and_then(|all| all.into_iter().next());
    let own = format!("/console/keys/{}", key.id.0);
    let records = match visit.may::<audit::List>() {
        true => {
            let asked = audit::List {
                subject: Some(key.id.0.to_string()),
                limit: Some(10),
                ..audit::List::default()
            };
            Some(visit.run(asked).await?.records)
        }
        false => None,
    };
    let client = format!("/console/clients/{}", encoded(&key.client));
    let acts = visit.may::<Revoke>();
    let body = html! {
        (facts(&key, visit.now))
        (lately(&key, left.as_ref(), visit.now))
        (used.shown(visit, &own))
        @if acts { (changes(visit, &key, sent, problem)) }
        @if let Some(records) = &records {
            section aria-labelledby="log" {
                h2 #log { "What was done to it" }
                (super::audit::rows(records, "Nothing was written down yet."))
            }
        }
    };
    let title = match key.name.is_empty() {
        true => format!("Key {}", key.id.0),
        false => format!("{} ({})", key.name, key.id.0),
    };
    let page = Page::new(Section::Keys, title, body).refused(problem);
    Ok(match is_client(visit) {
        true => page.up("/console", "Your keys"),
        false => page.up(client, key.client.clone()),
    })
}

fn facts(key: &KeyView, now: u64) -> Markup {
    let seconds = |t: &Option<keystile_model::wire::Time>| t.as_ref().map(|t| t.0);
    let words = |list: &[String], none: &str| match list.is_empty() {
        true => html! { span.soft { (none) } },
        false => part::tags(list),
    };
    let labels: Vec<String> = key.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let mut all = vec![
        ("Status", chip(key.status.0.as_str())),
        (
            "Kind",
            html! { (key.kind.as_str()) ", " code { (key.environment.0) } },
        ),
        ("Scopes", words(&key.scopes, "none")),
        (
            "Plan",
            html! { @if let Some(plan) = &key.plan { code { (plan) } } @else { span.soft { "none" } } },
        ),
        ("Limits of its own", words(&key.limits, "those of the plan")),
        ("Created", time(key.created.0, now)),
        ("Ends", maybe_time(seconds(&key.expires), now, "never")),
    ];
    if let Some(until) = seconds(&key.works_until) {
        all.push(("Gives way", time(until, now)));
    }
    if let Some(from) = seconds(&key.not_before) {
        all.push(("Begins", time(from, now)));
    }
    if let Some(revoked) = seconds(&key.revoked) {
        all.push((
            "Revoked",
            html! { (time(revoked, now)) @if !key.reason.is_empty() { " (" (key.reason) ")" } },
        ));
    }
    if !key.cidrs.is_empty() || !key.deny_cidrs.is_empty() {
        all.push(("Only from", words(&key.cidrs, "everywhere")));
        all.push(("Never from", words(&key.deny_cidrs, "nowhere")));
    }
    if !key.origins.is_empty() {
        all.push(("Origins", words(&key.origins, "any")));
    }
    if !key.certificates.is_empty() {
        all.push(("Client certificates", words(&key.certificates, "any")));
    }
    if !labels.is_empty() {
        all.push(("Labels", words(&labels, "none")));
    }
    if let Some(from) = &key.rotated_from {
        let id = from.0.to_string();
        all.push((
            "Takes the place of",
            html! { a href={ "/console/keys/" (id) } { code { (id) } } },
        ));
    }
    html! { section.card aria-label="What it is" { (part::facts(all)) } }
}

/// When and where from it was used last, and what is left of its quota.
fn lately(key: &KeyView, left: Option<&Left>, now: u64) -> Markup {
    let of = |f: fn(&KeyUse) -> Option<&String>| {
        let text = key.usage.as_ref().and_then(f);
        html! { @if let Some(text) = text { (text) } @else { span.soft { "not noted" } } }
    };
    let last = key.usage.as_ref().and_then(|u| u.last_used.as_ref());
    let mut all = vec![(
        "Last used",
        maybe_time(last.map(|t| t.0), now, "not that we know"),
    )];
    if last.is_some() {
        all.push(("Last from", of(|u| u.last_address.as_ref())));
        all.push(("First from", of(|u| u.first_address.as_ref())));
        all.push(("Last by", of(|u| u.last_agent.as_ref())));
    }
    let quota = match left {
        Some(left) => usage::quota(left, now),
        None => html! { span.soft { "cannot be read at present" } },
    };
    all.push(("Quota", quota));
    html! { section.card aria-label="How it is used" { (part::facts(all)) } }
}

/// What can be done to it.
fn changes(visit: &Visit, key: &KeyView, sent: Option<&Form>, problem: Option<&Problem>) -> Markup {
    let id = key.id.0.to_string();
    let at = |verb: &str| format!("/console/keys/{id}/{verb}");
    let revoked = key.status.0 == Status::Revoked;
    let expired = key.status.0 == Status::Expired;
    let own = is_client(visit);
    let held = held::showing(current(key), &FIELDS);
    let form = sent.unwrap_or(&held);
    let of = |verb: &str| problem.filter(|_| form.text("do") == verb);
    let (rename, rotate, revoke) = (
        Draft::new(form, of("update")),
        Draft::new(form, of("rotate")),
        Draft::new(form, of("revoke")),
    );
    let enable = Draft::new(form, of("enable"));
    html! {
        @if revoked {
            (part::hint(html! { p { "It is revoked, for good. Nothing can be done to it any more." } }))
        } @else {
            div.columns {
                section.card aria-labelledby="rotate" {
                    h2 #rotate { "Rotate" }
                    p { "A new key takes its place, with the same rules. This one works on for a while, so that you can exchange it without haste." }
                    (rotate.summary())
                    @if expired {
                        p.soft { "It has ended: create a new one instead." }
                    } @else {
                        form method="post" action=(at("rotate")) {
                            (visit.seal()) (visit.nonce(form)) (visit.seen(key))
                            (field("grace", "This one works on for").placeholder("24h").hint("24h, 7d, or 0 for not at all.").line(&rotate))
                            button type="submit" { "Rotate" }
                        }
                        details {
                            summary { "It was due, and its successor waits" }
                            form method="post" action=(at("fetch")) {
                                (visit.seal()) (visit.nonce(form)) (visit.seen(key))
                                p { "Where a plan rotates keys by itself, the new key is fetched here, once." }
                                button.quiet type="submit" { "Fetch the successor" }
                            }
                        }
                    }
                }
                section.card aria-labelledby="off" {
                    (enable.summary())
                    @if key.disabled {
                        h2 #off { "Enable" }
                        @if own {
                            p { "It is switched off. Whoever runs this API can switch it on again." }
                        } @else {
                            p { "It is switched off, and can be switched on again." }
                            form method="post" action=(at("enable")) { (visit.seal()) (visit.seen(key)) button type="submit" { "Enable" } }
                        }
                    } @else {
                        h2 #off { "Disable" }
                        @if own {
                            p { "Switches it off until whoever runs this API enables it again." }
                        } @else {
                            p { "Switches it off until you enable it again." }
                        }
                        form method="post" action=(at("disable")) { (visit.seal()) button.quiet type="submit" { "Disable" } }
                    }
                    h2 { "Revoke" }
                    p { "Switches it off for good. Whoever uses it is refused within seconds." }
                    (revoke.summary())
                    form method="post" action=(at("revoke")) data-confirm=(id) {
                        (visit.seal())
                        (field("reason", "Reason").hint("For the audit log.").line(&revoke))
                        (field("confirm", &format!("Type {id} to confirm")).needed().line(&revoke))
                        button.danger type="submit" { "Revoke for good" }
                    }
                }
            }
            section.card aria-labelledby="change" {
                h2 #change { "Change" }
                (rename.summary())
                form method="post" action={ "/console/keys/" (id) } {
                    (visit.seal()) (held::hidden(form, &FIELDS))
                    div.grid {
                        (field("name", "Name").line(&rename))
                        (field("scopes", "Scopes").hint("Parted by spaces.").line(&rename))
                        (field("plan", "Plan of its own").hint("Empty: its client's.").line(&rename))
                        (field("limits", "Limits of its own").placeholder("100/1m:20").hint("Empty: those of its plan.").line(&rename))
                        (field("expires", "Ends").placeholder("90d, 2027-01-31").hint("Empty: never.").line(&rename))
                        (field("cidrs", "Only from").placeholder("10.0.0.0/8").hint("Empty: from everywhere.").line(&rename))
                        (field("labels", "Labels").placeholder("team=web").hint(LABELS).line(&rename))
                    }
                    button type="submit" { "Save" }
                }
            }
        }
    }
}

/// How labels are typed.
pub const LABELS: &str =
    "Separated by spaces; quote a value that contains any: owner=\"Jane Doe\".";

/// The fields of the form that changes a key.
const FIELDS: [&str; 7] = [
    "name", "scopes", "plan", "limits", "expires", "cidrs", "labels",
];

/// A key as the fields of the form that changes it.
fn current(key: &KeyView) -> Form {
    let expires = key
        .expires
        .as_ref()
        .map(|t| keystile_model::when::rfc3339(t.0));
    Form::default()
        .with("name", key.name.clone())
        .with("scopes", key.scopes.join(" "))
        .with("plan", key.own_plan.clone().unwrap_or_default())
        .with("limits", key.limits.join(" "))
        .with("expires", expires.unwrap_or_default())
        .with("cidrs", key.cidrs.join(" "))
        .with("labels", pairs_text(&key.labels))
        .with("grace", "24h")
}

/// Changes what was typed over, if all that the form showed is as it was.
pub async fn update(Path(text): Path<String>, Sent { visit, form }: Sent) -> Response {
    let form = form.with("do", "update");
    let word = match FIELDS.iter().any(|name| held::is_typed(&form, name)) {
        true => "updated",
        false => "as-it-was",
    };
    match changed(&visit, &text, &form).await {
        Ok(()) => visit.go(&format!("/console/keys/{}", encoded(&text)), word),
        Err(problem) => again(&visit, &text, &form, problem).await,
    }
}

async fn changed(visit: &Visit, text: &str, form: &Form) -> Result<(), Problem> {
    let update = typed(text, form)?;
    let form = form.clone();
    visit
        .with::<Update, _>(text, move |store, world| {
            store.together(|store| {
                let id = update.id.clone();
                let now = current(&Show { id }.run(store, world)?);
                held::check(&form, &now, &FIELDS, Refuse::Any)?;
                update.run(store, world).map(drop)
            })
        })
        .await
}

/// What was typed over.
fn typed(text: &str, form: &Form) -> keystile_model::error::Result<Update> {
    let typed = |name: &str| held::is_typed(form, name);
    let mut update: Update = Form::default().with("id", text).operation(&[])?;
    if typed("name") {
        update.name = Some(form.text("name").to_owned());
    }
    if typed("scopes") {
        update.scopes = Some(form.words("scopes"));
    }
    if typed("plan") {
        update.plan = Some(form.given("plan").map(str::to_owned));
    }
    if typed("limits") {
        update.limits = Some(parsed_list("limits", &form.words("limits"))?);
    }
    if typed("expires") {
        let expires = form.given("expires").map(TimeWords::read).transpose();
        let expires = expires.map_err(|e| told(Code::InvalidValue, e).field("expires"))?;
        update.expires = Some(expires);
    }
    if typed("cidrs") {
        update.cidrs = Some(parsed_list("cidrs", &form.words("cidrs"))?);
    }
    if typed("labels") {
        (update.labels, update.remove_labels) = typed_labels(form)?;
    }
    Ok(update)
}

/// The pairs to set, and the names of those to remove.
///
/// # Errors
/// What is no label.
pub fn typed_labels(
    form: &Form,
) -> keystile_model::error::Result<(BTreeMap<String, String>, Vec<String>)> {
    let pairs: BTreeMap<String, String> = labels(&form.pairs("labels"))?.into_iter().collect();
    let before = form.pairs(&held::was("labels"));
    let names = before.iter().filter_map(|p| Some(p.split_once('=')?.0));
    let gone = names.filter(|name| !pairs.contains_key(*name));
    let gone = gone.map(str::to_owned).collect();
    Ok((pairs, gone))
}

async fn again(visit: &Visit, text: &str, form: &Form, problem: Problem) -> Response {
    let key = match visit
        .run(Show {
            id: match id(text) {
                Ok(id) => id,
                Err(p) => return visit.shown(Err(p)),
            },
        })
        .await
    {
        Ok(key) => key,
        Err(_) => return visit.shown(Err(problem)),
    };
    // What the form does not say stands there as it is.
    let mut filled = held::merged(form, current(&key), &FIELDS);
    for name in ["grace", "reason", "confirm", "do"] {
        if !form.all(name).is_empty() {
            filled = filled.with(name, form.text(name));
        }
    }
    let page = page(visit, text, Some(&filled), Some(&problem)).await;
    visit.shown(page)
}

/// What is said when a form about a key was refused.
pub async fn refused(visit: &Visit, text: &str, form: Form, problem: Problem) -> Response {
    again(visit, text, &form, problem).await
}

/// Switches it off for now.
pub async fn disable(Path(text): Path<String>, Sent { visit, .. }: Sent) -> Response {
    let done = match id(&text) {
        Ok(id) => visit.run(Disable { id }).await,
        Err(problem) => Err(problem),
    };
    after(&visit, &text, done.map(drop), "disabled")
}

/// Switches it on again, if it is as the page showed it.
pub async fn enable(Path(text): Path<String>, Sent { visit, form }: Sent) -> Response {
    let done = match id(&text) {
        Ok(id) => visit.unchanged(Enable { id }, &form).await,
        Err(problem) => Err(problem),
    };
    match done {
        Err(problem) if problem.status == 412 => {
            again(&visit, &text, &form.with("do", "enable"), problem).await
        }
        done => after(&visit, &text, done.map(drop), "enabled"),
    }
}

fn after(visit: &Visit, text: &str, done: Result<(), Problem>, word: &str) -> Response {
    match done {
        Ok(()) => visit.go(&format!("/console/keys/{}", encoded(text)), word),
        Err(problem) => visit.shown(Err(problem)),
    }
}

/// Switches it off for good, if its id was typed.
pub async fn revoke(Path(text): Path<String>, Sent { visit, form }: Sent) -> Response {
    let form = form.with("do", "revoke");
    let id = match id(&text) {
        Ok(id) => id,
        Err(problem) => return visit.shown(Err(problem)),
    };
    if form.text("confirm") != id.0.to_string() {
        let e = super::form::unconfirmed(&id.0.to_string(), "type the id of the key");
        return again(&visit, &text, &form, e.into()).await;
    }
    let reason = form.text("reason").to_owned();
    match visit.run(Revoke { id, reason }).await {
        Ok(_) => after(&visit, &text, Ok(()), "revoked"),
        Err(problem) => again(&visit, &text, &form, problem).await,
    }
}
