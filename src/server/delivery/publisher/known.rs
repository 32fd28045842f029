//! What is known of the store without asking it.

use keystile_core::keyset::{SigningKey, SigningKeys, StoreId};
use keystile_core::report;
use std::collections::BTreeSet;
use std::time::Duration;

use super::super::fleet::{Proof, ReportRefusal};
use super::super::nodes::ReportKeys;
use super::super::request::is_node_id;

/// What was last read of the store.
pub struct Known {
    pub(super) store: StoreId,
    pub(super) signers: SigningKeys,
    pub(super) report_every: Option<Duration>,
}

impl Known {
    /// How keysets are signed, each algorithm once.
    pub fn algorithms(&self) -> Vec<String> {
        let keys: &[SigningKey] = self.signers.as_ref();
        let words = keys.iter().map(|k| k.algorithm().as_str().to_owned());
        let all: BTreeSet<String> = words.collect();
        all.into_iter().collect()
    }

    /// Whether the policy asks Envoys to report.
    pub fn reports(&self) -> bool {
        self.report_every.is_some()
    }

    /// How often they do.
    pub fn report_every(&self) -> Option<Duration> {
        self.report_every
    }

    /// Opens a report, and takes what concerns our store from it.
    pub fn proof(
        &self,
        keys: &ReportKeys,
        body: &[u8],
        kid: &str,
        tag: &str,
    ) -> std::result::Result<Proof, ReportRefusal> {
        let signers = keys.nodes.keys(kid, body, &keys.shared);
        let report = report::open(body, kid, tag, &signers)
            .map_err(|e| ReportRefusal::Report(e.to_string()))?;
        keys.nodes
            .admit(kid, &report.node)
            .map_err(|why| ReportRefusal::Report(why.to_string()))?;
        if !is_node_id(&report.node) {
            return Err(ReportRefusal::Node);
        }
        let store = self.store.to_string();
        let state = report.stores.iter().find(|s| s.store == store);
        Ok(Proof {
            node: report.node,
            process: report.process,
            vm: report.vm,
            vms: report.vms,
            sent: report.sent,
            claimed: report.claimed,
            version: state.map_or(0, |s| s.version),
            base: state.map_or(0, |s| s.base),
            missing_base: state.is_some_and(|s| s.missing_base),
        })
    }
}
