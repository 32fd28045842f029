//! The time range of a page, which is in its URL.

use keystile_api::usage::Show;
use keystile_model::when::{self, When};
use keystile_model::wire::TimeWords;
use keystile_server::problem::Problem;
use maud::{Markup, html};

use super::super::context::PageContext;
use super::super::form::{Form, FormState};
use super::super::proof::VERSION;
use super::super::widgets::field;

/// The ranges that a page offers: in the URL, in words, in seconds.
const RANGES: [(&str, &str, u64); 5] = [
    ("15m", "15 minutes", 900),
    ("1h", "1 hour", 3_600),
    ("24h", "24 hours", 86_400),
    ("7d", "7 days", 7 * 86_400),
    ("30d", "30 days", 30 * 86_400),
];
/// The one that is shown if none is asked for.
const USUAL: usize = 2;

/// Since when, and until when.
pub(super) type Span = (TimeWords, Option<TimeWords>);

/// What a page shows.
#[derive(Clone)]
pub(super) enum Range {
    /// One of those offered.
    Offered(&'static str, &'static str, u64),
    /// Any other.
    Own {
        since: TimeWords,
        until: Option<TimeWords>,
        words: String,
    },
}

impl Range {
    /// The one that a query asks for.
    pub fn asked(query: &Form) -> Result<Self, Problem> {
        let (since, until) = (query.text("since"), query.given("until"));
        let usual = RANGES.get(USUAL).map_or("", |r| r.0);
        let offered = match since {
            "" => usual,
            since => since,
        };
        if until.is_none()
            && let Some((word, words, seconds)) = RANGES.into_iter().find(|r| r.0 == offered)
        {
            return Ok(Self::Offered(word, words, seconds));
        }
        let mut asked = Form::default().with("since", since);
        if let Some(until) = until {
            asked = asked.with("until", until);
        }
        let asked: Show = asked.operation(&[])?;
        let words = match until {
            Some(until) => format!("from {since} to {until}"),
            None => format!("since {since}"),
        };
        Ok(Self::Own {
            since: asked.since.unwrap_or(TimeWords(When::After(86_400))),
            until: asked.until,
            words,
        })
    }

    pub fn span(&self) -> Span {
        match self {
            Self::Offered(.., seconds) => (TimeWords(When::After(*seconds)), None),
            Self::Own { since, until, .. } => (since.clone(), until.clone()),
        }
    }

    /// As long before.
    pub fn before(&self) -> Option<Span> {
        let Self::Offered(.., seconds) = self else {
            return None;
        };
        let ago = |seconds| TimeWords(When::After(seconds));
        Some((ago(seconds.saturating_mul(2)), Some(ago(*seconds))))
    }

    /// `in 24 hours`
    pub fn words(&self) -> String {
        match self {
            Self::Offered(_, words, _) => format!("in {words}"),
            Self::Own { .. } => "in the chosen time".to_owned(),
        }
    }

    /// The same page for one bar of a chart.
    pub fn narrowed(&self, cx: &PageContext, path: &str, from: u64, until: u64) -> String {
        let query = plain(cx).with("since", when::rfc3339(from));
        query.with("until", when::rfc3339(until)).target(path)
    }

    /// The ranges to choose from, and any other.
    pub fn choice(&self, cx: &PageContext, path: &str) -> Markup {
        let query = plain(cx);
        let (chosen, own) = match self {
            Self::Offered(word, ..) => (*word, None),
            Self::Own { words, .. } => ("", Some(words)),
        };
        let draft = FormState::new(&cx.query, None);
        let kept = query.clone().without("since").without("until");
        html! {
            nav.ranges aria-label="Time range" {
                @for (word, words, _) in RANGES {
                    a href=(query.clone().without("until").with("since", word).target(path))
                        aria-current=[(word == chosen).then_some("true")] { (words) }
                }
            }
            details.own open[own.is_some()] {
                summary { @if let Some(words) = own { (words) } @else { "Another time" } }
                form.filters method="get" action=(path) aria-label="Another time" {
                    (kept.hidden())
                    (field("since", "Since").placeholder("2026-11-28T10:00Z, 3h").line(&draft))
                    (field("until", "Until").placeholder("now").line(&draft))
                    button.quiet type="submit" { "Show" }
                }
            }
        }
    }
}

/// The query of a page without what only an action left in it.
pub(super) fn plain(cx: &PageContext) -> Form {
    cx.query.clone().without("done").without(VERSION)
}
