//! The portal: what a client sees of itself.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::context::PageContext;
use super::page::{Page, Section};
use super::state::Console;
use super::widgets;
use super::{key, usage};
use keystile_api::client;
use keystile_api::encoded;
use keystile_api::key::KeyView;
use keystile_api::usage::QuotaLeft;
use keystile_model::error::{Code, Kind, Result, refuse};
use keystile_model::record::Status;
use keystile_model::when;
use keystile_server::problem::Problem;

/// The first page of a client: its keys.
///
/// # Errors
/// Those of the operations.
pub async fn home(cx: &PageContext) -> Result<Page, Problem> {
    let Some(name) = cx.client().map(str::to_owned) else {
        let e = refuse(
            Code::NotPermitted,
            "this token is bound to no client",
            "ask for another one",
        );
        return Err(e.with_kind(Kind::Forbidden).into());
    };
    let own = cx.run(client::Show::without_keys(name.clone())).await?;
    let keys = key::found(cx, Some(name.clone())).await?;
    let used = usage::seen(cx, usage::UsageOf::Client(name.clone())).await?;
    let alive: Vec<&KeyView> = keys.keys.iter().filter(|k| works(k)).collect();
    let ids = alive.iter().map(|k| k.id.clone()).collect();
    let left = usage::quotas(cx, ids).await?.unwrap_or_default();
    let ceilings = cx.ceilings().cloned().unwrap_or_default();
    let issue = format!("/console/clients/{}/issue", encoded(&name));
    let body = html! {
        (widgets::facts(vec![
            ("Plan", html! { @if let Some(plan) = &own.client.plan { code { (plan) } } @else { span.soft { "none" } } }),
            ("Scopes that you may grant", widgets::tags(&ceilings.scopes)),
            ("Keys at once", html! {
                @if let Some(most) = ceilings.max_keys { (most) " at most" } @else { span.soft { "as many as you need" } }
            }),
            ("Lifetime of keys", html! {
                @if let Some(most) = ceilings.max_expiry { (when::duration(most)) " at most" } @else { span.soft { "as long as you choose" } }
            }),
        ]))
        (key::filters(&cx.query, "/console"))
        (key::listed(&keys, cx, "/console", false))
        (quotas(&alive, &left, cx.now))
        (used.shown(cx, "/console"))
        (used.odd(cx))
    };
    Ok(Page::new(Section::Keys, "Your keys", body)
        .actions(html! { a.button href=(issue) { "Create a key" } }))
}

/// The operator's logo.
pub async fn logo(State(console): State<Console>) -> Response {
    match console.brand().logo() {
        Some((kind, bytes)) => asset(kind, bytes.to_vec()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The operator's colours.
pub async fn style(State(console): State<Console>) -> Response {
    match console.brand().style() {
        Some(style) => asset("text/css; charset=utf-8", style.as_bytes().to_vec()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn asset(kind: &'static str, bytes: Vec<u8>) -> Response {
    // Pages name them by their content.
    let cached = "public, max-age=31536000, immutable";
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, cached),
    ];
    (headers, bytes).into_response()
}

fn works(key: &KeyView) -> bool {
    !matches!(key.status.0, Status::Revoked | Status::Expired)
}

/// What is left of the quotas of those keys that have one.
fn quotas(keys: &[&KeyView], left: &[QuotaLeft], now: u64) -> Markup {
    let row = |(key, left): (&&KeyView, &QuotaLeft)| {
        left.requests?;
        let id = key.id.0.to_string();
        Some(vec![
            html! { a href={ "/console/keys/" (id) } { code { (id) } } },
            html! { @if key.name.is_empty() { span.soft { "–" } } @else { (key.name) } },
            html! { @if let Some(plan) = &left.plan { code { (plan) } } },
            usage::quota(left, now),
        ])
    };
    let rows: Vec<_> = keys.iter().zip(left).filter_map(row).collect();
    html! {
        @if !rows.is_empty() {
            section aria-labelledby="quotas" {
                h2 #quotas { "What is left of your quotas" }
                (widgets::table("Quotas", &["Key", "Name", "Plan", "Left"], rows, ""))
            }
        }
    }
}
