//! What is observed of an Envoy, as servers tell one another.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::report::Proof;

/// What one server observes of an Envoy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    pub cluster: String,
    pub envoy: String,
    pub address: String,
    /// Streams, and how many Envoys they may belong to.
    pub streams: u32,
    pub peers: usize,
    pub connected: Option<u64>,
    pub acknowledged: Option<u64>,
    pub refused: Option<(u64, String)>,
    pub lagging: bool,
    /// When a report in its name was refused.
    pub report_refused: Option<u64>,
    /// How often an Envoy of this name was seen to start.
    pub started: u64,
    /// How often it was forgotten by name.
    pub forgotten: u64,
    pub reports: Vec<Reported>,
}

/// A report as it arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Increases with each report that a server takes.
    pub number: u64,
    pub at: u64,
    /// Its version is one that was published.
    pub is_published: bool,
    pub proof: Proof,
}

/// What is to be told to other servers.
#[derive(Default)]
pub struct Telling {
    pub touched: BTreeSet<String>,
    pub told: BTreeMap<String, Observed>,
    pub forgotten: BTreeMap<String, u64>,
    pub seq: u64,
    pub reports: u64,
    /// What was read of each other server.
    pub read: BTreeMap<String, Read>,
}

/// What was read of another server.
#[derive(Default)]
pub struct Read {
    pub seq: u64,
    pub report: u64,
    pub counts: BTreeMap<String, (u64, u64)>,
}

impl Telling {
    /// The same of the node of a stream that ended.
    pub fn touched_by(&mut self, node: Option<&str>) {
        if let Some(node) = node {
            self.touch(node);
        }
    }

    /// Something was observed of a node.
    pub fn touch(&mut self, node: &str) {
        if !self.touched.contains(node) {
            self.touched.insert(node.to_owned());
        }
    }
}
