//! The plans of the policy in force.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ANYBODY, Endpoint, Operation};
use keystile_model::error::Result;
use keystile_model::record::limit_words;
use keystile_model::world::World;
use keystile_registry as registry;
use keystile_store::Store;

/// A named bundle of limits, and how many use it.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// Its name.
    pub plan: String,
    /// Its limits: `100/1m:20`.
    pub limits: Vec<String>,
    /// Its quota.
    pub quota: Option<QuotaView>,
    /// How many clients are on it, among those that the caller may see.
    pub clients: u64,
    /// How many keys that are not revoked use it.
    pub keys: u64,
}

/// A quota.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Quota)]
pub struct QuotaView {
    /// Requests allowed in each period.
    pub requests: u64,
    /// `day` or `month`.
    pub per: String,
}

/// The plans of the policy.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = PlanList)]
pub struct PlanViews {
    /// Sorted by name.
    pub plans: Vec<PlanView>,
}

/// Lists plans.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PlansList)]
pub struct Plans {}

impl Operation for Plans {
    type Output = PlanViews;
    const ENDPOINT: Endpoint = Endpoint::get("plan.list", "/v1/plans", ANYBODY, "List plans");

    fn run(self, store: &mut Store, world: &World) -> Result<PlanViews> {
        let (plans, on, clients) = store.read(|tx| {
            let plans = registry::policy(tx)?.policy.plans;
            // A client's token counts only its own.
            let only = world.caller.narrowed(None);
            Ok((plans, tx.keys_on_plans(only)?, tx.clients_on_plans(only)?))
        })?;
        let view = |name: &String, plan: &keystile_core::policy::Plan| PlanView {
            plan: name.clone(),
            limits: limit_words(&plan.limits),
            quota: plan.quota.as_ref().map(|q| QuotaView {
                requests: q.requests,
                per: keystile_model::wire::word_of(&q.per),
            }),
            clients: clients.get(name).copied().unwrap_or_default(),
            keys: on.get(name).copied().unwrap_or_default(),
        };
        Ok(PlanViews {
            plans: plans.iter().map(|(name, plan)| view(name, plan)).collect(),
        })
    }
}
