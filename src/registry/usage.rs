//! Usage: batches of counts from Envoys, kept by minute, hour and day, and queried by people. The
//! server's `usage.md` says what is kept, for how long, and how to switch it off; its `intake` lets
//! batches that arrive at the same time share a transaction.
//!
//! * [`count`]: what such a transaction writes, each batch once;
//! * [`anomaly`]: simple rules over what was counted;
//! * [`question`]: queries for what was counted.

use std::collections::HashMap;

use keystile_core::limit::quota::Quota;
use keystile_core::policy::RawPolicy;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use keystile_model::error::{Code, Result, refuse};
use keystile_model::wire::Span;
use keystile_policy::zones;
pub use keystile_store::Step;
use keystile_store::UsageTx;

pub mod anomaly;
pub mod count;
pub mod question;

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
/// A VM that was silent for this many seconds is forgotten, and a batch from before then is not
/// counted, because it may have been counted already.
pub const LATEST: u64 = 90 * DAY;
/// How long quotas by month are kept for their last batches, in seconds.
const WINDOWS: u64 = 70 * DAY;

/// How long usage is kept, and what counts as an anomaly. A rule whose number is 0 is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = UsageSettings)]
pub struct UsageSettings {
    /// How long counts by minute are kept.
    pub minutes: Span,
    /// How long counts by hour are kept.
    pub hours: Span,
    /// How long counts by day, networks and anomalies are kept.
    pub days: Span,
    /// `spike`: the factor by which an hour exceeds the key's highest hour of the previous 7 days.
    pub spike_factor: u64,
    /// `spike`: the hour must also have more requests than this.
    pub spike_minimum: u64,
    /// `new-network`: report none until this long after the first use of a key.
    pub network_learning: Span,
    /// `scope-denials`: the number of requests in an hour that lacked a scope.
    pub scope_denials: u64,
    /// `rotated-key-used`: the time left before a replaced key ends.
    pub rotation_notice: Span,
    /// `revoked-key-tried`: the number of requests in an hour.
    pub revoked_tries: u64,
}

impl Default for UsageSettings {
    fn default() -> Self {
        Self {
            minutes: Span(2 * DAY),
            hours: Span(60 * DAY),
            days: Span(730 * DAY),
            spike_factor: 10,
            spike_minimum: 1000,
            network_learning: Span(7 * DAY),
            scope_denials: 20,
            rotation_notice: Span(DAY),
            revoked_tries: 1,
        }
    }
}

impl UsageSettings {
    /// Those in force.
    ///
    /// # Errors
    /// Those of the database; or if a newer version wrote them.
    pub fn read(tx: &UsageTx<'_>) -> Result<Self> {
        let json = tx.usage_settings()?;
        if json.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(&json).map_err(|e| {
            refuse(
                Code::StoreNewer,
                format_args!("the usage settings cannot be read ({e})"),
                "use the version that wrote them, or a newer one",
            )
        })
    }

    /// Checks that counts are kept long enough to be useful, and coarser ones longer.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self) -> Result<()> {
        let [minutes, hours, days] = [self.minutes.0, self.hours.0, self.days.0];
        if minutes < HOUR || hours < DAY || days < DAY {
            return Err(refuse(
                Code::OutOfRange,
                "minutes are kept for an hour, hours and days for a day at least",
                "to keep nothing at all, take `usage` out of the policy: then Envoys count nothing",
            ));
        }
        if minutes > hours || hours > days {
            return Err(refuse(
                Code::FieldsConflict,
                "counts by minute would be kept longer than by hour, or those longer than by day",
                "keep the coarser ones at least as long",
            ));
        }
        Ok(())
    }

    /// How long counts of a unit are kept, in seconds.
    pub fn kept(&self, step: Step) -> u64 {
        match step {
            Step::Minute => self.minutes.0,
            Step::Hour => self.hours.0,
            Step::Day => self.days.0,
        }
    }
}

/// The quotas of a policy's plans, with their time zones' clocks from `now` (wall-clock seconds)
/// on, as Envoys get them with the keyset.
pub fn quotas(policy: &RawPolicy, now: u64) -> HashMap<String, Quota> {
    let zones = zones::of(policy, now);
    let plans = policy.plans.iter();
    plans
        .filter_map(|(name, plan)| Some((name.clone(), Quota::new(plan.quota.as_ref()?, &zones)?)))
        .collect()
}

/// When the window of a quota that contains a time began; both in seconds.
pub fn window(quota: &Quota, at: u64) -> u64 {
    quota.window(at).map_or(0, |w| w.start)
}

/// Removes what is older than the settings allow, in steps short enough for batches to get in
/// between; `true` if there is more.
///
/// # Errors
/// Those of the database.
pub fn prune(tx: &mut UsageTx<'_>, now: u64) -> Result<bool> {
    let settings = UsageSettings::read(tx)?;
    for step in Step::ALL {
        let before = now.saturating_sub(settings.kept(step)) / step.seconds();
        if tx.prune_counts(step, before)? {
            return Ok(true);
        }
    }
    tx.prune_others(
        now.saturating_sub(LATEST),
        now.saturating_sub(WINDOWS),
        now.saturating_sub(settings.days.0),
    )?;
    Ok(false)
}

/// Property tests keep the seeds of their failures here, to be committed.
#[cfg(test)]
fn seeded() -> proptest::prelude::ProptestConfig {
    use proptest::test_runner::FileFailurePersistence;
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/seeds.txt");
    proptest::prelude::ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(seeds))),
        ..Default::default()
    }
}
