//! Envoys: what they were sent, and what they have in force.

use axum::response::Response;
use maud::{Markup, html};

use super::context::{PageContext, SubmittedForm};
use super::form::Form;
use super::page::{Page, Section};
use super::widgets::{self, chip};
use keystile_api::fleet::FleetNode;
use keystile_api::fleet::{Forget, List};
use keystile_server::problem::Problem;

/// Envoys per page.
const PAGE: usize = 50;

/// The page.
pub async fn show(cx: PageContext) -> Response {
    let page = page(&cx).await;
    cx.shown(page)
}

async fn page(cx: &PageContext) -> Result<Page, Problem> {
    // The data come from the server itself, but the role has to be checked.
    let version = cx
        .with::<List, _>("", |store, _| store.read(|tx| Ok(tx.meta().version)))
        .await?;
    let fleet = cx.fleet();
    let after = cx.query.given("cursor");
    let mut rest = fleet
        .nodes
        .iter()
        .filter(|n| after.is_none_or(|a| n.id.as_str() > a));
    let shown: Vec<&FleetNode> = rest.by_ref().take(PAGE).collect();
    let first = after.map(|_| "/console/fleet".to_owned());
    let next = rest.next().and(shown.last()).map(|last| {
        let query = Form::default().with("cursor", last.id.clone());
        query.target("/console/fleet")
    });
    let body = html! {
        p {
            "Keyset of the store: " code { (version) }
            @if !fleet.signed_with.is_empty() { ", signed with " (fleet.signed_with.join(" and ")) }
        }
        @if fleet.signed_with == ["hmac-sha256"] {
            p.soft { "Signed with HMAC only: every Envoy has the secret, and could sign a keyset itself. With Ed25519, Envoys have public keys." }
        }
        (widgets::table(
            "Envoys",
            &["Node", "State", "In force", "Sent", "VMs", "Enrolled", "Envoy", "From", ""],
            shown.iter().map(|n| row(cx, n, version)).collect(),
            "No Envoy has connected yet. `keystilectl render envoy` prints a configuration for one.",
        ))
        (widgets::pager(first, next))
        p.soft { "`--wait` waits for every known Envoy, connected or not. Forget Envoys that are gone for good." }
        p.soft { "In force is the version that every worker of an Envoy has proved, not the one that it was sent. An Envoy has one VM per worker and one more. Without `report` in its policy, an Envoy proves nothing. An Envoy that is enrolled signs its reports with a secret of its own, so that no other can report in its name." }
    };
    Ok(Page::new(Section::Fleet, "Fleet", body))
}

/// Forgets one that is gone for good.
pub async fn forget(SubmittedForm { cx, form }: SubmittedForm) -> Response {
    match cx.forget(form.text("node")).await {
        Ok(()) => cx.go("/console/fleet", "envoy-forgotten"),
        Err(problem) => cx.shown(Err(problem)),
    }
}

fn row(cx: &PageContext, node: &FleetNode, version: u64) -> Vec<Markup> {
    let behind = node.in_force.is_none_or(|v| v < version);
    vec![
        html! { (node.id) @if !node.cluster.is_empty() { " " span.soft { (node.cluster) } } },
        html! {
            (chip(&node.state))
            @if let Some(since) = node.connected_since.as_ref().or(node.disconnected_since.as_ref()) {
                " " span.soft { "since " (since) }
            }
        },
        html! {
            @if let Some(v) = node.in_force {
                code { (v) } " " @if behind { (chip("behind")) } @else { (chip("current")) }
            } @else {
                span.soft { "not proved" }
            }
        },
        html! {
            @for r in &node.resources {
                div {
                    (r.name) ": "
                    @if let Some(sent) = r.sent { code { (sent) } } @else { span.soft { "nothing" } }
                    @if r.lagging { " " (chip("lagging")) }
                    @if let Some(refused) = &r.refused { " " (chip("refused")) " " (refused.message) }
                }
            }
        },
        html! {
            (node.vms.len())
            @let missing = node.vms.iter().filter(|v| v.missing_base).count();
            @if missing > 0 { " " (chip("refused")) " " (missing) " without a base" }
        },
        html! { @if node.enrolled { "yes" } @else { span.soft { "no" } } },
        html! { (node.envoy) },
        html! { @if let Some(address) = &node.address { (address) } @else { span.soft { "–" } } },
        html! {
            @if cx.may::<Forget>() && node.connected_since.is_none() {
                form method="post" action="/console/fleet/forget" {
                    (cx.seal())
                    input type="hidden" name="node" value=(node.id);
                    button.quiet.small.danger type="submit" aria-label={ "Forget " (node.id) } { "Forget" }
                }
            }
        },
    ]
}
