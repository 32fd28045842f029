//! A stream of a node, while it is open.

use keystile_model::error::{self, named, refuse};
use keystile_model::world::Moment;
use keystile_system as system;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::Status;

use super::super::artefact::{ResourceKind, SignableArtefact};
use super::super::denied::denied;
use super::super::settings::PeerLimits;
use super::{
    Acknowledged, Fleet, Identity, Node, NodeStanding, Refusal, Subscriber, bounded, slot,
};

/// A stream's place in the fleet, given back when it is dropped.
pub struct Member {
    pub(super) fleet: Arc<Fleet>,
    pub(super) stream: u64,
    pub(super) address: Option<SocketAddr>,
    pub(super) node: Option<String>,
}

impl Fleet {
    /// Counts a stream in, from the first byte on.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if there are too many, in all or from one address.
    pub fn admit(
        self: &Arc<Self>,
        address: Option<SocketAddr>,
        limits: &PeerLimits,
    ) -> Result<Member, Status> {
        let mut inner = self.inner();
        if inner.streams >= limits.streams {
            return Err(too_many("this server", limits.streams));
        }
        if let Some(address) = address {
            let count = inner.by_address.entry(address.ip()).or_default();
            if *count >= limits.streams_per_address {
                return Err(too_many("this address", limits.streams_per_address));
            }
            *count += 1;
        }
        inner.streams += 1;
        inner.last_stream += 1;
        Ok(Member {
            stream: inner.last_stream,
            fleet: Arc::clone(self),
            address,
            node: None,
        })
    }
}

impl Member {
    /// Says whose stream it is. What is given back wakes the stream.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if there are too many nodes.
    pub fn identify(
        &mut self,
        identity: &Identity,
        limits: &PeerLimits,
        now: Moment,
    ) -> Result<watch::Receiver<u64>, Status> {
        let mut inner = self.fleet.inner();
        if !inner.nodes.contains_key(&identity.id) && !inner.make_room(limits.streams * 2) {
            let refusal = refuse(
                error::Code::TooManyStreams,
                "there are too many nodes",
                keystile_model::next![
                    "forget those that are gone, or raise ",
                    named("max_streams")
                ],
            );
            return Err(denied(tonic::Code::ResourceExhausted, &refusal));
        }
        let node = inner.nodes.entry(identity.id.clone()).or_default();
        if node.streams.is_empty() {
            node.connected = Some(now);
        }
        node.gone = None;
        node.cluster.clone_from(&identity.cluster);
        node.envoy = bounded(&identity.envoy);
        node.address = self.address.map(|a| a.to_string()).unwrap_or_default();
        let stream = Subscriber::new(self.address, system::instant());
        node.streams.insert(self.stream, stream);
        let wake = node.wake.subscribe();
        inner.unkept.insert(identity.id.clone());
        inner.telling.touch(&identity.id);
        drop(inner);
        self.node = Some(identity.id.clone());
        self.fleet.changed();
        Ok(wake)
    }

    pub(super) fn with<T: Default>(&self, f: impl FnOnce(&mut Node) -> T) -> T {
        let mut inner = self.fleet.inner();
        let Some(id) = &self.node else {
            return T::default();
        };
        inner.telling.touch(id);
        inner.nodes.get_mut(id).map(f).unwrap_or_default()
    }

    /// The stream subscribes to a resource; `fresh`: its Envoy says that it has none.
    pub fn subscribed(&self, kind: ResourceKind, fresh: bool) {
        let is_new = self.with(|node| {
            let is_new = fresh && node.subscribers(kind) == 0 && node.streams.len() == 1;
            if fresh && node.subscribers(kind) == 0 {
                // An Envoy that has nothing has just started: what others with its name
                // acknowledged and reported does not apply to it.
                if is_new {
                    node.begin_anew(system::instant());
                    node.started += 1;
                }
                node.resource(kind).acknowledged = None;
                node.resource(kind).sent = None;
            }
            if let Some(stream) = node.streams.get_mut(&self.stream) {
                *slot(&mut stream.wants, kind) = true;
            }
            node.wake();
            is_new
        });
        if is_new {
            self.fleet.inner().unkept.extend(self.node.clone());
        }
        self.fleet.changed();
    }

    /// The Envoy says that it has this from before.
    pub fn holds(&self, kind: ResourceKind, version: u64, content: &str) {
        self.with(|node| {
            let resource = node.resource(kind);
            resource.acknowledged = Some(Acknowledged {
                version,
                content: content.to_owned(),
                base: None,
            });
            resource.sent = resource.sent.max(Some(version));
        });
    }

    /// The stream no longer subscribes to a resource.
    pub fn unsubscribed(&self, kind: ResourceKind) {
        self.with(|node| {
            if let Some(stream) = node.streams.get_mut(&self.stream) {
                *slot(&mut stream.wants, kind) = false;
            }
            node.land();
            node.wake();
        });
    }

    /// What the node has, through whichever stream.
    pub fn standing(&self) -> NodeStanding {
        self.with(|node| {
            let [base, overlay] = &node.resources;
            let (base, has) = (base.acknowledged.as_ref(), overlay.acknowledged.as_ref());
            NodeStanding {
                base: base.map(|h| h.content.clone()),
                overlay: has.map(|h| h.content.clone()),
                overlay_base: has.and_then(|h| h.base.clone()),
                overlay_sent: overlay.sent.unwrap_or(0),
                overlay_flying: overlay.flying,
                subscribed: ResourceKind::ALL.map(|kind| node.subscribers(kind) > 0),
                repairs: node.repairs,
            }
        })
    }

    /// The seal of an artefact that this node has not rejected yet; another one if it has to differ
    /// from what the node may have accepted.
    pub fn attempt(&self, artefact: &SignableArtefact, further: bool) -> u32 {
        self.with(|node| {
            let attempt = &mut node.resource(artefact.kind()).attempt;
            if attempt.0 != artefact.content() {
                *attempt = (artefact.content().to_owned(), 0);
            }
            if further {
                attempt.1 = attempt.1.saturating_add(1);
            }
            attempt.1
        })
    }

    /// An artefact was sent.
    pub fn sent(&self, artefact: &SignableArtefact) {
        self.with(|node| {
            let resource = node.resource(artefact.kind());
            resource.sent = Some(artefact.version());
            resource.flying = true;
        });
    }

    /// The Envoy's main thread took it.
    pub fn acknowledged(&self, artefact: &SignableArtefact) {
        self.with(|node| {
            let resource = node.resource(artefact.kind());
            resource.acknowledged = Some(Acknowledged {
                version: artefact.version(),
                content: artefact.content().to_owned(),
                base: artefact.base().map(ToOwned::to_owned),
            });
            resource.landed = Some(system::instant());
            resource.lagging = false;
            resource.flying = false;
            resource.refused = None;
            node.wake();
        });
        self.fleet.changed();
    }

    /// The Envoy rejected it; gives how many times in a row.
    pub fn refused(&self, artefact: &SignableArtefact, message: &str, now: Moment) -> u64 {
        self.attempt(artefact, true);
        let times = self.with(|node| {
            let resource = node.resource(artefact.kind());
            resource.lagging = false;
            resource.flying = false;
            let before = resource.refused.take().map_or(0, |r| r.times);
            resource.refused = Some(Refusal {
                version: artefact.version(),
                message: bounded(message),
                at: now,
                times: before.saturating_add(1),
            });
            node.wake();
            before.saturating_add(1)
        });
        self.fleet.changed();
        times
    }

    /// The Envoy has not answered a push in time.
    pub fn lags(&self, kind: ResourceKind) {
        self.with(|node| node.resource(kind).lagging = true);
        self.fleet.changed();
    }

    /// The node's id; empty before it is known.
    pub fn node(&self) -> &str {
        self.node.as_deref().unwrap_or_default()
    }

    /// Counts the stream out; `now` is when.
    pub fn leave(self, now: Moment) {
        self.with(|node| {
            node.streams.remove(&self.stream);
            node.land();
            if !node.is_connected() {
                node.gone = Some(now);
            }
            node.wake();
        });
        self.fleet.inner().unkept.extend(self.node.clone());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut inner = self.fleet.inner();
        inner.streams = inner.streams.saturating_sub(1);
        if let Some(address) = self.address {
            let count = inner.by_address.get_mut(&address.ip()).map(|n| {
                *n = n.saturating_sub(1);
                *n
            });
            if count == Some(0) {
                inner.by_address.remove(&address.ip());
            }
        }
        let stream = self.stream;
        if let Some(node) = self.node.as_ref().and_then(|id| inner.nodes.get_mut(id))
            && node.streams.remove(&stream).is_some()
        {
            node.land();
            if !node.is_connected() {
                // Interrupted before the time was known: the time of connection is the best guess.
                node.gone = node.connected;
                inner.unkept.extend(self.node.clone());
            }
            inner.telling.touched_by(self.node.as_deref());
        }
        drop(inner);
        self.fleet.changed();
    }
}

fn too_many(whose: &str, streams: usize) -> Status {
    let refusal = refuse(
        error::Code::TooManyStreams,
        format_args!("{whose} has {streams} discovery streams already"),
        keystile_model::next!["close some, or raise ", named("max_streams")],
    );
    denied(tonic::Code::ResourceExhausted, &refusal)
}
