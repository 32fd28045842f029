//! The known Envoys, until they are forgotten by name.

use crate::sql::{SqlRow, params};
use serde::{Deserialize, Serialize};

use super::{Tx, column};
use keystile_model::error::Result;

/// An Envoy that was sent a keyset or reported one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownEnvoy {
    /// Its node id.
    pub node: String,
    /// Its cluster; may be empty.
    pub cluster: String,
    /// The version that it reports; may be empty.
    pub version: String,
    /// Where it last connected from; may be empty.
    pub address: String,
    /// Since when it has no stream, in seconds; `None` while it has one.
    pub gone: Option<u64>,
    /// It has sent a signed report.
    pub proved: bool,
    /// Those that report under its node id.
    pub processes: KnownProcesses,
}

/// The processes that report under one node id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KnownProcesses {
    /// Those that are distinguished.
    pub all: Vec<KnownProcess>,
    /// There may be others.
    pub doubt: Option<KnownDoubt>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownProcess {
    /// The number that it gives itself; older filters give none.
    pub number: Option<u64>,
    /// It is a separate Envoy, and waited for until it is forgotten.
    pub is_twin: bool,
}

/// Doubt whether there are processes that are not distinguished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KnownDoubt {
    /// It ends by itself.
    Passing,
    /// It lasts until the node is forgotten.
    Lasting,
}

fn read(row: &SqlRow<'_>) -> Result<KnownEnvoy> {
    Ok(KnownEnvoy {
        node: row.get(0)?,
        cluster: row.get(1)?,
        version: row.get(2)?,
        address: row.get(3)?,
        gone: column::optional(row, 4)?,
        proved: row.get(5)?,
        processes: processes(row, 6)?,
    })
}

impl Tx<'_> {
    /// Every known Envoy, by node id.
    pub fn envoys(&self) -> Result<Vec<KnownEnvoy>> {
        self.tx.all("SELECT node, cluster, version, address, gone, proved, processes FROM envoy ORDER BY node", &[], read)
    }

    /// Stores an Envoy as it is.
    pub fn keep_envoy(&mut self, envoy: &KnownEnvoy) -> Result<()> {
        self.tx.execute(
            "INSERT INTO envoy VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (node) DO UPDATE SET
               cluster = excluded.cluster, version = excluded.version, address = excluded.address,
               gone = excluded.gone, proved = excluded.proved, processes = excluded.processes",
            params![
                envoy.node,
                envoy.cluster,
                envoy.version,
                envoy.address,
                envoy.gone.map(column::signed),
                envoy.proved,
                processes_text(&envoy.processes),
            ],
        )?;
        Ok(())
    }

    /// Forgets an Envoy.
    pub fn forget_envoy(&mut self, node: &str) -> Result<()> {
        self.tx
            .execute("DELETE FROM envoy WHERE node = ?", params![node])?;
        Ok(())
    }
}

/// Processes of an Envoy.
fn processes(row: &SqlRow<'_>, at: usize) -> Result<KnownProcesses> {
    let text = column::text(row, at)?;
    if text.is_empty() {
        return Ok(KnownProcesses::default());
    }
    serde_json::from_str(text).map_err(|e| column::odd(at, e))
}

/// Processes as [`processes`] reads them.
fn processes_text(processes: &KnownProcesses) -> String {
    if *processes == KnownProcesses::default() {
        return String::new();
    }
    serde_json::to_string(processes).unwrap_or_default()
}
