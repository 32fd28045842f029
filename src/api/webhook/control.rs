//! What is done about a webhook whose receiver has trouble.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::super::{Endpoint, Method, OWNERS, Operation, STAFF};
use super::Show;
use super::view::{DeliveryView, WebhookView};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::world::World;
use keystile_registry::webhook::control;
use keystile_store::{KEPT_DELIVERIES, Store};

/// Attempts in an answer, unless it is asked for more.
const USUAL: u32 = 50;

/// Lists the last attempts to deliver messages to a webhook. The last 200 are kept.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookDeliveries)]
pub struct Deliveries {
    /// The webhook's name.
    pub name: String,
    /// The most attempts to list, up to 200; 50 by default.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// The last attempts to deliver messages to a webhook.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = WebhookDeliveryList)]
pub struct DeliveryViews {
    /// The newest first.
    pub deliveries: Vec<DeliveryView>,
}

/// Sends a test event to one webhook.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookTest)]
pub struct Test {
    /// Its name.
    pub name: String,
}

/// Sends a message once more, or now instead of later.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookResend)]
pub struct Resend {
    /// The webhook's name.
    pub name: String,
    /// Number of the audit record that the message is about.
    pub audit_seq: u64,
}

/// A message that is sent as soon as possible.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = WebhookQueued)]
pub struct QueuedEvent {
    /// The webhook's name.
    pub name: String,
    /// Number of the audit record that the message is about.
    pub audit_seq: u64,
}

/// Pauses a webhook: its messages wait until it is resumed.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookPause)]
pub struct Pause {
    /// Its name.
    pub name: String,
}

/// Resumes a paused webhook: the messages that waited are sent.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookResume)]
pub struct Resume {
    /// Its name.
    pub name: String,
}

impl Operation for Deliveries {
    type Output = DeliveryViews;
    const ENDPOINT: Endpoint = Endpoint::get(
        "webhook.deliveries",
        "/v1/webhooks/{name}/deliveries",
        STAFF,
        "List the last attempts to deliver messages to a webhook",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<DeliveryViews> {
        let most = self.limit.unwrap_or(USUAL);
        if !(1..=KEPT_DELIVERIES).contains(&most) {
            return Err(refuse(
                Code::InvalidValue,
                format_args!("`{most}` is not between 1 and {KEPT_DELIVERIES}"),
                format_args!("the last {KEPT_DELIVERIES} attempts are kept"),
            )
            .about("limit"));
        }
        let all = control::deliveries(store, world, &self.name, most)?;
        Ok(DeliveryViews {
            deliveries: all.iter().map(DeliveryView::from_record).collect(),
        })
    }
}

impl Operation for Test {
    type Output = QueuedEvent;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "webhook.test",
        "/v1/webhooks/{name}/test",
        OWNERS,
        "Send a test event to a webhook",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<QueuedEvent> {
        let audit_seq = control::test(store, world, &self.name)?;
        Ok(QueuedEvent {
            name: self.name,
            audit_seq,
        })
    }
}

impl Operation for Resend {
    type Output = QueuedEvent;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "webhook.resend",
        "/v1/webhooks/{name}/resend",
        OWNERS,
        "Send a message to a webhook once more, or now instead of later",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<QueuedEvent> {
        control::resend(store, world, &self.name, self.audit_seq)?;
        Ok(QueuedEvent {
            name: self.name,
            audit_seq: self.audit_seq,
        })
    }
}

impl Operation for Pause {
    type Output = WebhookView;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "webhook.pause",
        "/v1/webhooks/{name}/pause",
        OWNERS,
        "Pause a webhook: its messages wait until it is resumed",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<WebhookView> {
        control::pause(store, world, &self.name, true)?;
        Show { name: self.name }.run(store, world)
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        let name = self.name.clone();
        super::super::shown(Show { name }, store, world)
    }
}

impl Operation for Resume {
    type Output = WebhookView;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "webhook.resume",
        "/v1/webhooks/{name}/resume",
        OWNERS,
        "Resume a paused webhook: the messages that waited are sent",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<WebhookView> {
        control::pause(store, world, &self.name, false)?;
        Show { name: self.name }.run(store, world)
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        let name = self.name.clone();
        super::super::shown(Show { name }, store, world)
    }
}
