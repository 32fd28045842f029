//! Clients.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::key::KeyView;
use super::{ANYBODY, Endpoint, ISSUERS, Method, Operation};
use crate::Pace;
use keystile_model::error::Result;
use keystile_model::record;
use keystile_model::wire::{self, Id, Time, check_labels, labels};
use keystile_model::world::World;
use keystile_registry as registry;
use keystile_registry::client::{self, ClientDraft, ClientPatch};
use keystile_store::Store;

/// How many keys are shown with their client by default.
const KEYS: u32 = 1_000;
/// Clients per page by default.
const CLIENTS: u32 = 1_000;
/// How many clients are searched for one page, so that no request holds up others for long.
const LOOK: u32 = 20_000;

/// A holder of keys.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Client)]
pub struct ClientView {
    /// Its name.
    pub client: String,
    /// A stable number that is never reused.
    pub number: u32,
    /// The plan for keys without a plan of their own.
    pub plan: Option<String>,
    /// Free text.
    pub description: String,
    /// Labels of your choice.
    pub labels: BTreeMap<String, String>,
    /// When it was created.
    pub created: Time,
}

impl From<&record::Client> for ClientView {
    fn from(c: &record::Client) -> Self {
        Self {
            client: c.name.clone(),
            number: c.number,
            plan: c.plan.clone(),
            description: c.description.clone(),
            labels: c.labels.clone(),
            created: Time(c.created),
        }
    }
}

/// A client and how many keys it has.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct ClientRow {
    /// The client.
    #[serde(flatten)]
    pub client: ClientView,
    /// Keys that are not revoked.
    pub keys: u64,
}

/// A page of clients.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Clients {
    /// Sorted by name. If few of many clients match, the list may be empty although there is a
    /// `next`.
    pub clients: Vec<ClientRow>,
    /// The `cursor` of the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A client and its keys.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ClientDetail {
    /// The client.
    #[serde(flatten)]
    pub client: ClientView,
    /// Increases with every change to the client or its keys. The `ETag` is derived from it.
    #[serde(default)]
    pub revision: u64,
    /// Some of its keys, sorted by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyView>,
    /// The `cursor` of the next page of its keys; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Id>,
}

/// The result of deleting a client.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ClientDeleted {
    /// Its name.
    pub client: String,
    /// Always true.
    pub deleted: bool,
    /// How many keys were revoked with it.
    pub keys_revoked: u64,
}

/// Adds a client.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientCreate)]
pub struct Create {
    /// The name: unique, and safe in headers and logs.
    pub name: String,
    /// The plan for keys that have none of their own.
    #[serde(default)]
    pub plan: Option<String>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Labels of your choice.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Lists clients.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientList)]
pub struct List {
    /// Only clients on this plan.
    #[serde(default)]
    pub plan: Option<String>,
    /// Only clients with this label, `name=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub label: Vec<String>,
    /// Only clients whose name or description contains this, ignoring case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// How many at most: 1 to 10,000; 1,000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the previous page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Shows a client and its keys.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientShow)]
pub struct Show {
    /// Its name.
    pub name: String,
    /// Leave its keys out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_keys: bool,
    /// How many keys at most: 1 to 10,000; 1,000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the previous page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Id>,
}

impl Show {
    /// The client itself, without its keys.
    pub fn without_keys(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            without_keys: true,
            limit: None,
            cursor: None,
        }
    }

    /// With some of its keys.
    pub fn with_keys(name: impl Into<String>) -> Self {
        Self {
            without_keys: false,
            ..Self::without_keys(name)
        }
    }
}

/// Changes a client; fields that are left out stay as they are.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientUpdate)]
pub struct Update {
    /// Its name.
    pub name: String,
    /// A new plan, or null for none.
    #[serde(
        default,
        deserialize_with = "wire::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub plan: Option<Option<String>>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Labels to set.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Names of labels to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_labels: Vec<String>,
}

/// Deletes a client and revokes its keys.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientDelete)]
pub struct Delete {
    /// Its name.
    pub name: String,
    /// Delete it even if it has keys that are not revoked yet.
    #[serde(default)]
    pub sure: bool,
}

impl Operation for Create {
    type Output = ClientView;
    const ENDPOINT: Endpoint =
        Endpoint::create("client.create", "/v1/clients", ISSUERS, "Add a client");

    fn run(self, store: &mut Store, world: &World) -> Result<ClientView> {
        check_labels(&self.labels)?;
        let draft = ClientDraft {
            name: self.name,
            plan: self.plan,
            description: self.description,
            labels: self.labels,
        };
        Ok((&client::create(store, world, draft)?).into())
    }
}

impl Operation for List {
    type Output = Clients;
    const ENDPOINT: Endpoint = Endpoint::get("client.list", "/v1/clients", ANYBODY, "List clients");

    fn run(self, store: &mut Store, world: &World) -> Result<Clients> {
        let labels = labels(&self.label)?;
        let mut room = wire::page(self.limit, CLIENTS, "`cursor`")?;
        let search = self.search.as_deref().unwrap_or_default().to_lowercase();
        let cursor = self.cursor.as_deref().unwrap_or_default();
        store.read(|tx| {
            let mut out = Clients {
                clients: Vec::new(),
                next: None,
            };
            let mut left = LOOK;
            let mut last = None;
            client::each(tx, &world.caller, cursor, |client| {
                if left == 0 {
                    out.next = last.take();
                    return Ok(false);
                }
                left -= 1;
                let wanted = self.wants(&client, &labels, &search);
                last = Some(client.name.clone());
                if !wanted {
                    return Ok(true);
                }
                let row = ClientRow {
                    client: (&client).into(),
                    keys: tx.living_keys(client.number)?,
                };
                if !room.takes(&row) {
                    out.next = out.clients.last().map(|row| row.client.client.clone());
                    return Ok(false);
                }
                out.clients.push(row);
                Ok(true)
            })?;
            Ok(out)
        })
    }
}

impl List {
    /// `search` in lower case.
    fn wants(&self, c: &record::Client, labels: &[(String, String)], search: &str) -> bool {
        let plan = self.plan.as_deref();
        (plan.is_none() || c.plan.as_deref() == plan)
            && labels.iter().all(|(k, v)| c.labels.get(k) == Some(v))
            && [&c.name, &c.description]
                .iter()
                .any(|text| text.to_lowercase().contains(search))
    }
}

impl Operation for Show {
    type Output = ClientDetail;
    const ENDPOINT: Endpoint = Endpoint::get(
        "client.show",
        "/v1/clients/{name}",
        ANYBODY,
        "Show a client and its keys",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<ClientDetail> {
        let mut room = wire::page(self.limit, KEYS, "`cursor`")?;
        let now = world.now.seconds();
        store.read(|tx| {
            let client = registry::client(tx, &world.caller, &self.name)?;
            let mut keys = Vec::new();
            let mut next = None;
            if !self.without_keys {
                let cursor = self.cursor.as_ref().map(|c| c.0);
                tx.keys_after(Some(client.number), cursor, |key| {
                    let view = KeyView::from_key(&key, now);
                    if !room.takes(&view) {
                        next = keys.last().map(|k: &KeyView| k.id.clone());
                        return false;
                    }
                    keys.push(view);
                    true
                })?;
            }
            Ok(ClientDetail {
                client: (&client).into(),
                revision: tx.client_revision(client.number)?,
                keys,
                next,
            })
        })
    }
}

impl Operation for Update {
    type Output = ClientView;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Patch,
        "client.update",
        "/v1/clients/{name}",
        ISSUERS,
        "Change a client",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<ClientView> {
        check_labels(&self.labels)?;
        let patch = ClientPatch {
            plan: self.plan,
            description: self.description,
            labels: self.labels,
            remove_labels: self.remove_labels,
        };
        Ok((&client::update(store, world, &self.name, patch)?).into())
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        super::shown(Show::without_keys(&self.name), store, world)
    }
}

impl Operation for Delete {
    type Output = ClientDeleted;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Delete,
        "client.delete",
        "/v1/clients/{name}",
        ISSUERS,
        "Delete a client and revoke its keys",
    )
    .tagged();

    fn pace(&self) -> Pace {
        Pace::Parts
    }

    fn run(self, store: &mut Store, world: &World) -> Result<ClientDeleted> {
        let revoked = client::delete(store, world, &self.name, self.sure)?;
        Ok(ClientDeleted {
            client: self.name,
            deleted: true,
            keys_revoked: revoked as u64,
        })
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        super::shown(Show::without_keys(&self.name), store, world)
    }
}
