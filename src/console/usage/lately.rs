//! What a key or client did in the last day: beside each in lists, and before something is done
//! to it.

use keystile_api::Operation as _;
use keystile_api::key::KeyView;
use keystile_api::usage::Show;
use keystile_model::error::Result;
use keystile_model::when::{self, When};
use keystile_model::wire::TimeWords;
use keystile_registry::usage::question::Breakdown;
use keystile_server::problem::Problem;
use keystile_store::Store;
use maud::{Markup, html};

use super::super::context::PageContext;
use super::super::widgets::number;
use super::only::OnlyCounted;
use super::{UsageOf, readable};

/// How far back, in seconds.
const DAY: u64 = 86_400;

/// Requests of the last 24 hours.
#[derive(Clone, Copy, Default)]
pub struct DayCounts {
    /// All of them.
    pub requests: u64,
    /// Those that were refused.
    pub refused: u64,
}

impl DayCounts {
    /// The refused share, in percent.
    pub fn refused_percent(&self) -> u64 {
        match self.requests {
            0 => 0,
            all => self.refused.saturating_mul(100) / all,
        }
    }
}

/// The last day of each, in their order; `None` if usage cannot be read or nothing was ever
/// counted.
///
/// # Errors
/// Those of the operation, unless it is only that usage cannot be read.
pub async fn last_day(
    cx: &PageContext,
    all: Vec<UsageOf>,
) -> std::result::Result<Option<Vec<DayCounts>>, Problem> {
    let days = cx.with::<Show, _>("", move |store: &mut Store, world| {
        let day = |of: &UsageOf| -> Result<Option<DayCounts>> {
            let day = (TimeWords(When::After(DAY)), None);
            let asked = of.asked(&OnlyCounted::default(), day, Breakdown::Outcome, 1);
            let used = asked.run(store, world)?;
            Ok(used.counted_since.map(|_| DayCounts {
                requests: used.requests,
                refused: used.refused,
            }))
        };
        let days: Result<Option<Vec<DayCounts>>> = all.iter().map(day).collect();
        Ok(readable(days)?.flatten())
    });
    days.await
}

/// Who would notice if a key stopped working.
pub fn in_use(key: &KeyView, day: Option<DayCounts>, now: u64) -> Markup {
    let last = key.usage.as_ref().and_then(|u| u.last_used.as_ref());
    let last = last.map(|t| when::relative(t.0, now));
    html! {
        @match (last, day) {
            (_, None) => "Whether it is in use is not known, because no requests have been counted.",
            (None, Some(_)) => "No request with it was let through, as far as requests were counted.",
            (Some(last), Some(day)) => {
                "It was last used " strong { (last) } ", with "
                strong { (number(day.requests)) @if day.requests == 1 { " request" } @else { " requests" } }
                " in the last 24 hours."
            },
        }
    }
}
