//! Plans: limits and quotas.

use serde::{Deserialize, Serialize};

/// A plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPlan {
    /// All are checked first, then all are charged.
    #[serde(default)]
    pub limits: Vec<RawLimit>,
    /// A quota for each key, together with those that it was rotated from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<RawQuota>,
    /// How old its keys may become before they are replaced: `90d`, or `never`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_every: Option<String>,
    /// How long a replaced key goes on working: `7d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<String>,
    /// How long its keys may live: `90d`. Not sent to filters.
    #[cfg(not(target_family = "wasm"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<String>,
}

/// A token bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLimit {
    /// Tokens refilled in each `per`.
    pub requests: u64,
    /// `1s`, `1m`, `1h`, `1d`.
    pub per: String,
    /// Its size; `requests` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Whose requests it counts.
    #[serde(default)]
    pub by: By,
}

/// Whose requests a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Each key, with those that it was rotated from.
    #[default]
    Key,
    /// All keys of a client together.
    Client,
}

/// A quota by day or month. Every request that is let through counts as one, whatever it costs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawQuota {
    /// Requests allowed in each period.
    pub requests: u64,
    /// The period.
    pub per: QuotaPeriod,
    /// The time zone that determines when a period ends: `Europe/Berlin`.
    #[serde(default = "utc", skip_serializing_if = "is_utc")]
    pub time_zone: String,
    /// When a period ends and the next begins.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rolls_over: RollOver,
}

/// The period of a [`RawQuota`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuotaPeriod {
    /// From a day to the next.
    Day,
    /// From a day of a month to the same day of the next.
    Month,
}

/// When a period ends and the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RollOver {
    /// The day of the month, 1 to 28: every month has it.
    pub day: u8,
    /// The hour of that day, 0 to 23.
    pub hour: u8,
}

impl Default for RollOver {
    fn default() -> Self {
        Self { day: 1, hour: 0 }
    }
}

fn utc() -> String {
    "UTC".to_owned()
}

fn is_utc(zone: &str) -> bool {
    zone == "UTC"
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
