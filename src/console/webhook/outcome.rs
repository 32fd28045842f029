//! The state of a webhook, and what its receiver answered, in a few words.

use maud::{Markup, html};

use super::super::widgets::chip;
use keystile_api::webhook::{DeliveryView, WebhookView};

/// `active`, `paused`.
pub(super) fn state(hook: &WebhookView) -> Markup {
    match hook.paused {
        Some(_) => chip("paused"),
        None => chip("active"),
    }
}

/// `200`, `answered 500`, `cannot be reached`.
pub(super) fn answer(one: &DeliveryView) -> Markup {
    html! {
        @match (&one.reason, one.status) {
            (Some(reason), _) => span.chip.is-refused { (reason) },
            (None, Some(status)) => span.chip.is-good { "accepted, " (status) },
            (None, None) => span.chip.is-good { "accepted" },
        }
    }
}
