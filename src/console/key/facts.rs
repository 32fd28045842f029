//! What a key is, and what it was used for lately.

use keystile_api::key::{KeyUseView, KeyView};
use keystile_api::usage::QuotaLeft;
use maud::{Markup, html};

use super::super::widgets::{chip, maybe_time, time};
use super::super::{usage, widgets};

/// Properties that every key shows, before those that few keys have.
const ABOVE: [&str; 6] = ["name", "scopes", "plan", "limits", "expires", "not_before"];

pub(super) fn facts(key: &KeyView, now: u64) -> Markup {
    let seconds = |t: &Option<keystile_model::wire::Time>| t.as_ref().map(|t| t.0);
    let words = |list: &[String], none: &str| match list.is_empty() {
        true => html! { span.soft { (none) } },
        false => widgets::tags(list),
    };
    let mut all = vec![
        ("Status", chip(key.status.0.as_str())),
        (
            "Kind",
            html! { (key.kind.as_str()) ", " code { (key.environment.0) } },
        ),
        ("Scopes", words(&key.scopes, "none")),
        (
            "Plan",
            html! { @if let Some(plan) = &key.effective_plan { code { (plan) } } @else { span.soft { "none" } } },
        ),
        ("Own limits", words(&key.limits, "those of the plan")),
        ("Created", time(key.created.0, now)),
        ("Expires", maybe_time(seconds(&key.expires), now, "never")),
    ];
    if let Some(until) = seconds(&key.works_until) {
        all.push(("Works until", time(until, now)));
    }
    if let Some(from) = seconds(&key.not_before) {
        all.push(("Not before", time(from, now)));
    }
    if let Some(revoked) = seconds(&key.revoked) {
        all.push((
            "Revoked",
            html! { (time(revoked, now)) @if !key.reason.is_empty() { " (" (key.reason) ")" } },
        ));
    }
    if let Some(at) = seconds(&key.exposed) {
        all.push((
            "Exposed",
            html! { (time(at, now)) " (sent over plain HTTP)" },
        ));
    }
    let ranges = !key.cidrs.is_empty() || !key.deny_cidrs.is_empty();
    for (property, held) in key.words().filter(|(p, _)| !ABOVE.contains(&p.name)) {
        match property.name {
            "cidrs" if ranges => all.push((property.label, words(&held, "any"))),
            "deny_cidrs" if ranges => all.push((property.label, words(&held, "none"))),
            _ if held.is_empty() => {}
            _ => all.push((property.label, words(&held, ""))),
        }
    }
    if let Some(from) = &key.rotated_from {
        let id = from.0.to_string();
        all.push((
            "Rotated from",
            html! { a href={ "/console/keys/" (id) } { code { (id) } } },
        ));
    }
    html! { section.card aria-label="Details" { (widgets::facts(all)) } }
}

/// Its last use, and what is left of its quota.
pub(super) fn lately(key: &KeyView, left: Option<&QuotaLeft>, now: u64) -> Markup {
    let of = |f: fn(&KeyUseView) -> Option<&String>| {
        let text = key.usage.as_ref().and_then(f);
        html! { @if let Some(text) = text { (text) } @else { span.soft { "not recorded" } } }
    };
    let last = key.usage.as_ref().and_then(|u| u.last_used.as_ref());
    let mut all = vec![("Last used", maybe_time(last.map(|t| t.0), now, "not known"))];
    if last.is_some() {
        all.push(("Last address", of(|u| u.last_address.as_ref())));
        all.push(("First address", of(|u| u.first_address.as_ref())));
        all.push(("Last user agent", of(|u| u.last_agent.as_ref())));
    }
    let quota = match left {
        Some(left) => usage::quota(left, now),
        None => html! { span.soft { "cannot be read at the moment" } },
    };
    all.push(("Quota", quota));
    html! { section.card aria-label="Use" { (widgets::facts(all)) } }
}
