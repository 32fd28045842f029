//! Usage: what Envoys counted, as a chart with its numbers, what was odd about keys, and
//! what is left of their quotas.

mod charts;

use maud::{Markup, html};

use super::chart;
use super::part::{self, number, time};
use super::visit::Visit;
use charts::{busiest, course, reasons};
use keystile_api::usage::{Anomalies, AnomalyView, Left, Quota, Show, Usage, left_of};
use keystile_api::{Operation as _, policy};
use keystile_model::error::{Kind, Result};
use keystile_model::when::When;
use keystile_model::wire::{Id, Time, TimeWords};
use keystile_model::world::World;
use keystile_registry::usage::question::By;
use keystile_server::problem::Problem;
use keystile_store::Store;

/// Ranges of time that a page offers. The first is meant if the URL says none of them.
const RANGES: [Range; 3] = [
    Range("24h", "24 hours", 86_400),
    Range("7d", "7 days", 7 * 86_400),
    Range("30d", "30 days", 30 * 86_400),
];
/// Reasons of refusals with a colour of their own; the rest are taken together.
const REASONS: usize = 2;
/// Groups of a table.
const GROUPS: u32 = 10;
/// Outcomes told apart: more than there are.
const OUTCOMES: u32 = 64;
/// Rows of a table of anomalies.
const ODD: usize = 20;

/// As the URL says it, in words, and in seconds.
#[derive(Clone, Copy)]
struct Range(&'static str, &'static str, u64);

/// Whose usage.
#[derive(Clone)]
pub enum Of {
    /// Everybody's.
    All,
    /// A client's.
    Client(String),
    /// A key's.
    Key(Id),
}

/// What a page says about usage; `None` if it cannot be read, which is no reason to show
/// nothing else.
pub struct Seen {
    counts: Option<Counts>,
    range: Range,
    /// `report` with `usage` is in the policy; `None` for who may not see that.
    reported: Option<bool>,
}

struct Counts {
    /// By outcome.
    outcomes: Usage,
    /// By what suits the page.
    busiest: Usage,
    odd: Vec<AnomalyView>,
}

impl Of {
    fn asked(&self, since: u64, by: By, limit: u32) -> Show {
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

    /// What the second table tells apart.
    fn by(&self) -> By {
        match self {
            Self::All => By::Client,
            Self::Client(_) => By::Key,
            Self::Key(_) => By::Route,
        }
    }
}

/// Asks for all that a page shows, in one turn.
///
/// # Errors
/// Those of the operations, unless it is only that usage cannot be read.
pub async fn seen(visit: &Visit, of: Of) -> std::result::Result<Seen, Problem> {
    let asked = visit.query.text("since");
    let range = RANGES.into_iter().find(|r| r.0 == asked);
    let range = range.unwrap_or(RANGES[0]);
    let counts = visit.with::<Show, _>("", move |store, world| {
        readable(counts(&of, range, store, world))
    });
    let counts = counts.await?;
    let nothing = counts
        .as_ref()
        .is_some_and(|c| c.outcomes.counted_since.is_none());
    let reported = match nothing && visit.may::<policy::Show>() {
        true => {
            let policy = visit.run(policy::Show { revision: None }).await?.policy;
            let report = policy.get("report");
            Some(report.is_some_and(|r| r.get("usage").is_none_or(|u| u == true)))
        }
        false => None,
    };
    Ok(Seen {
        counts,
        range,
        reported,
    })
}

fn counts(of: &Of, range: Range, store: &mut Store, world: &World) -> Result<Counts> {
    let odd = match of {
        Of::Key(_) => Vec::new(),
        Of::All => Anomalies::default().run(store, world)?.anomalies,
        Of::Client(name) => {
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
        outcomes: show(By::Outcome, OUTCOMES)?,
        busiest: show(of.by(), GROUPS)?,
        odd,
    })
}

/// `None`, and a word in the log, if usage cannot be read. Who asks for what is not there,
/// or not his, is told so.
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

impl Seen {
    /// How many requests there were, as numbers worth a place of their own; nothing if
    /// nothing is known.
    pub fn figures(&self) -> Markup {
        let Some(u) = self.counted() else {
            return html! {};
        };
        html! {
            (part::figure(&number(u.requests), &format!("requests in {}", self.range.1), Some("#usage")))
            (part::figure(&number(u.refused), "of them refused", Some("#usage")))
        }
    }

    /// What was counted, if anything ever was.
    fn counted(&self) -> Option<&Usage> {
        let counts = self.counts.as_ref()?;
        counts.outcomes.counted_since.as_ref()?;
        Some(&counts.outcomes)
    }

    /// The chart, its range, and the tables beside it; `path` is the page's own.
    pub fn shown(&self, visit: &Visit, path: &str) -> Markup {
        html! {
            section.card.usage aria-labelledby="usage" {
                div.row {
                    h2 #usage { "Requests" }
                    (self.ranges(visit, path))
                }
                @match &self.counts {
                    None => p.note.warn { "Usage cannot be read at present; the server's log says why." },
                    Some(_) if self.counted().is_none() => (self.nothing(visit)),
                    Some(counts) if counts.outcomes.requests == 0 => {
                        p.empty { "No requests in the last " (self.range.1) "." }
                        (self.limits(&counts.outcomes, visit.now))
                    },
                    Some(counts) => {
                        (chart::bars(&course(&counts.outcomes)))
                        (self.limits(&counts.outcomes, visit.now))
                        div.columns {
                            (reasons(&counts.outcomes))
                            (busiest(&counts.busiest))
                        }
                    },
                }
            }
        }
    }

    /// What was odd about keys in the last 7 days; nothing where nothing was counted.
    pub fn odd(&self, visit: &Visit) -> Markup {
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
                html! { @if let Some(client) = &a.client { (client) } @else { span.soft { "none of this store" } } },
                html! { (a.words()) },
                time(a.at.0, visit.now),
            ]
        };
        html! {
            section aria-labelledby="odd" {
                h2 #odd { "What was odd in the last 7 days" }
                (part::table(
                    "Anomalies",
                    &["What", "Key", "Client", "Numbers", "When"],
                    counts.odd.iter().take(ODD).map(row).collect(),
                    "Nothing was odd.",
                ))
                @if all > ODD { p.soft { (number((all - ODD) as u64)) " more: see them with " code { "keystilectl usage anomalies" } "." } }
            }
        }
    }

    fn ranges(&self, visit: &Visit, path: &str) -> Markup {
        let query = visit.query.clone().without("done");
        html! {
            nav.ranges aria-label="Range of time" {
                @for Range(word, words, _) in RANGES {
                    a href=(query.clone().with("since", word).target(path))
                        aria-current=[(word == self.range.0).then_some("true")] { (words) }
                }
            }
        }
    }

    fn nothing(&self, visit: &Visit) -> Markup {
        html! {
            p.empty {
                @match self.reported {
                    Some(false) => {
                        "Nothing has been counted: the policy does not ask Envoys to. Add "
                        code { "report" } " to "
                        @if visit.may::<policy::Apply>() { a href="/console/policy/edit" { "the policy" } } @else { "the policy" }
                        ", with the cluster of this server."
                    },
                    Some(true) => "Nothing has been counted yet. The policy asks Envoys to tell; none has so far.",
                    None => "Nothing has been counted yet.",
                }
            }
        }
    }

    /// What the numbers leave out.
    fn limits(&self, u: &Usage, now: u64) -> Markup {
        let began = u.counted_since.as_ref().filter(|t| t.0 > u.from.0);
        html! {
            @if let Some(began) = began { p.soft { "Counted since " (time(began.0, now)) "." } }
            @if let Some(n) = u.uncounted.filter(|n| *n > 0) {
                p.note.warn { (number(n)) " requests of the whole store are in no count: an Envoy had no room for them, or told of them too late." }
            }
        }
    }
}

/// What a rule of anomalies found, in words.
fn told(rule: &str) -> Markup {
    let words = match rule {
        "spike" => "far more requests than usual",
        "new-network" => "used from a new network",
        "scope-denials" => "keeps asking for what it may not",
        "rotated-key-used" => "still used, and soon replaced",
        "revoked-key-tried" => "tried after it was revoked",
        _ => rule,
    };
    html! { span title=(rule) { (words) } }
}

/// What is left of the quotas of some keys, in their order; `None` for each if usage cannot
/// be read.
///
/// # Errors
/// Those of the operation, unless it is only that.
pub async fn quotas(
    visit: &Visit,
    keys: Vec<Id>,
) -> std::result::Result<Option<Vec<Left>>, Problem> {
    visit
        .with::<Quota, _>("", move |store, world| {
            readable(left_of(&keys, store, world))
        })
        .await
}

/// What is left of a key's quota, with a bar of what is used.
pub fn quota(left: &Left, now: u64) -> Markup {
    let (Some(requests), Some(remaining)) = (left.requests, left.remaining) else {
        return html! { span.soft { "none" } };
    };
    html! {
        span.left { (number(remaining)) " of " (number(requests)) " left" }
        meter min="0" max=(requests) value=(left.used) aria-label={ (number(left.used)) " used of " (number(requests)) } {}
        span.soft {
            (number(left.used)) " used this " (left.per.as_deref().unwrap_or("period"))
            @if let Some(Time(until)) = &left.until { "; begins again " (time(*until, now)) }
        }
    }
}

#[cfg(test)]
mod tests;
