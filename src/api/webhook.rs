//! Webhooks.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

mod control;
mod view;

pub use control::{Deliveries, DeliveryViews, Pause, QueuedEvent, Resend, Resume, Test};
pub use view::{DeliveryView, WebhookView};

use super::{Endpoint, Method, OWNERS, Operation, STAFF};
use keystile_model::error::Result;
use keystile_model::webhook::WebhookSecret as Signer;
use keystile_model::wire::Secret;
use keystile_model::world::World;
use keystile_registry::webhook::{self, WebhookDraft};
use keystile_store::Store;

/// Webhooks.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Webhooks)]
pub struct WebhookViews {
    /// Sorted by name.
    pub webhooks: Vec<WebhookView>,
}

/// A new webhook.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = WebhookCreated)]
pub struct CreatedWebhook {
    /// The secret with which the receiver checks signatures, shown only once. Null in the answer to
    /// a repeated request.
    pub secret: Option<Secret>,
    /// What the store keeps about it.
    #[serde(flatten)]
    pub view: WebhookView,
}

/// Creates a webhook; its secret is shown only once, in the answer.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookCreate)]
pub struct Create {
    /// Its name.
    pub name: String,
    /// Where messages are sent: an `https://` URL.
    pub url: String,
    /// The events to send: `key.revoke`, `key.*`; everything by default.
    #[serde(default)]
    pub events: Vec<String>,
    /// The secret, `whsec_…`, if the receiver has one already.
    #[serde(default)]
    pub secret: Option<Secret>,
}

/// Lists webhooks.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookList)]
pub struct List {}

/// Shows a webhook.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookShow)]
pub struct Show {
    /// Its name.
    pub name: String,
}

/// Removes a webhook, with the messages that it has not received yet.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookDelete)]
pub struct Delete {
    /// Its name.
    pub name: String,
}

/// The webhook that was removed.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = WebhookDeleted)]
pub struct Deleted {
    /// Its name.
    pub name: String,
    /// Always true.
    pub deleted: bool,
}

impl Operation for Create {
    type Output = CreatedWebhook;
    const ENDPOINT: Endpoint = Endpoint::create(
        "webhook.create",
        "/v1/webhooks",
        OWNERS,
        "Create a webhook; its secret is shown only once, in the answer",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<CreatedWebhook> {
        let secret = self.secret.map(|s| Signer::parse(s.expose_secret()));
        let draft = WebhookDraft {
            name: self.name,
            url: self.url,
            events: self.events,
            secret: secret.transpose()?,
        };
        let (hook, secret) = webhook::create(store, world, draft)?;
        Ok(CreatedWebhook {
            secret: Some(Secret::new(&secret.expose_secret())),
            view: WebhookView::from_record(&hook, None),
        })
    }
}

impl Operation for List {
    type Output = WebhookViews;
    const ENDPOINT: Endpoint =
        Endpoint::get("webhook.list", "/v1/webhooks", STAFF, "List webhooks");

    fn run(self, store: &mut Store, world: &World) -> Result<WebhookViews> {
        let all = webhook::list(store, world)?;
        let last = webhook::control::last_deliveries(store, world)?;
        Ok(WebhookViews {
            webhooks: all
                .iter()
                .map(|w| {
                    let of_it = last.iter().find(|(number, _)| *number == w.number);
                    WebhookView::from_record(w, of_it.map(|(_, one)| one))
                })
                .collect(),
        })
    }
}

impl Operation for Show {
    type Output = WebhookView;
    const ENDPOINT: Endpoint = Endpoint::get(
        "webhook.show",
        "/v1/webhooks/{name}",
        STAFF,
        "Show a webhook",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<WebhookView> {
        let all = List {}.run(store, world)?.webhooks;
        let found = all.into_iter().find(|w| w.name == self.name);
        found.ok_or_else(|| webhook::unknown(&self.name))
    }
}

impl Operation for Delete {
    type Output = Deleted;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Delete,
        "webhook.delete",
        "/v1/webhooks/{name}",
        OWNERS,
        "Remove a webhook, with the messages that it has not received yet",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<Deleted> {
        webhook::delete(store, world, &self.name)?;
        Ok(Deleted {
            name: self.name,
            deleted: true,
        })
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        let name = self.name.clone();
        super::shown(Show { name }, store, world)
    }
}
