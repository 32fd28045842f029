//! What this server and the others of its store observe of each Envoy, told to one another: an
//! Envoy's streams may be at one server, and its reports may arrive at another.

use std::time::Duration;

use tokio::time::Instant;

use super::observed::{Observed, Reported};
use super::report::Proof;
use super::{Fleet, Inner, Node, ResourceKind};
use keystile_model::world::Moment;
use keystile_store::shared::fleet::ObservedRow;

/// Reports older than this, in milliseconds, are not passed on: each Envoy has sent newer ones
/// since, or proves nothing.
const OLD_MS: u64 = 60_000;

impl Inner {
    /// A report arrived here.
    pub(super) fn note_report(&mut self, proof: &Proof, now: Moment) {
        self.telling.reports += 1;
        let report = Reported {
            number: self.telling.reports,
            at: now.ms(),
            is_published: self.issued.holds(proof.version, false),
            proof: proof.clone(),
        };
        if let Some(node) = self.nodes.get_mut(&proof.node) {
            node.reports.insert((proof.process, proof.vm), report);
        }
        self.telling.touch(&proof.node);
    }

    /// Nodes were forgotten here by name.
    pub(super) fn note_forgotten(&mut self, nodes: &[String]) {
        for node in nodes {
            *self.telling.forgotten.entry(node.clone()).or_default() += 1;
            self.telling.touch(node);
        }
    }
}

impl Fleet {
    /// What is new here; everything, if the others know nothing. Nothing is given twice.
    pub fn tell(&self, everything: bool, now: Moment) -> Vec<ObservedRow> {
        let inner = &mut *self.inner();
        let telling = &mut inner.telling;
        if everything {
            // But what was dropped, and has not been said.
            let (nodes, forgotten) = (&inner.nodes, &telling.forgotten);
            telling
                .told
                .retain(|id, _| !nodes.contains_key(id) && !forgotten.contains_key(id));
            telling.touched.extend(inner.nodes.keys().cloned());
        }
        let mut rows = Vec::new();
        for id in std::mem::take(&mut telling.touched) {
            let mut observed = match inner.nodes.get_mut(&id) {
                Some(node) => node.observed(now),
                None => Observed::default(),
            };
            observed.forgotten = telling.forgotten.get(&id).copied().unwrap_or(0);
            let is_known = inner.nodes.contains_key(&id) || observed.forgotten > 0;
            match telling.told.get(&id) {
                Some(told) if is_known && *told == observed => continue,
                None if !is_known => continue,
                _ => telling.seq += 1,
            }
            rows.push(ObservedRow {
                node: id.clone(),
                seq: telling.seq,
                body: match is_known {
                    true => serde_json::to_string(&observed).unwrap_or_default(),
                    false => String::new(),
                },
            });
            match is_known {
                true => drop(telling.told.insert(id, observed)),
                // Dropped to make room for others: said once, and kept no longer.
                false => drop(telling.told.remove(&id)),
            }
        }
        rows
    }

    /// These nodes were dropped here, and the others could not be told.
    pub fn not_told(&self, dropped: Vec<String>) {
        let inner = &mut *self.inner();
        for id in dropped {
            if !inner.nodes.contains_key(&id) {
                inner.telling.touch(&id);
                inner.telling.told.insert(id, Observed::default());
            }
        }
    }

    /// The last row that was told.
    pub fn told(&self) -> u64 {
        self.inner().telling.seq
    }

    /// Up to which row another server has been read.
    pub fn read_of(&self, replica: &str) -> u64 {
        let inner = self.inner();
        inner.telling.read.get(replica).map_or(0, |read| read.seq)
    }

    /// What another server has observed.
    pub fn hear(&self, replica: &str, rows: Vec<ObservedRow>, now: Moment, at: Instant) {
        let mut inner = self.inner();
        if rows.is_empty() {
            // What it says from here on is news.
            inner.telling.read.entry(replica.to_owned()).or_default();
            return;
        }
        let is_first = !inner.telling.read.contains_key(replica);
        let mut read = inner.telling.read.remove(replica).unwrap_or_default();
        let mut newest = read.report;
        for row in rows {
            read.seq = read.seq.max(row.seq);
            if row.body.is_empty() {
                read.counts.remove(&row.node);
                inner.dropped_elsewhere(&row.node, replica, now);
                continue;
            }
            let Ok(observed) = serde_json::from_str::<Observed>(&row.body) else {
                tracing::error!(
                    replica,
                    "what another server says about an Envoy cannot be read"
                );
                continue;
            };
            let counts = (observed.started, observed.forgotten);
            let before = read.counts.insert(row.node.clone(), counts);
            let (started, forgotten) = match before {
                None if is_first => (false, false),
                None => (counts.0 > 0, counts.1 > 0),
                Some(before) => (counts.0 > before.0, counts.1 > before.1),
            };
            if forgotten {
                inner.forget(&row.node);
            }
            let is_silent = observed.reports.is_empty() && observed.report_refused.is_none();
            if observed.streams == 0 && is_silent {
                inner.not_elsewhere(&row.node, replica, now);
                continue;
            }
            let node = inner.nodes.entry(row.node).or_default();
            if started {
                node.begin_anew(at);
            }
            let reports = observed.reports.iter().filter(|r| r.number > read.report);
            for report in reports {
                newest = newest.max(report.number);
                node.hear(report, now, at);
            }
            let published = observed.reports.iter().filter(|r| r.is_published);
            let versions: Vec<u64> = published.map(|r| r.proof.version).collect();
            node.observe(replica, observed, now);
            for version in versions {
                inner.issued.add(version);
            }
        }
        read.report = newest;
        inner.telling.read.insert(replica.to_owned(), read);
        drop(inner);
        self.changed();
    }

    /// Only these other servers are running: what the rest said about streams no longer holds.
    pub fn living(&self, replicas: &[&str], now: Moment) {
        let mut inner = self.inner();
        let known = inner.telling.read.keys();
        let gone = known.filter(|r| !replicas.contains(&r.as_str()));
        let gone: Vec<String> = gone.cloned().collect();
        if gone.is_empty() {
            return;
        }
        for replica in &gone {
            inner.telling.read.remove(replica);
            let nodes: Vec<String> = inner.nodes.keys().cloned().collect();
            for node in nodes {
                inner.not_elsewhere(&node, replica, now);
            }
        }
        drop(inner);
        self.changed();
    }

    /// A version that another server has published.
    pub fn issued_elsewhere(&self, version: u64) {
        if version > 0 {
            self.inner().issued.add(version);
        }
    }
}

impl Inner {
    /// Another server made room for others, as this one would for an Envoy that is nowhere and that
    /// has proved nothing.
    fn dropped_elsewhere(&mut self, id: &str, replica: &str, now: Moment) {
        self.not_elsewhere(id, replica, now);
        let is_nobodys = |n: &Node| !n.proved && n.streams.is_empty() && n.elsewhere.is_empty();
        if self.nodes.get(id).is_some_and(is_nobodys) {
            self.nodes.remove(id);
            self.unkept.remove(id);
        }
    }

    fn not_elsewhere(&mut self, node: &str, replica: &str, now: Moment) {
        if let Some(node) = self.nodes.get_mut(node)
            && node.elsewhere.remove(replica).is_some()
            && !node.is_connected()
        {
            node.gone = node.gone.or(Some(now));
        }
    }
}

impl Node {
    /// Whether it has a stream, at any server.
    pub(super) fn is_connected(&self) -> bool {
        !self.streams.is_empty() || self.elsewhere.values().any(|o| o.streams > 0)
    }

    /// How many Envoys its streams at other servers may belong to.
    pub(super) fn peers_elsewhere(&self) -> usize {
        self.elsewhere.values().map(|o| o.peers).sum()
    }

    /// What it has acknowledged to other servers.
    pub(super) fn acknowledged_elsewhere(&self) -> Option<u64> {
        self.elsewhere.values().filter_map(|o| o.acknowledged).max()
    }

    /// What it has last rejected at other servers.
    pub(super) fn refused_elsewhere(&self) -> Option<&(u64, String)> {
        self.elsewhere.values().find_map(|o| o.refused.as_ref())
    }

    /// How many streams it has at other servers; and whether one of them lags.
    pub(super) fn streams_elsewhere(&self) -> (u32, bool) {
        let streams = self.elsewhere.values().map(|o| o.streams).sum();
        (streams, self.elsewhere.values().any(|o| o.lagging))
    }

    fn observed(&mut self, now: Moment) -> Observed {
        self.reports
            .retain(|_, r| now.ms().saturating_sub(r.at) < OLD_MS);
        let acknowledged = self
            .resources
            .iter()
            .filter_map(|r| r.acknowledged.as_ref());
        let refused = self.resources.iter().find_map(|r| r.refused.as_ref());
        let peers = ResourceKind::ALL.into_iter().map(|k| self.peers_here(k));
        let here = !self.streams.is_empty();
        Observed {
            cluster: self.cluster.clone(),
            envoy: self.envoy.clone(),
            address: self.address.clone(),
            streams: u32::try_from(self.streams.len()).unwrap_or(u32::MAX),
            peers: peers.max().unwrap_or(0),
            connected: self.connected.filter(|_| here).map(Moment::ms),
            acknowledged: acknowledged.map(|a| a.version).max().filter(|_| here),
            refused: refused
                .filter(|_| here)
                .map(|r| (r.version, r.message.clone())),
            lagging: self.resources.iter().any(|r| r.lagging),
            report_refused: self.report_refused.map(Moment::ms),
            started: self.started,
            forgotten: 0,
            reports: self.reports.values().cloned().collect(),
        }
    }

    fn hear(&mut self, report: &Reported, now: Moment, at: Instant) {
        let age = now.ms().saturating_sub(report.at);
        // The server that took it has checked its signature and its time.
        let heard = at.checked_sub(Duration::from_millis(age));
        // Of a process that has been replaced since, it says nothing.
        let is_of_now = |heard: &Instant| self.anew.is_none_or(|anew| *heard > anew);
        if let Some(heard) = heard.filter(|heard| age < OLD_MS && is_of_now(heard)) {
            // One that is older than what is known already says nothing new.
            let _ = self
                .processes
                .take(&report.proof, Moment::from_ms(report.at), heard);
            self.proved = true;
        }
    }

    fn observe(&mut self, replica: &str, observed: Observed, now: Moment) {
        if observed.streams > 0 {
            self.kept = true;
            self.is_recalled = true;
            self.gone = None;
            if self.streams.is_empty() {
                self.connected = observed.connected.map(Moment::from_ms);
                self.cluster.clone_from(&observed.cluster);
                self.envoy.clone_from(&observed.envoy);
                self.address.clone_from(&observed.address);
            }
        }
        self.elsewhere.insert(replica.to_owned(), observed);
        if !self.is_connected() && self.gone.is_none() {
            self.gone = Some(now);
        }
    }
}
