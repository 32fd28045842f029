//! The known Envoys, and the versions that were published to them.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{Fleet, Inner, Node};
use keystile_model::error::{Act, Code, Result, refuse};
use keystile_model::world::Moment;
use keystile_store::KnownEnvoy;
use keystile_system as system;

/// How long an Envoy waits to be stored. If this were longer, a store that cannot be written to
/// would keep Envoys from starting.
const KEPT_PATIENCE: Duration = Duration::from_secs(2);

/// What has to be written to the store.
pub struct Unkept {
    /// Envoys as they are.
    pub envoys: Vec<KnownEnvoy>,
    /// Envoys that made room for others.
    pub dropped: BTreeSet<String>,
}

impl Fleet {
    /// A version is about to be published.
    pub fn issued(&self, version: u64) {
        self.inner().issued.add(version);
    }

    /// The version that the store's timeline began with.
    pub fn timeline(&self, began: u64) {
        self.inner().issued.began = began;
    }

    /// Adds the Envoys from the store; `now` and `at` are the present time.
    pub fn load(&self, envoys: Vec<KnownEnvoy>, now: Moment, at: Instant) {
        let mut inner = self.inner();
        for envoy in envoys {
            let node = inner.nodes.entry(envoy.node).or_default();
            node.kept = true;
            node.is_recalled = true;
            node.proved |= envoy.proved;
            node.processes.recall(&envoy.processes, at);
            if node.connected.is_none() {
                node.cluster = envoy.cluster;
                node.envoy = envoy.version;
                node.address = envoy.address;
                // The server ended before the Envoy did, so it has not been seen since.
                let gone = envoy.gone.map(|s| Moment::from_ms(s.saturating_mul(1000)));
                node.gone = node.gone.or(gone).or(Some(now));
            }
        }
        inner.loaded = true;
        drop(inner);
        self.changed();
    }

    /// Whether a node has connected, or the store knew it when this server began.
    pub fn has_been(&self, node: &str) -> bool {
        let inner = self.inner();
        let node = inner.nodes.get(node);
        node.is_some_and(|n| n.is_recalled || n.connected.is_some())
    }

    /// What the store does not know yet.
    pub fn take_unkept(&self) -> Unkept {
        let mut inner = self.inner();
        let ids = std::mem::take(&mut inner.unkept);
        let dropped = std::mem::take(&mut inner.dropped);
        let row = |id: String| inner.nodes.get(&id).map(|node| node.row(id));
        Unkept {
            envoys: ids.into_iter().filter_map(row).collect(),
            dropped,
        }
    }

    /// Whether there is something that the store does not know yet.
    pub fn has_unkept(&self) -> bool {
        let inner = self.inner();
        !inner.unkept.is_empty() || !inner.dropped.is_empty()
    }

    /// The store knows these now.
    pub fn kept(&self, unkept: &Unkept) {
        let mut inner = self.inner();
        for envoy in &unkept.envoys {
            if let Some(node) = inner.nodes.get_mut(&envoy.node) {
                node.kept = true;
            }
        }
        drop(inner);
        self.changed();
    }

    /// They could not be stored.
    pub fn not_kept(&self, unkept: Unkept) {
        let mut inner = self.inner();
        inner
            .unkept
            .extend(unkept.envoys.into_iter().map(|e| e.node));
        inner.dropped.extend(unkept.dropped);
    }

    /// Waits for a while until a node is stored: before that it is sent nothing, so that a server
    /// that is killed does not forget an Envoy that it has served.
    pub async fn until_kept(&self, node: &str) {
        let deadline = system::instant() + KEPT_PATIENCE;
        let mut changed = self.watch();
        loop {
            changed.borrow_and_update();
            if self.inner().nodes.get(node).is_none_or(|n| n.kept) {
                return;
            }
            if tokio::time::timeout_at(deadline, changed.changed())
                .await
                .is_err()
            {
                tracing::warn!(node, "an Envoy could not be stored in time");
                return;
            }
        }
    }

    /// Checks that nodes are known, and that each is not connected, or has silent processes while
    /// another one is connected.
    pub fn check_gone(&self, nodes: &[String]) -> Result<()> {
        let inner = self.inner();
        for id in nodes {
            match inner.nodes.get(id) {
                None => {
                    return Err(refuse(
                        Code::EnvoyNotFound,
                        format_args!("there is no Envoy `{id}`"),
                        keystile_model::next!["see ", Act::FleetList],
                    )
                    .field("nodes"));
                }
                Some(node) if node.is_connected() && !node.processes.is_forgettable() => {
                    return Err(refuse(
                        Code::EnvoyConnected,
                        format_args!("the Envoy `{id}` is connected"),
                        "stop it first: while an Envoy is connected, it is waited for",
                    )
                    .field("nodes"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Forgets nodes; for a connected node, only its silent processes.
    pub fn remove(&self, nodes: &[String]) {
        let mut inner = self.inner();
        for id in nodes {
            inner.forget(id);
        }
        inner.note_forgotten(nodes);
        drop(inner);
        self.changed();
    }

    /// Adds Envoys that another server has stored since this one began.
    pub fn learn(&self, envoys: Vec<KnownEnvoy>, now: Moment, at: Instant) {
        let unknown = |e: &KnownEnvoy| !self.inner().nodes.contains_key(&e.node);
        let new: Vec<KnownEnvoy> = envoys.into_iter().filter(unknown).collect();
        if !new.is_empty() {
            self.load(new, now, at);
        }
    }
}

impl Inner {
    /// Forgets a node; if it is connected, only its silent processes.
    pub(super) fn forget(&mut self, id: &str) {
        match self.nodes.get_mut(id) {
            Some(node) if node.is_connected() => {
                node.processes.forget_silent();
                self.unkept.insert(id.to_owned());
            }
            _ => {
                self.nodes.remove(id);
                self.unkept.remove(id);
            }
        }
    }

    /// Makes room for one more node by dropping the longest gone one that never sent a signed
    /// report. Anybody may have claimed to be that node; an Envoy that has proved that it holds a
    /// signing key stays until it is forgotten by name.
    pub fn make_room(&mut self, most: usize) -> bool {
        if self.nodes.len() < most {
            return true;
        }
        let unproved = self.nodes.iter().filter(|(_, n)| !n.proved);
        let oldest = unproved
            .filter_map(|(id, n)| Some((n.gone?, id.clone())))
            .min();
        let Some((_, id)) = oldest else { return false };
        tracing::warn!(
            node = id,
            "too many Envoys are known: one that is disconnected was forgotten; see `keystilectl fleet forget`"
        );
        self.nodes.remove(&id);
        self.unkept.remove(&id);
        self.telling.touch(&id);
        self.dropped.insert(id);
        true
    }
}

impl Node {
    fn row(&self, id: String) -> KnownEnvoy {
        KnownEnvoy {
            node: id,
            cluster: self.cluster.clone(),
            version: self.envoy.clone(),
            address: self.address.clone(),
            gone: self
                .gone
                .filter(|_| !self.is_connected())
                .map(Moment::seconds),
            proved: self.proved,
            processes: self.processes.known(),
        }
    }
}
