//! Where Envoys report to.

use super::check::Errors;
use super::error::PolicyError;
use super::raw::*;
use super::words::seconds;
use crate::advice::Advice;

/// Where reports go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportTarget {
    /// The cluster's name in Envoy's configuration.
    pub cluster: String,
    /// Seconds between two reports if nothing changes.
    pub every: u64,
    /// Whether usage is reported, too.
    pub usage: bool,
    /// How much of addresses is reported.
    pub address: Address,
    /// Whether user agents are reported.
    pub agent: bool,
}

impl ReportTarget {
    /// The longest time between two reports, in seconds.
    pub const EVERY_MAX: u64 = 300;

    /// The `:authority` of reports: the cluster's name, if it is a valid authority. Istio's names
    /// contain `|`, which HTTP/2 servers refuse.
    pub fn authority(&self) -> &str {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        match self.cluster.bytes().all(fits) {
            true => &self.cluster,
            false => "keystile",
        }
    }

    /// Checks what the file says.
    #[inline(never)]
    pub(super) fn checked(raw: &RawReport, e: &mut Errors) -> Option<Self> {
        let before = e.0.len();
        let fits = (1..=128).contains(&raw.cluster.len());
        if !fits || !raw.cluster.bytes().all(|b| b.is_ascii_graphic()) {
            e.push(
                "report.cluster",
                Advice::new(
                    "is not the name of a cluster",
                    "use 1 to 128 printable ASCII characters without spaces",
                ),
            );
        }
        let every = seconds(&raw.every).filter(|s| *s <= Self::EVERY_MAX);
        if every.is_none() {
            e.push(
                "report.every",
                Advice::new(
                    format!("`{}` is not a duration of 1 s to 5 m", raw.every),
                    "write `10s`",
                ),
            );
        }
        if before != e.0.len() {
            return None;
        }
        Some(Self {
            cluster: raw.cluster.clone(),
            every: every?,
            usage: raw.usage,
            address: raw.address,
            agent: raw.agent,
        })
    }

    /// The same outside a policy.
    ///
    /// # Errors
    /// Every mistake.
    pub fn new(raw: &RawReport) -> Result<Self, Vec<PolicyError>> {
        let mut e = Errors(Vec::new());
        Self::checked(raw, &mut e).ok_or(e.0)
    }
}
