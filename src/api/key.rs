//! Keys: how they are shown, listed, changed, disabled and revoked. `issue` makes new ones.

use keystile_core::key::KeyId;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{ANYBODY, Endpoint, HOLDERS, MANY, Method, Operation};
use crate::Pace;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::wire::{Id, Time};
use keystile_model::world::World;
use keystile_registry::key;
use keystile_registry::usage::anomaly::AnomalyRule;
use keystile_store::{Store, UsageTx};

mod concern;
mod issue;
mod list;

pub use concern::{Posture, posture};
pub use issue::{Fetch, Import, IssuedKey, IssuedKeys, Rotate};
pub use keystile_model::key::{Issue, KeyConcern, KeyOrder, KeyUseView, KeyView, Update};
pub use list::{KeyPage, List};

/// How a key was used.
fn used(tx: &UsageTx<'_>, id: KeyId) -> Result<Option<KeyUseView>> {
    let used = tx.key_usage(id)?.map(|(_, used)| used);
    // A key whose requests were all refused was not used.
    let used = used.filter(|u| u.last_used.is_some());
    Ok(used.map(|u| KeyUseView {
        first_used: u.first_used.map(Time),
        last_used: u.last_used.map(Time),
        first_address: u.first_address,
        last_address: u.last_address,
        last_agent: u.agent,
    }))
}

/// The keys that were revoked.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Revoked)]
pub struct RevokedKeys {
    /// The keys, in the order of the request.
    pub keys: Vec<KeyView>,
}

/// How many keys one request may revoke.
const MOST: usize = 10_000;

/// Shows a key.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyShow)]
pub struct Show {
    /// Its id.
    pub id: Id,
}

/// Disables a key.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyDisable)]
pub struct Disable {
    /// Its id.
    pub id: Id,
}

/// Enables a disabled key.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyEnable)]
pub struct Enable {
    /// Its id.
    pub id: Id,
}

/// Revokes a key permanently.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyRevoke)]
pub struct Revoke {
    /// Its id.
    pub id: Id,
    /// The reason, for the audit log.
    #[serde(default)]
    pub reason: String,
}

/// Revokes keys permanently: all of them, or none.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeysRevoke)]
pub struct RevokeAll {
    /// Their ids.
    pub ids: Vec<Id>,
    /// The reason, for the audit log.
    #[serde(default)]
    pub reason: String,
}

impl Operation for Show {
    type Output = KeyView;
    const ENDPOINT: Endpoint =
        Endpoint::get("key.show", "/v1/keys/{id}", ANYBODY, "Show a key").tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<KeyView> {
        let key = store.read(|tx| key::find(tx, &world.caller, self.id.0))?;
        let rule = AnomalyRule::Exposed.name();
        let read = |tx: &UsageTx<'_>| Ok((used(tx, key.id)?, tx.last_anomaly(key.id, rule)?));
        let usage = store.with_usage(|_, usage| usage.read(read));
        // A key can be shown, and revoked, even if its usage cannot be read.
        let (usage, exposed) = usage.unwrap_or_else(|e| {
            tracing::warn!(error = %e, "usage cannot be read");
            (None, None)
        });
        Ok(KeyView {
            usage,
            exposed: exposed.map(Time),
            ..KeyView::from_key(&key, world.now.seconds())
        })
    }
}

/// What `If-Match` is compared with.
fn current(id: &Id, store: &mut Store, world: &World) -> Result<Option<Value>> {
    super::shown(Show { id: id.clone() }, store, world)
}

impl Operation for Update {
    type Output = KeyView;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Patch,
        "key.update",
        "/v1/keys/{id}",
        HOLDERS,
        "Change what a key may do",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<KeyView> {
        let now = world.now.seconds();
        let id = self.id.0;
        let patch = self.patch(now)?;
        let key = key::update(store, world, id, patch)?;
        Ok(KeyView::from_key(&key, now))
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        current(&self.id, store, world)
    }
}

impl Operation for Disable {
    type Output = KeyView;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "key.disable",
        "/v1/keys/{id}/disable",
        HOLDERS,
        "Disable a key",
    )
    .tagged();

    fn pace(&self) -> Pace {
        Pace::Urgent
    }

    fn run(self, store: &mut Store, world: &World) -> Result<KeyView> {
        let key = key::set_disabled(store, world, self.id.0, true)?;
        Ok(KeyView::from_key(&key, world.now.seconds()))
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        current(&self.id, store, world)
    }
}

impl Operation for Enable {
    type Output = KeyView;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "key.enable",
        "/v1/keys/{id}/enable",
        HOLDERS,
        "Enable a disabled key",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<KeyView> {
        let key = key::set_disabled(store, world, self.id.0, false)?;
        Ok(KeyView::from_key(&key, world.now.seconds()))
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        current(&self.id, store, world)
    }
}

impl Operation for Revoke {
    type Output = KeyView;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "key.revoke",
        "/v1/keys/{id}/revoke",
        HOLDERS,
        "Revoke a key permanently",
    )
    .tagged();

    fn pace(&self) -> Pace {
        Pace::Urgent
    }

    fn run(self, store: &mut Store, world: &World) -> Result<KeyView> {
        let id = self.id.0;
        key::revoke_all(store, world, &[id], &self.reason)?;
        Show { id: self.id }.run(store, world)
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        current(&self.id, store, world)
    }
}

impl Operation for RevokeAll {
    type Output = RevokedKeys;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "key.revoke_all",
        "/v1/keys/revoke",
        HOLDERS,
        "Revoke keys permanently: all of them, or none",
    );

    fn pace(&self) -> Pace {
        if self.ids.len() > MANY {
            Pace::Sweep
        } else {
            Pace::Urgent
        }
    }

    fn run(self, store: &mut Store, world: &World) -> Result<RevokedKeys> {
        if self.ids.is_empty() || self.ids.len() > MOST {
            return Err(refuse(
                Code::OutOfRange,
                format_args!("{} keys are named", self.ids.len()),
                format_args!("name 1 to {MOST} at once"),
            )
            .field("ids"));
        }
        let ids: Vec<KeyId> = self.ids.iter().map(|i| i.0).collect();
        let keys = key::revoke_all(store, world, &ids, &self.reason)?;
        let now = world.now.seconds();
        Ok(RevokedKeys {
            keys: keys.iter().map(|k| KeyView::from_key(k, now)).collect(),
        })
    }
}
