//! Quotas: showing what is left, and giving quotas back.

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::usage::{QuotaLeft, left_of};
use super::{ANYBODY, Endpoint, ISSUERS, Method, Operation};
use keystile_model::error::{Kind, Result};
use keystile_model::record::{Key, Status};
use keystile_model::wire::{self, Id};
use keystile_model::world::World;
use keystile_registry as registry;
use keystile_registry::key;
use keystile_store::{Store, Tx};

/// How many keys one answer, or one reset, covers.
const PAGE: u32 = 200;
/// How many keys are searched for one answer; keys without a quota are left out.
const SCAN: usize = 2_000;

/// Shows what is left of the quotas of a client or a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QuotaShow)]
pub struct Show {
    /// A client's name, or a key's id.
    pub of: String,
    /// How many at most: 1 to 10,000; 200 by default.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the previous page.
    #[serde(default)]
    pub cursor: Option<Id>,
}

/// Gives back the quotas of a client or a key: what was taken in the current window no longer
/// counts. Envoys learn of it with their next usage report.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QuotaReset)]
pub struct Reset {
    /// A client's name, or a key's id.
    pub of: String,
    /// How many keys at most: 1 to 10,000; 200 by default.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the previous answer.
    #[serde(default)]
    pub cursor: Option<Id>,
}

/// The quota of a key.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = QuotaOfKey)]
pub struct OfKey {
    /// The key's id.
    pub key: Id,
    /// Its client.
    pub client: String,
    /// What is left; after a reset, what was left before it.
    #[serde(flatten)]
    pub left: QuotaLeft,
}

/// Quotas of keys; keys without a quota, and expired or revoked keys, are left out.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Quotas)]
pub struct OfKeys {
    /// Sorted by the id of the key.
    pub quotas: Vec<OfKey>,
    /// The `cursor` of the next page, if there is one. A page may be empty and still have it.
    pub next: Option<Id>,
}

impl Operation for Show {
    type Output = OfKeys;
    const ENDPOINT: Endpoint = Endpoint::get(
        "quota.show",
        "/v1/quotas",
        ANYBODY,
        "Show what is left of the quotas of a client or a key",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<OfKeys> {
        page_of(store, world, &self.of, self.limit, self.cursor)
    }
}

impl Operation for Reset {
    type Output = OfKeys;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "quota.reset",
        "/v1/quotas/reset",
        ISSUERS,
        "Give back the quotas of a client or a key",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<OfKeys> {
        world.caller.unbound("give quotas back")?;
        let mut found = page_of(store, world, &self.of, self.limit, self.cursor)?;
        found.quotas.retain(|q| q.left.used > 0);
        store.with_made_usage(|store, usage| {
            store.write(world, |tx| {
                // Inside the transaction, so that a failed reset leaves no record.
                usage.write(|usage| {
                    for quota in &found.quotas {
                        let key = key::find(tx, &world.caller, quota.key.0)?;
                        let Some(window) = &quota.left.window else {
                            continue;
                        };
                        // Read again, because usage may have been counted in the meantime, and
                        // because keys of one chain of rotations share a quota.
                        let used = usage.quota_taken(key.lineage, window.0)?;
                        if used == 0 {
                            continue;
                        }
                        usage.give_back_quota(key.lineage, window.0, used)?;
                        let shown = |used: u64| json!({"client": key.client, "used": used, "window": window});
                        let id = key.id.to_string();
                        tx.audit(world, "quota.reset", &id, Some(&shown(used)), Some(&shown(0)))?;
                    }
                    Ok(())
                })
            })
        })?;
        Ok(found)
    }
}

/// A page of the quotas of a client, or the one of a key.
fn page_of(
    store: &mut Store,
    world: &World,
    of: &str,
    limit: Option<u32>,
    cursor: Option<Id>,
) -> Result<OfKeys> {
    let room = wire::page(limit, PAGE, "`cursor`")?;
    let now = world.now.seconds();
    let ended = |k: &Key| matches!(k.status(now), Status::Expired | Status::Revoked);
    let (keys, mut next) = store.read(|tx| {
        Ok(match named(tx, world, of)? {
            Named::Key(key) => (vec![*key], None),
            Named::Client => {
                let (mut keys, mut looked, mut next) = (Vec::new(), 0, None);
                key::each(tx, &world.caller, Some(of), cursor.map(|c| c.0), |key| {
                    if looked == SCAN {
                        next = keys.last().map(|k: &Key| Id(k.id));
                        return false;
                    }
                    looked += 1;
                    keys.push(key);
                    true
                })?;
                (keys, next)
            }
        })
    })?;
    let ids: Vec<Id> = keys.iter().map(|k| Id(k.id)).collect();
    let each = keys.into_iter().zip(left_of(&ids, store, world)?);
    let quotas: Vec<OfKey> = each
        .filter(|(key, left)| left.requests.is_some() && !ended(key))
        .map(|(key, left)| OfKey {
            key: Id(key.id),
            client: key.client,
            left,
        })
        .collect();
    let all = quotas.len();
    let quotas = room.fill(quotas);
    if quotas.len() < all {
        next = quotas.last().map(|q| q.key.clone());
    }
    Ok(OfKeys { quotas, next })
}

enum Named {
    Client,
    Key(Box<Key>),
}

/// A client's name may look like a key's id; in that case the client is meant.
fn named(tx: &Tx<'_>, world: &World, of: &str) -> Result<Named> {
    match (registry::client(tx, &world.caller, of), Id::read(of)) {
        (Ok(_), _) => Ok(Named::Client),
        (Err(e), Ok(id)) if e.kind() == Kind::NotFound => {
            Ok(Named::Key(Box::new(key::find(tx, &world.caller, id.0)?)))
        }
        (Err(e), _) => Err(e),
    }
}
