//! How many unknown keys one address may try.

use serde::{Deserialize, Serialize};

/// A token bucket for each address that presents unknown keys: an IPv4 address, or the /64 of an
/// IPv6 one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAttempts {
    /// Unknown keys answered with 401 in each `per`; any more are answered with 429.
    pub attempts: u64,
    /// `1s`, `1m`, `1h`, `1d`.
    pub per: String,
    /// The bucket's size; `attempts` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
}
