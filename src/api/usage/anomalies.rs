//! Anomalies in the use of keys.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::SINCE;
use crate::{ANYBODY, Endpoint, Operation};
use keystile_model::error::Result;
use keystile_model::when::When;
use keystile_model::wire::{Id, Time, TimeWords};
use keystile_model::world::World;
use keystile_registry as registry;
use keystile_store::{Anomaly, Store, Tx};

/// Anomalies in one answer at most.
const ANOMALIES: u32 = 1_000;
/// Lists anomalies in the use of keys, latest first.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UsageAnomalies)]
pub struct Anomalies {
    /// Only anomalies of this client's keys.
    #[serde(default)]
    pub client: Option<String>,
    /// Since this time: `24h` is counted back from now. 7 days by default.
    #[serde(default)]
    pub since: Option<TimeWords>,
}

/// Anomalies.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Anomalies)]
pub struct AnomalyViews {
    /// Latest first; at most 1,000.
    pub anomalies: Vec<AnomalyView>,
}

/// An anomaly in the use of a key.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Anomaly)]
pub struct AnomalyView {
    /// When it was found.
    pub at: Time,
    /// The rule that found it.
    pub rule: String,
    /// Which key.
    pub key: Id,
    /// Its client; null for a key that is not in this store.
    pub client: Option<String>,
    /// The numbers behind it.
    #[schema(value_type = Object)]
    pub detail: Value,
}

impl AnomalyView {
    /// The numbers behind it: `requests 812, usual most 40`.
    pub fn words(&self) -> String {
        let words = self
            .detail
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, v)| {
                let text = v.as_str().map_or_else(|| v.to_string(), str::to_owned);
                format!("{} {text}", name.replace('_', " "))
            });
        words.collect::<Vec<_>>().join(", ")
    }
}

impl Operation for Anomalies {
    type Output = AnomalyViews;
    const ENDPOINT: Endpoint = Endpoint::get(
        "usage.anomalies",
        "/v1/usage/anomalies",
        ANYBODY,
        "List anomalies in the use of keys",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<AnomalyViews> {
        let now = world.now.seconds();
        let ago = self.since.map(|t| t.0).unwrap_or(When::After(SINCE));
        let since = ago.ago(now);
        store.with_usage(|store, usage| {
            let client = store.read(|tx| {
                let asked = match world.caller.narrowed(self.client.as_deref()) {
                    _ if self.client.is_some() => self.client.as_deref(),
                    own => own,
                };
                let found = asked.map(|name| registry::client(tx, &world.caller, name));
                Ok(found.transpose()?.map(|c| i64::from(c.number)))
            })?;
            let found = usage.read(|tx| tx.anomalies(client, since, ANOMALIES))?;
            let named = |a: Anomaly, tx: &Tx<'_>| -> Result<AnomalyView> {
                Ok(AnomalyView {
                    at: Time(a.at),
                    rule: a.rule,
                    key: Id(a.key),
                    client: tx.name_of_client(a.client)?,
                    detail: serde_json::from_str(&a.detail).unwrap_or_default(),
                })
            };
            let anomalies = store.read(|tx| found.into_iter().map(|a| named(a, tx)).collect());
            Ok(AnomalyViews {
                anomalies: anomalies?,
            })
        })
    }
}
