//! Envoys: what they were sent, and what they have in force.

use axum::response::Response;
use maud::{Markup, html};

use super::context::{PageContext, SubmittedForm};
use super::form::Form;
use super::page::{Page, Section};
use super::widgets::{self, ago, chip};
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
        section.card {
            (health(&fleet.nodes, version, cx.now))
            @if fleet.signed_with == ["hmac-sha256"] {
                p.soft { "Keysets are signed with HMAC only: every Envoy has the secret, and could sign a keyset itself. With Ed25519, Envoys have public keys." }
            } @else if !fleet.signed_with.is_empty() {
                p.soft { "Keysets are signed with " (fleet.signed_with.join(" and ")) "." }
            }
        }
        (widgets::table(
            "Envoys",
            &["Envoy", "State", "Keyset in force", "Sent last", "VMs", "Reports", ""],
            shown.iter().map(|n| row(cx, n, version)).collect(),
            "No Envoy has connected yet. Start one whose configuration names this server for discovery; it is listed here at once.",
        ))
        (widgets::pager(first, next))
        details {
            summary { "What these words mean" }
            p.soft { "A keyset is in force on an Envoy once every worker has proved it: an Envoy has one VM per worker and one more. An Envoy whose policy lacks the field report proves nothing." }
            p.soft { "An enrolled Envoy signs its reports with a secret of its own, so that no other can report in its name." }
            p.soft { "Whoever waits until a change is in force everywhere waits for every Envoy in this list, connected or not. Forget those that are gone for good." }
        }
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

/// How many have what they should have.
pub fn health(nodes: &[FleetNode], version: u64, now: u64) -> Markup {
    let all = nodes.len();
    let is_gone = |n: &&FleetNode| n.state == "disconnected";
    let gone = nodes.iter().filter(is_gone).count();
    let proven = |n: &&FleetNode| n.in_force.is_some_and(|v| v >= version);
    let good = nodes.iter().filter(proven).count();
    let refused = |n: &&FleetNode| n.resources.iter().any(|r| r.refused.is_some());
    let refused = nodes.iter().filter(refused).count();
    html! {
        (widgets::facts(vec![
            ("Latest keyset", html! { "changed " (made(version, now)) }),
            ("In force", html! {
                @if all == 0 { span.soft { "no Envoy is known" } }
                @else if good == all { (chip("current")) " on all " (all) }
                @else { (chip("behind")) " on " (good) " of " (all) }
            }),
            ("Disconnected", html! { @if gone == 0 { span.soft { "none" } } @else { (chip("disconnected")) " " (gone) } }),
            ("Refused the last push", html! { @if refused == 0 { span.soft { "none" } } @else { (chip("refused")) " " (refused) } }),
        ]))
    }
}

/// When a version was made: it is a time in milliseconds.
fn made(version: u64, now: u64) -> Markup {
    html! { span title={ "version " (version) } { (ago(version / 1_000, now)) } }
}

/// A time as a server writes it, to the minute.
fn minute(time: &str) -> String {
    let text: String = time.chars().take(16).collect();
    text.replace('T', " ")
}

fn row(cx: &PageContext, node: &FleetNode, version: u64) -> Vec<Markup> {
    let behind = node.in_force.is_none_or(|v| v < version);
    let missing = node.vms.iter().filter(|v| v.missing_base).count();
    vec![
        html! {
            div { strong { (node.id) } @if !node.cluster.is_empty() { " " span.soft { (node.cluster) } } }
            div.soft {
                (node.envoy)
                @if let Some(address) = &node.address { " from " (address) }
            }
        },
        html! {
            (chip(&node.state))
            @if let Some(since) = node.connected_since.as_ref().or(node.disconnected_since.as_ref()) {
                div.soft { "since " time datetime=(since) { (minute(since)) } }
            }
        },
        html! {
            @if let Some(v) = node.in_force {
                @if behind { (chip("behind")) " made " (made(v, cx.now)) } @else { (chip("current")) }
            } @else {
                span.soft { "not proved" }
            }
        },
        html! {
            @for r in &node.resources {
                div {
                    (r.name) ": "
                    @if let Some(sent) = r.sent { (made(sent, cx.now)) } @else { span.soft { "nothing" } }
                    @if r.lagging { " " (chip("lagging")) }
                    @if let Some(refused) = &r.refused { " " (chip("refused")) " " (refused.message) }
                }
            }
        },
        html! {
            (node.vms.len())
            @if missing > 0 { " " (chip("refused")) " " (missing) " without a base" }
        },
        html! { @if node.enrolled { "enrolled" } @else { span.soft { "shared secret" } } },
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
