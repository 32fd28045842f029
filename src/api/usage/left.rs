//! What is left of the quotas of keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ANYBODY, Endpoint, Operation};
use keystile_model::error::Result;
use keystile_model::wire::{Id, Time};
use keystile_model::world::World;
use keystile_registry::key;
use keystile_registry::policy;
use keystile_registry::usage::{quotas, window};
use keystile_store::Store;

/// Shows what is left of a key's quota.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UsageQuota)]
pub struct ShowQuota {
    /// The key's id.
    pub id: Id,
}

/// What is left of a quota; all fields are null if there is none.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[schema(as = QuotaLeft)]
pub struct QuotaLeft {
    /// The plan that the quota comes from; null if there is none.
    pub plan: Option<String>,
    /// Requests in each window; null if there is no quota.
    pub requests: Option<u64>,
    /// `day` or `month`.
    pub per: Option<String>,
    /// When the window began.
    pub window: Option<Time>,
    /// When it ends, and the next one begins.
    #[serde(default)]
    pub until: Option<Time>,
    /// Requests let through in it, of the key and those that it was rotated from, minus what was
    /// given back.
    pub used: u64,
    /// What is left.
    pub remaining: Option<u64>,
}

impl Operation for ShowQuota {
    type Output = QuotaLeft;
    const ENDPOINT: Endpoint = Endpoint::get(
        "usage.quota",
        "/v1/keys/{id}/quota",
        ANYBODY,
        "Show what is left of a key's quota",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<QuotaLeft> {
        let mut left = left_of(&[self.id], store, world)?;
        Ok(left.pop().unwrap_or_default())
    }
}

/// What is left of the quotas of some keys, in their order.
///
/// # Errors
/// If a key does not exist, or usage cannot be read.
pub fn left_of(ids: &[Id], store: &mut Store, world: &World) -> Result<Vec<QuotaLeft>> {
    let now = world.now.seconds();
    store.with_usage(|store, usage| {
        store.read(|tx| {
            // Read once for all keys: reading a policy takes longer than everything else here.
            let policy = policy(tx)?.raw;
            let quotas = quotas(&policy, now);
            let each = ids.iter().map(|id| {
                let key = key::find(tx, &world.caller, id.0)?;
                let plan = key.effective_plan().unwrap_or_default();
                let named = policy.plans.get(plan).and_then(|p| p.quota.as_ref());
                let (Some(quota), Some(named)) = (quotas.get(plan), named) else {
                    return Ok(QuotaLeft::default());
                };
                let window = window(quota, now);
                let used = usage.read(|tx| tx.quota_taken(key.lineage, window))?;
                Ok(QuotaLeft {
                    plan: Some(plan.to_owned()),
                    requests: Some(quota.requests),
                    per: Some(keystile_model::wire::word_of(&named.per)),
                    window: Some(Time(window)),
                    until: quota.window(now).map(|w| Time(w.end)),
                    used,
                    remaining: Some(quota.requests.saturating_sub(used)),
                })
            });
            each.collect()
        })
    })
}
