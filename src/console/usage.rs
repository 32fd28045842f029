//! Usage: what Envoys counted, as a chart with its numbers, anomalies, and what is left of quotas.

mod charts;
mod lately;

use std::collections::{BTreeMap, BTreeSet};

use keystile_core::key::KeyId;
use maud::{Markup, html};

use super::chart;
use super::context::PageContext;
use super::proof::VERSION;
use super::widgets::{self, number, time};
use charts::{busiest, course, reasons};
use keystile_api::usage::{Anomalies, AnomalyView, QuotaLeft, Show, ShowQuota, Usage, left_of};
use keystile_api::{Operation as _, policy};
use keystile_model::error::{Kind, Result};
use keystile_model::when::When;
use keystile_model::wire::{Id, Time, TimeWords};
use keystile_model::world::World;
use keystile_registry::usage::question::Breakdown;
use keystile_server::problem::Problem;
use keystile_store::Store;
pub use lately::{DayCounts, in_use, last_day};

/// The time ranges that a page offers. The first is the default.
const RANGES: [Range; 3] = [
    Range("24h", "24 hours", 86_400),
    Range("7d", "7 days", 7 * 86_400),
    Range("30d", "30 days", 30 * 86_400),
];
/// Groups of a table.
const GROUPS: u32 = 10;
/// The most outcomes that are distinguished: more than there are.
const OUTCOMES: u32 = 64;
/// Rows of a table of anomalies.
const ODD: usize = 20;

/// The range in the URL, in words, and in seconds.
#[derive(Clone, Copy)]
struct Range(&'static str, &'static str, u64);

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
    /// Whether `report` with `usage` is in the policy; `None` for callers that may not see that.
    reported: Option<bool>,
}

struct Counts {
    /// By outcome.
    outcomes: Usage,
    /// By what suits the page.
    busiest: Usage,
    odd: Vec<AnomalyView>,
}

impl UsageOf {
    fn asked(&self, since: u64, by: Breakdown, limit: u32) -> Show {
        let mut asked = Show {
            since: Some(TimeWords(When::After(since))),
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
    let asked = cx.query.text("since");
    let range = RANGES.into_iter().find(|r| r.0 == asked);
    let range = range.unwrap_or(RANGES[0]);
    let counts = cx.with::<Show, _>("", move |store, world| {
        readable(counts(&of, range, store, world))
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
        reported,
    })
}

fn counts(of: &UsageOf, range: Range, store: &mut Store, world: &World) -> Result<Counts> {
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
    let mut show = |by, limit| of.asked(range.2, by, limit).run(store, world);
    Ok(Counts {
        outcomes: show(Breakdown::Outcome, OUTCOMES)?,
        busiest: show(of.by(), GROUPS)?,
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
            (widgets::figure(&number(u.requests), &format!("requests in {}", self.range.1), Some("#usage")))
            (widgets::figure(&number(u.refused), "of them refused", Some("#usage")))
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
                    (self.ranges(cx, path))
                }
                @match &self.counts {
                    None => p.note.warn { "Usage cannot be read at the moment; the server's log says why." },
                    Some(_) if self.counted().is_none() => (self.nothing(cx)),
                    Some(counts) if counts.outcomes.requests == 0 => {
                        p.empty { "No requests in the last " (self.range.1) "." }
                        (self.limits(&counts.outcomes, cx.now))
                    },
                    Some(counts) => {
                        (chart::bars(&course(&counts.outcomes)))
                        (self.limits(&counts.outcomes, cx.now))
                        div.columns {
                            (reasons(&counts.outcomes))
                            (busiest(&counts.busiest))
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

    fn ranges(&self, cx: &PageContext, path: &str) -> Markup {
        let query = cx.query.clone().without("done").without(VERSION);
        html! {
            nav.ranges aria-label="Time range" {
                @for Range(word, words, _) in RANGES {
                    a href=(query.clone().with("since", word).target(path))
                        aria-current=[(word == self.range.0).then_some("true")] { (words) }
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
