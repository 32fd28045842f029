//! What is actually in force, proved by signed reports of the filter, one per VM. An
//! acknowledgement only shows that Envoy's main thread accepted a push.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::issued::PublishedVersions;
use super::process::{Processes, QUIET, Vm};
use super::report::{Proof, ReportRefusal};
use super::{Fleet, Inner, Node, ResourceKind};
use keystile_api::fleet::Missing;
use keystile_model::when;
use keystile_model::world::Moment;

/// How much older or newer than our clock a report may be, in seconds: clocks differ, and a
/// replayed report must not count for long.
const CLOCK_MOST: u64 = 60;
/// A VM that has not reported for this many periods is dead, and proves nothing.
const PERIODS: u32 = 3;
/// How long a refused report is remembered before the next is noted.
const REFUSED_MS: u64 = 60_000;

/// The result of waiting for a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// Nodes that have it in force in every VM.
    pub in_force: Vec<String>,
    /// Those that have not proved it.
    pub missing: Vec<Missing>,
}

impl Fleet {
    /// Takes a report.
    ///
    /// # Errors
    /// [`ReportRefusal`]; nothing of the report counts then.
    pub fn reported(
        &self,
        proof: &Proof,
        now: Moment,
        at: Instant,
        most_nodes: usize,
    ) -> Result<(), ReportRefusal> {
        let off = now.seconds().abs_diff(proof.sent);
        if off > CLOCK_MOST {
            let mut inner = self.inner();
            inner.of_processes(&proof.node, |p| p.is_off(proof, off, at));
            drop(inner);
            self.changed();
            return Err(ReportRefusal::Clock(off));
        }
        let mut inner = self.inner();
        // The signature is the Envoy's, which may report before its streams are back.
        if !inner.nodes.contains_key(&proof.node) && !inner.make_room(most_nodes) {
            return Err(ReportRefusal::TooMany);
        }
        let node = inner.nodes.entry(proof.node.clone()).or_default();
        if !node.is_connected() && node.gone.is_none() {
            node.gone = Some(now);
        }
        let taken = inner.of_processes(&proof.node, |p| p.take(proof, now, at));
        if let (Some(Ok(())), Some(node)) = (&taken, inner.nodes.get_mut(&proof.node))
            && !std::mem::replace(&mut node.proved, true)
        {
            inner.unkept.insert(proof.node.clone());
        }
        if let Some(Ok(())) = &taken {
            if let Some(node) = inner.nodes.get_mut(&proof.node) {
                node.report_refused = None;
            }
            inner.note_report(proof, now);
        }
        drop(inner);
        self.changed();
        taken.unwrap_or(Err(ReportRefusal::TooMany))
    }

    /// A report in the name of a node is not signed as it has to be. Noted once a minute, because
    /// anybody may send many.
    pub fn report_refused(&self, id: &str, now: Moment) {
        let mut inner = self.inner();
        let Some(node) = inner.nodes.get_mut(id) else {
            return;
        };
        let is_new = node
            .report_refused
            .is_none_or(|then| now.ms().saturating_sub(then.ms()) >= REFUSED_MS);
        if is_new {
            node.report_refused = Some(now);
            inner.telling.touch(id);
            drop(inner);
            self.changed();
        }
    }

    /// Has the base pushed again to a node if one of its VMs lacks it; gives whether one does.
    pub fn repair(&self, id: &str, at: Instant) -> bool {
        let mut inner = self.inner();
        let node = inner.nodes.get_mut(id).filter(|n| n.lacks_base(at));
        if let Some(node) = node {
            node.repaired = Some(at);
            node.repairs += 1;
            node.wake();
            return true;
        }
        false
    }

    /// Nodes with a VM that lacks the base although it should have had it when it reported.
    pub fn lacking(&self, at: Instant) -> Vec<String> {
        let inner = self.inner();
        let lacking = inner.nodes.iter().filter(|(_, n)| n.lacks_base(at));
        lacking.map(|(id, _)| id.clone()).collect()
    }

    /// Drops reports of dead VMs, and marks streams that are no longer new; `every` is the time
    /// between reports.
    pub fn bury(&self, every: Duration, at: Instant) {
        let fresh = every * PERIODS;
        let mut inner = self.inner();
        let Inner { nodes, unkept, .. } = &mut *inner;
        let mut has_news = false;
        for (id, node) in nodes {
            let known = node.processes.known();
            node.processes.bury(fresh, at);
            if node.processes.known() != known {
                unkept.insert(id.clone());
                has_news = true;
            }
            for stream in node.streams.values_mut().filter(|s| !s.is_settled) {
                let since = at.saturating_duration_since(stream.since);
                stream.is_settled = since > QUIET.max(fresh);
                has_news |= stream.is_settled;
            }
        }
        drop(inner);
        if has_news {
            self.changed();
        }
    }

    /// Signals that something may have changed.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Which of the known nodes have a version in force. `reports`: the policy asks Envoys to
    /// report. The second value is `true` if waiting longer cannot change the first.
    pub fn stand(&self, version: u64, reports: bool) -> (Waited, bool) {
        let inner = self.inner();
        let mut waited = Waited::default();
        if !inner.loaded {
            return (waited, false);
        }
        // One that arrives meanwhile may have it.
        let mut settled = !inner.nodes.is_empty();
        for (id, node) in &inner.nodes {
            match node.stands(version, reports, &inner.issued) {
                Ok(()) => waited.in_force.push(id.clone()),
                Err((why, hopeless)) => {
                    settled &= hopeless;
                    waited.missing.push(Missing {
                        node: id.clone(),
                        why,
                        since: node.missing_since().map(|m| when::rfc3339(m.seconds())),
                    });
                }
            }
        }
        (waited, settled)
    }
}

impl Inner {
    /// Calls a function with a node's processes, and has them stored if they have changed.
    fn of_processes<T>(&mut self, id: &str, f: impl FnOnce(&mut Processes) -> T) -> Option<T> {
        let node = self.nodes.get_mut(id)?;
        let known = node.processes.known();
        let out = f(&mut node.processes);
        if node.processes.known() != known {
            self.unkept.insert(id.to_owned());
        }
        Some(out)
    }
}

fn gone() -> String {
    "it is not connected, and has not proved the version".to_owned()
}

impl Node {
    /// The version in force in every VM of every process, if they all report one that was
    /// published.
    pub(super) fn proven(&self, issued: &PublishedVersions) -> Option<u64> {
        let from_file = self.address.is_empty();
        let published = |vm: &Vm| issued.holds(vm.version, from_file);
        let vms = || self.processes.vms().map(|(_, vm)| vm);
        let certain = self.processes.are_complete() && !self.is_unclear();
        let lowest = vms().map(|vm| vm.version).min();
        lowest.filter(|_| certain && vms().all(published))
    }

    /// Whether there may be processes that have not reported, or cannot be told apart.
    fn is_unclear(&self) -> bool {
        let peers = ResourceKind::ALL.into_iter().map(|k| self.peers(k)).max();
        let peers = peers.unwrap_or(0);
        self.processes.is_doubtful() || peers > 1 && peers > self.processes.named()
    }

    /// Since when nothing better is known about it.
    fn missing_since(&self) -> Option<Moment> {
        let heard = self.processes.vms().map(|(_, vm)| vm.at).max();
        match self.is_connected() {
            false => self.gone.max(heard),
            true => heard.or(self.connected),
        }
    }

    /// Whether a version is in force; if not, why, and whether waiting is pointless.
    fn stands(
        &self,
        version: u64,
        reports: bool,
        issued: &PublishedVersions,
    ) -> Result<(), (String, bool)> {
        if self.proven(issued).is_some_and(|v| v >= version) {
            return Ok(());
        }
        let doubt = self.doubt(version, issued).or_else(|| self.unread(version));
        if let Some(why) = doubt {
            return Err((why, false));
        }
        let later = |why: String| Err((why, false));
        if self.processes.vms().next().is_none() {
            return Err((self.silence(reports).to_owned(), !reports));
        }
        if self.processes.vms().any(|(_, vm)| vm.missing_base) {
            return later("a worker lacks the base, which is being pushed again".to_owned());
        }
        later(format!(
            "acknowledged, and {} of {} workers have it in force",
            self.vm_count(version),
            self.processes.expected()
        ))
    }

    /// Why an Envoy that acknowledges what it is sent does not say what it has in force.
    fn silence(&self, reports: bool) -> &'static str {
        if !reports {
            return "acknowledged, but it does not report what is in force; set `report` in the policy";
        }
        if self.report_refused().is_some() {
            return "acknowledged, but its reports are refused, because no key that counts has signed them; correct its KEYSTILE_NODE_KEY or KEYSTILE_SIGNING_KEYS, or enroll it again, and restart it";
        }
        "acknowledged, but it has not reported yet what is in force; if it never does, check that the cluster that `report` names leads to this server"
    }

    /// When a report in its name was last refused, here or at another server, if none has been
    /// accepted since.
    pub(super) fn report_refused(&self) -> Option<Moment> {
        let elsewhere = self.elsewhere.values().filter_map(|o| o.report_refused);
        let refused = elsewhere.map(Moment::from_ms).chain(self.report_refused);
        refused.max_by_key(|m| m.ms())
    }

    /// Why nothing that is reported under the node id proves anything.
    fn doubt(&self, version: u64, issued: &PublishedVersions) -> Option<String> {
        if self.processes.is_doubtful() {
            return Some(
                "several Envoys may report under this node id; if an Envoy was just restarted, wait a minute; if not, give each Envoy an id of its own, then forget this one"
                    .to_owned(),
            );
        }
        if let Some(off) = self.processes.clock_off() {
            return Some(format!(
                "the clock of an Envoy with this node id is off by {off} s, so its reports prove nothing; correct its clock"
            ));
        }
        let (all, silent) = (self.processes.len(), self.processes.silent());
        if all > 1 && silent > 0 && self.processes.end_by_themselves() {
            return Some(format!(
                "{all} Envoys have reported under this node id, and {silent} of them stopped; after a restart, wait until the former one has been silent for a minute"
            ));
        }
        if all > 1 && silent > 0 {
            return Some(format!(
                "{all} Envoys have reported under this node id, and {silent} of them stopped; if those are gone, forget them; if not, give each its own node id"
            ));
        }
        let newest = self.processes.vms().map(|(_, vm)| vm.version).max();
        let newest = newest.unwrap_or(0);
        if newest >= version && !issued.holds(newest, self.address.is_empty()) {
            return Some(format!(
                "it has version {newest} in force, which was not published here: it comes from another timeline"
            ));
        }
        if all > 1 && self.vm_count(version) < self.processes.expected() {
            return Some(format!(
                "{all} Envoys report under this node id, and {} of their {} workers have it in force; if one was just restarted, wait a minute; if not, give each Envoy an id of its own",
                self.vm_count(version),
                self.processes.expected()
            ));
        }
        None
    }

    /// Why the version is not known to have been taken.
    fn unread(&self, version: u64) -> Option<String> {
        if !self.is_connected() {
            return Some(gone());
        }
        if self.is_unclear() {
            return Some(
                "there are more discovery streams under this node id than Envoys that report; if it is one Envoy, whose listeners write `config_source` differently, wait a minute; if not, give each Envoy an id of its own"
                    .to_owned(),
            );
        }
        let [base, overlay] = &self.resources;
        if let Some(refused) = overlay.refused.as_ref().or(base.refused.as_ref()) {
            return Some(format!(
                "refused version {}: {}",
                refused.version, refused.message
            ));
        }
        if let Some((version, message)) = self.refused_elsewhere() {
            return Some(format!("refused version {version}: {message}"));
        }
        let acknowledged = |r: &super::Resource| r.acknowledged.as_ref().map(|h| h.version);
        let newest = acknowledged(overlay).max(acknowledged(base));
        let newest = newest.max(self.acknowledged_elsewhere());
        if newest.is_none_or(|v| v < version) {
            return Some("not acknowledged yet".to_owned());
        }
        None
    }

    /// How many VMs have a version in force.
    fn vm_count(&self, version: u64) -> usize {
        let vms = self.processes.vms();
        vms.filter(|(_, vm)| vm.version >= version).count()
    }
}
