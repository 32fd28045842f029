//! How long usage is kept, what counts as an anomaly, and forgetting where keys were used from.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{Endpoint, Method, OWNERS, Operation, STAFF};
use keystile_model::error::Result;
use keystile_model::wire::Span;
use keystile_model::world::World;
use keystile_registry::usage::UsageSettings;
use keystile_store::Store;

/// Shows how long usage is kept, and what counts as an anomaly.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UsageSettingsShow)]
pub struct ShowSettings {}

/// Changes how long usage is kept, and what counts as an anomaly; fields that are left out stay as
/// they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UsageConfigure)]
pub struct Configure {
    /// How long counts by minute are kept: at least 1 hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<Span>,
    /// How long counts by hour are kept: at least 1 day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Span>,
    /// How long counts by day, networks and anomalies are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Span>,
    /// `spike`: the factor by which an hour exceeds the highest hour of the previous 7 days; 0:
    /// off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spike_factor: Option<u64>,
    /// `spike`: the hour must also have more requests than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spike_minimum: Option<u64>,
    /// `new-network`: report none until this long after the first use of a key; 0: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_learning: Option<Span>,
    /// `scope-denials`: the number of requests in an hour; 0: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_denials: Option<u64>,
    /// `rotated-key-used`: the time left before the key stops working; 0: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_notice: Option<Span>,
    /// `revoked-key-tried`: the number of requests in an hour; 0: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_tries: Option<u64>,
}

/// Forgets the addresses and user agents from which keys were used; counts stay.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UsageForget)]
pub struct Forget {}

/// The result of forgetting.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = UsageForgotten)]
pub struct ForgottenUse {}

impl Operation for ShowSettings {
    type Output = UsageSettings;
    const ENDPOINT: Endpoint = Endpoint::get(
        "usage.settings",
        "/v1/usage/settings",
        STAFF,
        "Show how long usage is kept, and what counts as an anomaly",
    )
    .tagged();

    fn run(self, store: &mut Store, _: &World) -> Result<UsageSettings> {
        store.with_usage(|_, usage| usage.read(UsageSettings::read))
    }
}

impl Operation for Configure {
    type Output = UsageSettings;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Patch,
        "usage.configure",
        "/v1/usage/settings",
        OWNERS,
        "Change how long usage is kept, and what counts as an anomaly",
    )
    .tagged();

    fn run(self, store: &mut Store, world: &World) -> Result<UsageSettings> {
        world.caller.owner("change the usage settings")?;
        store.with_made_usage(|store, usage| {
            let before = usage.read(UsageSettings::read)?;
            let after = self.applied(before.clone());
            after.check()?;
            if after == before {
                return Ok(after);
            }
            let shown = |s: &UsageSettings| json!({ "settings": s });
            store.write(world, |tx| {
                tx.audit(
                    world,
                    "usage.configure",
                    "usage",
                    Some(&shown(&before)),
                    Some(&shown(&after)),
                )?;
                // Inside the transaction, so that a setting that cannot be stored leaves no record.
                let json = serde_json::to_string(&after).unwrap_or_default();
                usage.write(|tx| tx.set_usage_settings(&json))
            })?;
            Ok(after)
        })
    }

    fn current(&self, store: &mut Store, world: &World) -> Result<Option<Value>> {
        crate::shown(ShowSettings {}, store, world)
    }
}

impl Configure {
    fn applied(self, to: UsageSettings) -> UsageSettings {
        UsageSettings {
            minutes: self.minutes.unwrap_or(to.minutes),
            hours: self.hours.unwrap_or(to.hours),
            days: self.days.unwrap_or(to.days),
            spike_factor: self.spike_factor.unwrap_or(to.spike_factor),
            spike_minimum: self.spike_minimum.unwrap_or(to.spike_minimum),
            network_learning: self.network_learning.unwrap_or(to.network_learning),
            scope_denials: self.scope_denials.unwrap_or(to.scope_denials),
            rotation_notice: self.rotation_notice.unwrap_or(to.rotation_notice),
            revoked_tries: self.revoked_tries.unwrap_or(to.revoked_tries),
        }
    }
}

impl Operation for Forget {
    type Output = ForgottenUse;
    const ENDPOINT: Endpoint = Endpoint::change(
        Method::Post,
        "usage.forget",
        "/v1/usage/forget",
        OWNERS,
        "Forget the addresses and user agents from which keys were used",
    );

    fn run(self, store: &mut Store, world: &World) -> Result<ForgottenUse> {
        world.caller.owner("forget where keys were used from")?;
        store.with_made_usage(|store, usage| {
            store.write(world, |tx| {
                tx.audit(world, "usage.forget", "usage", None, None)?;
                usage.write(|tx| tx.forget_places())
            })
        })?;
        Ok(ForgottenUse {})
    }
}
