//! Requests over time, by outcome, and the busiest.

use keystile_api::encoded;
use keystile_api::usage::{Usage, UsageGroup};
use keystile_model::when;
use keystile_registry::usage::Step;
use keystile_registry::usage::question::Breakdown;
use maud::{Markup, html};

use super::super::chart::{Bar, Series};
use super::super::context::PageContext;
use super::super::widgets::number;
use super::only::OnlyCounted;

/// How many reasons for refusals have a colour of their own; the rest are taken together.
const REASONS: usize = 2;
/// The shortest step, of which there is nothing shorter to see; seconds.
const FINEST: u64 = 60;

/// A bar for each step: what was let through, the commonest reasons of refusals, the rest.
pub(super) fn course<'u>(u: &'u Usage, narrowed: &dyn Fn(u64, u64) -> String) -> Series<'u> {
    let refusals = || u.groups.iter().filter(|g| refused(g) > 0);
    let mut parts = vec!["let through"];
    parts.extend(refusals().take(REASONS).map(name));
    let rest = refusals().nth(REASONS).is_some();
    if rest {
        parts.push("other refusals");
    }
    let bars = u.points.iter().enumerate().map(|(i, point)| {
        let mut left = point.requests.saturating_sub(point.allowed);
        let mut values = vec![point.allowed];
        for group in refusals().take(REASONS) {
            let n = group.points.get(i).copied().unwrap_or(0);
            left = left.saturating_sub(n);
            values.push(n);
        }
        if rest {
            values.push(left);
        }
        let (label, short) = at(point.at.0, u.step);
        let length = u.step.seconds();
        let target = (length > FINEST).then(|| narrowed(point.at.0, point.at.0 + length));
        Bar {
            label,
            short,
            values,
            target,
        }
    });
    Series {
        title: "Requests by outcome",
        axis: match u.step {
            Step::Minute => "Minute (UTC)",
            Step::Hour => "Hour (UTC)",
            Step::Day => "Day (UTC)",
        },
        bars: bars.collect(),
        parts,
    }
}

pub(super) fn refused(group: &UsageGroup) -> u64 {
    group.requests.saturating_sub(group.allowed)
}

pub(super) fn name(group: &UsageGroup) -> &str {
    group.name.as_deref().unwrap_or("none")
}

/// A time in full, and short for below a bar.
pub(super) fn at(seconds: u64, step: Step) -> (String, String) {
    let text = when::short(seconds);
    let text = text.as_str();
    let (full, short) = match step {
        Step::Minute => (0..16, 14..16),
        Step::Hour => (0..16, 11..13),
        Step::Day => (0..10, 8..10),
    };
    let cut = |range| {
        text.get::<std::ops::Range<usize>>(range)
            .unwrap_or(text)
            .to_owned()
    };
    (cut(full), cut(short))
}

/// Refusals by reason.
pub(super) fn reasons(u: &Usage, only: &OnlyCounted, cx: &PageContext, path: &str) -> Markup {
    let rows: Vec<_> = u.groups.iter().filter(|g| refused(g) > 0).collect();
    html! {
        div {
            h3 { "Refused, by reason" }
            @if rows.is_empty() {
                p.soft { "Nothing was refused." }
            } @else {
                table.plain.reasons {
                    thead { tr { th scope="col" { "Reason" } th.num scope="col" { "Requests" } } }
                    tbody {
                        @for group in rows {
                            tr {
                                th scope="row" {
                                    @if only.reason.is_some() { code { (name(group)) } }
                                    @else { a href=(OnlyCounted::with_reason(cx, path, name(group))) { code { (name(group)) } } }
                                }
                                td.num { (number(refused(group))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The largest clients, keys or routes, in a table of that name.
pub(super) fn busiest(
    u: &Usage,
    name: &str,
    only: &OnlyCounted,
    cx: &PageContext,
    path: &str,
) -> Markup {
    let (title, head, folder) = match u.by {
        Some(Breakdown::Client) => ("By client", "Client", Some("clients")),
        Some(Breakdown::Key) => ("By key", "Key", Some("keys")),
        _ => ("By route", "Route", None),
    };
    html! {
        div {
            h3 { (title) }
            table class={ "plain " (name) } {
                thead {
                    tr {
                        th scope="col" { (head) }
                        th.num scope="col" { "Requests" }
                        th.num scope="col" { "Refused" }
                    }
                }
                tbody {
                    @for group in &u.groups {
                        tr {
                            th scope="row" {
                                @match (&group.name, folder) {
                                    (Some(name), Some(folder)) => a href=(OnlyCounted::on(cx, &format!("/console/{folder}/{}", encoded(name)))) { (name) },
                                    (Some(name), None) if only.route.is_some() => code { (name) },
                                    (Some(name), None) => a href=(OnlyCounted::with_route(cx, path, name)) { code { (name) } },
                                    (None, Some(_)) => span.soft { "no known key" },
                                    (None, None) => span.soft { "no route" },
                                }
                            }
                            td.num { (number(group.requests)) }
                            td.num { (number(refused(group))) }
                        }
                    }
                    @if let Some(others) = &u.others {
                        tr {
                            th scope="row" { span.soft { (number(others.groups)) " more" } }
                            td.num { (number(others.requests)) }
                            td.num { (number(others.requests.saturating_sub(others.allowed))) }
                        }
                    }
                }
            }
        }
    }
}
