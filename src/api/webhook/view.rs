//! Webhooks and attempts as answers show them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use keystile_model::record::{self, DeliveryAttempt};
use keystile_model::wire::Time;

/// Everything about a webhook except its secret.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookView {
    /// Its name.
    pub name: String,
    /// Where messages are sent.
    pub url: String,
    /// The events that it is sent: actions of the audit log.
    pub events: Vec<String>,
    /// Messages that it has not accepted yet.
    pub waiting: u64,
    /// When it was created.
    pub created: Time,
    /// Since when it is paused: its messages wait. Null while they are sent.
    #[serde(default)]
    pub paused: Option<Time>,
    /// The last attempt to deliver a message; null if there was none.
    #[serde(default)]
    pub last_delivery: Option<DeliveryView>,
}

/// An attempt to deliver a message.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = WebhookDelivery)]
pub struct DeliveryView {
    /// Number of the audit record that the message is about.
    pub audit_seq: u64,
    /// The event.
    pub event: String,
    /// Which attempt it was for this message, from 1 on.
    pub attempt: u32,
    /// When it was made.
    pub at: Time,
    /// Whether the receiver accepted the message.
    pub accepted: bool,
    /// The status of the receiver's answer; null without an answer.
    pub status: Option<u16>,
    /// How long the receiver took, in milliseconds.
    pub took_ms: u64,
    /// Why it was not accepted; null if it was.
    pub reason: Option<String>,
    /// When it is sent again; null unless it waits and this was the last attempt.
    pub next: Option<Time>,
}

impl WebhookView {
    pub(super) fn from_record(hook: &record::Webhook, last: Option<&DeliveryAttempt>) -> Self {
        Self {
            name: hook.name.clone(),
            url: hook.url.clone(),
            events: hook.events.clone(),
            waiting: hook.waiting,
            created: Time(hook.created),
            paused: hook.paused.map(Time),
            last_delivery: last.map(DeliveryView::from_record),
        }
    }
}

impl DeliveryView {
    pub(super) fn from_record(one: &DeliveryAttempt) -> Self {
        Self {
            audit_seq: one.seq,
            event: one.action.clone(),
            attempt: one.attempt,
            at: Time(one.at),
            accepted: one.failure.is_none(),
            status: one.status,
            took_ms: one.took_ms,
            reason: one.failure.clone(),
            next: one.next.map(Time),
        }
    }
}
