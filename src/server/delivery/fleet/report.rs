//! What a VM reports, and why a report does not count.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What one VM reports about our store; its signature has been verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Node id.
    pub node: String,
    /// Distinguishes its Envoy process from others; `None` if the filter does not name it.
    pub process: Option<u64>,
    /// Number of the VM.
    pub vm: u32,
    /// How many VMs there are.
    pub vms: u32,
    /// Wall-clock seconds of the Envoy.
    pub sent: u64,
    /// When the VM took its number, which distinguishes it from others with the same number.
    pub claimed: u64,
    /// Version in force; 0 for none.
    pub version: u64,
    /// Version of the base loaded; 0 for none.
    pub base: u64,
    /// It has an overlay without its base.
    pub missing_base: bool,
}

/// Why a report does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportRefusal {
    /// It is not signed with an accepted key, or is not a report.
    Report(String),
    /// It names an impossible node.
    Node,
    /// Its time is this many seconds off.
    Clock(u64),
    /// A newer one of the same VM has already arrived.
    Older,
    /// Too many nodes, or VMs of one node.
    TooMany,
    /// No store issues such a version.
    Version(u64),
    /// The server has not read its signing keys yet.
    NotReady,
}

impl fmt::Display for ReportRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Report(e) => f.write_str(e),
            Self::Node => f.write_str(
                "its node id is empty, too long, or holds characters that cannot be seen",
            ),
            Self::Clock(off) => write!(f, "the report's time is off by {off} s"),
            Self::Older => f.write_str("a newer report of this VM has already arrived"),
            Self::TooMany => f.write_str("there are too many nodes or VMs"),
            Self::Version(version) => write!(
                f,
                "the report's version {version} is not one that a store issues"
            ),
            Self::NotReady => f.write_str("the server is starting"),
        }
    }
}
