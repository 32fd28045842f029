//! Usage: what Envoys counted, as a chart with its numbers, anomalies, and what is left of quotas.

mod charts;
mod lately;
mod only;
mod range;

use std::collections::{BTreeMap, BTreeSet};

use keystile_core::key::KeyId;
use maud::{Markup, html};

use super::chart;
use super::context::PageContext;
use super::widgets::{self, number, time};
use charts::{busiest, course, reasons};
use keystile_api::usage::{Anomalies, AnomalyView, QuotaLeft, Show, ShowQuota, Usage, left_of};
use keystile_api::{Operation as _, policy};
use keystile_model::error::{Kind, Result};
use keystile_model::wire::{Id, Time};
use keystile_model::world::World;
use keystile_registry::usage::question::Breakdown;
use keystile_server::problem::Problem;
use keystile_store::Store;
pub use lately::{DayCounts, in_use, last_day};
use only::OnlyCounted;
use range::{Range, Span};

/// Groups of a table.
const GROUPS: u32 = 10;
/// The most outcomes that are distinguished: more than there are.
const OUTCOMES: u32 = 64;
/// Rows of a table of anomalies.
const ODD: usize = 20;

/// Whose usage.
#[derive(Clone)]
pub enum UsageOf {
    /// Everybody's.
    All,
    /// A client's.
    Client(String),
    /// A key's.
    Key(Id),
}

/// What a page shows about usage; `None` if it cannot be read, in which case the rest of the page
/// is still shown.
pub struct UsageShown {
    counts: Option<Counts>,
    range: Range,
    only: OnlyCounted,
    /// Whether `report` with `usage` is in the policy; `None` for callers that may not see that.
    reported: Option<bool>,
}

struct Counts {
    /// By outcome.
    outcomes: Usage,
    /// By what suits the page.
    busiest: Usage,
    /// By route, unless that is what suits the page.
    routes: Option<Usage>,
    /// The period of the same length before it.
    before: Option<Usage>,
    odd: Vec<AnomalyView>,
}

impl UsageOf {
    fn asked(&self, only: &OnlyCounted, (since, until): Span, by: Breakdown, limit: u32) -> Show {
        let mut asked = Show {
            route: only.route.clone(),
            outcome: only.reason.clone(),
            since: Some(since),
            until,
            by: Some(by),
            limit: Some(limit),
            ..Show::default()
        };
        match self {
            Self::All => {}
            Self::Client(name) => asked.client = Some(name.clone()),
            Self::Key(id) => asked.key = Some(id.clone()),
        }
        asked
    }

    /// What the second table is broken down by.
    fn by(&self) -> Breakdown {
        match self {
            Self::All => Breakdown::Client,
            Self::Client(_) => Breakdown::Key,
            Self::Key(_) => Breakdown::Route,
        }
    }
}

/// Reads everything that a page shows, in one turn.
///
/// # Errors
/// Those of the operations, unless it is only that usage cannot be read.
pub async fn seen(cx: &PageContext, of: UsageOf) -> std::result::Result<UsageShown, Problem> {
    let range = Range::asked(&cx.query)?;
    let only = OnlyCounted::asked(&cx.query);
    let wanted = (range.clone(), only.clone());
    let counts = cx.with::<Show, _>("", move |store, world| {
        readable(counts(&of, &wanted.0, &wanted.1, store, world))
    });
    let counts = counts.await?;
    let nothing = counts
        .as_ref()
        .is_some_and(|c| c.outcomes.counted_since.is_none());
    let reported = match nothing && cx.may::<policy::Show>() {
        true => {
            let policy = cx.run(policy::Show { revision: None }).await?.policy;
            let report = policy.get("report");
            Some(report.is_some_and(|r| r.get("usage").is_none_or(|u| u == true)))
        }
        false => None,
    };
    Ok(UsageShown {
        counts,
        range,
        only,
        reported,
    })
}

fn counts(
    of: &UsageOf,
    range: &Range,
    only: &OnlyCounted,
    store: &mut Store,
    world: &World,
) -> Result<Counts> {
    let odd = match of {
        UsageOf::Key(_) => Vec::new(),
        UsageOf::All => Anomalies::default().run(store, world)?.anomalies,
        UsageOf::Client(name) => {
            let client = Some(name.clone());
            let asked = Anomalies {
                client,
                since: None,
            };
            asked.run(store, world)?.anomalies
        }
    };
    let mut show = |span, by, limit| of.asked(only, span, by, limit).run(store, world);
    let before = range.before().map(|span| show(span, Breakdown::Outcome, 1));
    let before = before.transpose()?;
    let routes = match of.by() {
        Breakdown::Route => None,
        _ => Some(show(range.span(), Breakdown::Route, GROUPS)?),
    };
    Ok(Counts {
        routes,
        outcomes: show(range.span(), Breakdown::Outcome, OUTCOMES)?,
        busiest: show(range.span(), of.by(), GROUPS)?,
        // What was not counted yet cannot be compared with.
        before: before.filter(|b| b.counted_since.as_ref().is_some_and(|t| t.0 <= b.from.0)),
        odd,
    })
}

/// `None`, with a log line, if usage cannot be read. Other errors (it does not exist, or is not the
/// caller's) are returned.
fn readable<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Forbidden) => Err(e),
        Err(e) => {
            tracing::warn!(error = %e, "usage cannot be read");
            Ok(None)
        }
    }
}

impl UsageShown {
    /// The numbers of requests as prominent figures; nothing if nothing is known.
    pub fn figures(&self) -> Markup {
        let Some(u) = self.counted() else {
            return html! {};
        };
        html! {
            (widgets::figure(&number(u.requests), &format!("requests {}", self.range.words()), Some("#usage")))
            (widgets::figure(&number(u.refused), "of them refused", Some("#usage")))
            (widgets::figure(&share(u), "refused share", Some("#usage")))
        }
    }

    /// What was counted, if anything ever was.
    fn counted(&self) -> Option<&Usage> {
        let counts = self.counts.as_ref()?;
        counts.outcomes.counted_since.as_ref()?;
        Some(&counts.outcomes)
    }

    /// The chart, its range, and the tables beside it; `path` is the page's own.
    pub fn shown(&self, cx: &PageContext, path: &str) -> Markup {
        html! {
            section.card.usage aria-labelledby="usage" {
                div.row {
                    h2 #usage { "Requests" }
                    (self.range.choice(cx, path))
                }
                (self.only.chosen(cx, path))
                @match &self.counts {
                    None => p.note.warn { "Usage cannot be read at the moment; the server's log says why." },
                    Some(_) if self.counted().is_none() => (self.nothing(cx)),
                    Some(counts) if counts.outcomes.requests == 0 => {
                        p.empty { @if self.only.is_all() { "No requests " } @else { "No such requests " } (self.range.words()) "." }
                        (self.limits(&counts.outcomes, cx.now))
                    },
                    Some(counts) => {
                        (self.compared(counts))
                        (chart::bars(&course(&counts.outcomes, &|from, until| self.range.narrowed(cx, path, from, until))))
                        (self.limits(&counts.outcomes, cx.now))
                        div.columns {
                            (reasons(&counts.outcomes, &self.only, cx, path))
                            (busiest(&counts.busiest, "busiest", &self.only, cx, path))
                            @if let Some(routes) = &counts.routes { (busiest(routes, "routes", &self.only, cx, path)) }
                        }
                    },
                }
            }
        }
    }

    /// Anomalies of the last 7 days; nothing if nothing was counted.
    pub fn odd(&self, cx: &PageContext) -> Markup {
        let (Some(counts), Some(_)) = (&self.counts, self.counted()) else {
            return html! {};
        };
        let all = counts.odd.len();
        let row = |a: &AnomalyView| {
            let id = a.key.0.to_string();
            vec![
                html! { (told(&a.rule)) },
                html! {
                    @if a.client.is_some() { a href={ "/console/keys/" (id) } { code { (id) } } }
                    @else { code { (id) } }
                },
                html! { @if let Some(client) = &a.client { (client) } @else { span.soft { "not in this store" } } },
                html! { (a.words()) },
                time(a.at.0, cx.now),
            ]
        };
        html! {
            section aria-labelledby="odd" {
                h2 #odd { "Anomalies in the last 7 days" }
                (widgets::table(
                    "Anomalies",
                    &["Anomaly", "Key", "Client", "Figures", "When"],
                    counts.odd.iter().take(ODD).map(row).collect(),
                    "No anomalies.",
                ))
                @if all > ODD { p.soft { (number((all - ODD) as u64)) " more: see them with " code { "keystilectl usage anomalies" } "." } }
            }
        }
    }

    /// Anomalies of the last 7 days by what they are: how many keys, and where they are listed.
    pub fn odd_by_kind(&self) -> Vec<(&'static str, u64, String)> {
        let all = self.counts.as_ref().map_or(&[][..], |c| c.odd.as_slice());
        let mut keys: BTreeMap<&str, BTreeSet<KeyId>> = BTreeMap::new();
        for anomaly in all {
            keys.entry(&anomaly.rule).or_default().insert(anomaly.key.0);
        }
        let group = |(rule, ids): (&str, BTreeSet<KeyId>)| {
            let target = match (ids.len(), ids.first()) {
                (1, Some(id)) => format!("/console/keys/{id}"),
                _ => "#odd".to_owned(),
            };
            (words_of(rule), ids.len() as u64, target)
        };
        keys.into_iter().map(group).collect()
    }

    /// The refused share, and what is different from the period before.
    fn compared(&self, counts: &Counts) -> Markup {
        let now = &counts.outcomes;
        html! {
            p.soft {
                (share(now)) " of " (number(now.requests)) " requests were refused."
                @if let Some(before) = &counts.before {
                    " Compared with the period before: " (change(now.requests, before.requests)) " requests, "
                    (change(now.refused, before.refused)) " refused."
                }
            }
        }
    }

    fn nothing(&self, cx: &PageContext) -> Markup {
        html! {
            p.empty {
                @match self.reported {
                    Some(false) => {
                        "Nothing has been counted, because the policy does not ask for it. Add "
                        code { "report" } " to "
                        @if cx.may::<policy::Apply>() { a href="/console/policy/edit" { "the policy" } } @else { "the policy" }
                        ", with the cluster of this server."
                    },
                    Some(true) => "Nothing has been counted yet. The policy asks Envoys to report, but none has so far.",
                    None => "Nothing has been counted yet.",
                }
            }
        }
    }

    /// Notes on what the numbers leave out.
    fn limits(&self, u: &Usage, now: u64) -> Markup {
        let began = u.counted_since.as_ref().filter(|t| t.0 > u.from.0);
        html! {
            @if let Some(began) = began { p.soft { "Counted since " (time(began.0, now)) "." } }
            @if let Some(n) = u.uncounted.filter(|n| *n > 0) {
                p.note.warn { (number(n)) " requests of the whole store are missing from the counts: an Envoy had no room for them, or reported them too late." }
            }
        }
    }
}

/// The refused share: `5.8 %`, and `< 0.1 %` for what would be rounded to nothing.
fn share(u: &Usage) -> String {
    let permille = u.refused.saturating_mul(1_000) / u.requests.max(1);
    match (permille, u.refused) {
        (0, 0) => "0 %".to_owned(),
        (0, _) => "< 0.1 %".to_owned(),
        _ => format!("{}.{} %", permille / 10, permille % 10),
    }
}

/// How a number has changed.
fn change(now: u64, before: u64) -> String {
    if before == 0 || now == before {
        return match now == before {
            true => "as many".to_owned(),
            false => format!("{} instead of no", number(now)),
        };
    }
    let percent = now.abs_diff(before).saturating_mul(100) / before;
    let way = if now > before { "more" } else { "fewer" };
    format!("{percent} % {way}")
}

/// What a rule of anomalies found, in words.
fn told(rule: &str) -> Markup {
    html! { span title=(rule) { (words_of(rule)) } }
}

fn words_of(rule: &str) -> &'static str {
    match rule {
        "spike" => "far more requests than usual",
        "new-network" => "used from a new network",
        "scope-denials" => "repeatedly lacked a scope",
        "rotated-key-used" => "still used, but expires soon",
        "revoked-key-tried" => "tried after it was revoked",
        "exposed" => "sent over plain HTTP",
        _ => "behaved unusually",
    }
}

/// What is left of the quotas of some keys, in their order; `None` for each if usage cannot
/// be read.
///
/// # Errors
/// Those of the operation, unless it is only that.
pub async fn quotas(
    cx: &PageContext,
    keys: Vec<Id>,
) -> std::result::Result<Option<Vec<QuotaLeft>>, Problem> {
    cx.with::<ShowQuota, _>("", move |store, world| {
        readable(left_of(&keys, store, world))
    })
    .await
}

/// What is left of a key's quota, with a bar of what is used.
pub fn quota(left: &QuotaLeft, now: u64) -> Markup {
    let (Some(requests), Some(remaining)) = (left.requests, left.remaining) else {
        return html! { span.soft { "none" } };
    };
    html! {
        span.left { (number(remaining)) " of " (number(requests)) " left" }
        meter min="0" max=(requests) value=(left.used) aria-label={ (number(left.used)) " used of " (number(requests)) } {}
        span.soft {
            (number(left.used)) " used this " (left.per.as_deref().unwrap_or("period"))
            @if let Some(Time(until)) = &left.until { "; starts anew " (time(*until, now)) }
        }
    }
}

#[cfg(test)]
mod tests;
