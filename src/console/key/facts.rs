//! What a key is, and what it was used for lately.

use keystile_api::key::{KeyUse, KeyView};
use keystile_api::usage::Left;
use maud::{Markup, html};

use super::super::part::{chip, maybe_time, time};
use super::super::{part, usage};

pub(super) fn facts(key: &KeyView, now: u64) -> Markup {
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
pub(super) fn lately(key: &KeyView, left: Option<&Left>, now: u64) -> Markup {
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
