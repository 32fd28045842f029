//! Which requests a page shows: those with a reason or of a route, by its URL.

use maud::{Markup, html};

use super::super::context::PageContext;
use super::super::form::Form;
use super::range::plain;

/// In a query, the code of a refusal.
const REASON: &str = "reason";
/// In a query, the route.
const ROUTE: &str = "route";

/// Which requests are counted.
#[derive(Clone, Default)]
pub(super) struct OnlyCounted {
    pub(super) reason: Option<String>,
    pub(super) route: Option<String>,
}

impl OnlyCounted {
    /// Those that a query asks for.
    pub(super) fn asked(query: &Form) -> Self {
        let given = |name| query.given(name).map(str::to_owned);
        Self {
            reason: given(REASON),
            route: given(ROUTE),
        }
    }

    /// Whether all of them are.
    pub(super) fn is_all(&self) -> bool {
        self.reason.is_none() && self.route.is_none()
    }

    /// What is shown, with a way back from each.
    pub(super) fn chosen(&self, cx: &PageContext, path: &str) -> Markup {
        let all = [
            (REASON, "Reason", &self.reason),
            (ROUTE, "Route", &self.route),
        ];
        html! {
            @if !self.is_all() {
                p.chosen.only {
                    "Only "
                    @for (field, word, value) in all {
                        @if let Some(value) = value {
                            a.chip href={ (plain(cx).without(field).target(path)) "#usage" } aria-label={ "Show every " (word.to_lowercase()) " again, not only " (value) } {
                                (word) ": " (value) " ✕"
                            }
                        }
                    }
                }
            }
        }
    }

    /// The same page for one reason.
    pub(super) fn with_reason(cx: &PageContext, path: &str, reason: &str) -> String {
        format!("{}#usage", plain(cx).with(REASON, reason).target(path))
    }

    /// The same page for one route.
    pub(super) fn with_route(cx: &PageContext, path: &str, route: &str) -> String {
        format!("{}#usage", plain(cx).with(ROUTE, route).target(path))
    }

    /// Another page for the same requests and time.
    pub(super) fn on(cx: &PageContext, path: &str) -> String {
        let kept = ["since", "until", REASON, ROUTE];
        let same = kept.iter().fold(Form::default(), |form, name| {
            form.with(name, cx.query.text(name))
        });
        same.target(path)
    }
}
