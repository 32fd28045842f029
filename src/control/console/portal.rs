//! The portal: what a client sees of itself.

use maud::html;

use super::key;
use super::page::{Page, Section};
use super::part;
use super::visit::Visit;
use crate::error::{Kind, refuse};
use crate::operation::client;
use crate::operation::encoded;
use crate::serve::problem::Problem;
use crate::when;

/// The first page of a client: its keys.
///
/// # Errors
/// Those of the operations.
pub async fn home(visit: &Visit) -> Result<Page, Problem> {
    let Some(name) = visit.client().map(str::to_owned) else {
        let e = refuse("this token is bound to no client", "ask for another one");
        return Err(e.of(Kind::Forbidden).into());
    };
    let own = visit
        .run(client::Show {
            name: name.clone(),
            without_keys: true,
        })
        .await?;
    let keys = key::found(visit, Some(name.clone())).await?;
    let ceilings = visit.ceilings().cloned().unwrap_or_default();
    let issue = format!("/console/clients/{}/issue", encoded(&name));
    let body = html! {
        (part::facts(vec![
            ("Plan", html! { @if let Some(plan) = &own.client.plan { code { (plan) } } @else { span.soft { "none" } } }),
            ("Scopes that you may give", part::tags(&ceilings.scopes)),
            ("Keys at once", html! {
                @if let Some(most) = ceilings.max_keys { (most) " at most" } @else { span.soft { "as many as you need" } }
            }),
            ("Keys last", html! {
                @if let Some(most) = ceilings.max_expiry { (when::duration(most)) " at most" } @else { span.soft { "as long as you choose" } }
            }),
        ]))
        (key::filters(&visit.query, "/console", false))
        (key::listed(&keys, visit, "/console", false))
    };
    Ok(Page::new(Section::Keys, "Your keys", body)
        .actions(html! { a.button href=(issue) { "Create a key" } }))
}
