//! The Envoys: which are connected, what each was sent, acknowledged or rejected, and what its VMs
//! have proved to have in force.
//!
//! One lock, held briefly, around bounded maps: nodes are bounded by the number of streams, an
//! Envoy's own data by the limits below. A node is known until it is forgotten by name: the store
//! keeps it across restarts ([`keeper`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::artefact::ResourceKind;
use keystile_model::world::Moment;

mod elsewhere;
pub mod exchange;
mod issued;
pub mod keeper;
mod known;
mod member;
mod observed;
mod process;
mod proof;
mod report;
mod view;

pub use member::Member;
pub use proof::Waited;
pub use report::{Proof, ReportRefusal};

use issued::PublishedVersions;
use observed::{Observed, Reported, Telling};

/// How many bytes of an Envoy's text are kept: the message of a rejection, its version.
const MESSAGE_MOST: usize = 500;
/// How often per node the base is pushed again for a VM that lost it.
const REPAIR_EVERY: Duration = Duration::from_secs(2);
/// Workers load a base after the main thread has acknowledged it, and report within a second that
/// they have it.
const LOADED_AFTER: Duration = Duration::from_secs(3);

/// The Envoys known to this server.
#[derive(Default)]
pub struct Fleet {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<String, Node>,
    streams: usize,
    by_address: HashMap<IpAddr, usize>,
    last_stream: u64,
    /// Versions that were published.
    issued: PublishedVersions,
    /// The Envoys that the store remembers have been read from it.
    loaded: bool,
    /// Nodes that have to be written to the store.
    unkept: BTreeSet<String>,
    /// Nodes that have to be deleted from the store.
    dropped: BTreeSet<String>,
    /// What other servers are told, and have told.
    telling: Telling,
}

/// An Envoy's identity, as it claims.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Its node id.
    pub id: String,
    /// Its cluster; may be empty.
    pub cluster: String,
    /// Its version; may be empty.
    pub envoy: String,
}

#[derive(Default)]
struct Node {
    cluster: String,
    envoy: String,
    /// Where it last connected from; empty if it never did.
    address: String,
    /// The store knows it.
    kept: bool,
    /// The store knew it when this server started.
    is_recalled: bool,
    /// It has sent a signed report.
    proved: bool,
    /// When a report in its name was refused, unless one has been accepted since. Anybody can send
    /// such a report, so this only explains why nothing better is known.
    report_refused: Option<Moment>,
    connected: Option<Moment>,
    gone: Option<Moment>,
    streams: BTreeMap<u64, Subscriber>,
    resources: [Resource; 2],
    /// The processes that report under this name.
    processes: process::Processes,
    repairs: u64,
    repaired: Option<Instant>,
    /// How often an Envoy of this name was seen to start, and when it did last, here or elsewhere.
    started: u64,
    anew: Option<Instant>,
    /// What other servers observe of it.
    elsewhere: BTreeMap<String, Observed>,
    /// The last reports that arrived here.
    reports: BTreeMap<(Option<u64>, u32), Reported>,
    /// Wakes the node's streams if another stream or a report changed something.
    wake: watch::Sender<u64>,
}

/// A stream of a node.
struct Subscriber {
    /// Which resources it subscribes to.
    wants: [bool; 2],
    /// The other end of its connection.
    connection: Option<SocketAddr>,
    since: Instant,
    /// It has existed long enough for its Envoy to have reported, if it reports at all.
    is_settled: bool,
}

impl Subscriber {
    fn new(connection: Option<SocketAddr>, at: Instant) -> Self {
        Self {
            wants: [false; 2],
            connection,
            since: at,
            is_settled: false,
        }
    }
}

#[derive(Default)]
struct Resource {
    sent: Option<u64>,
    acknowledged: Option<Acknowledged>,
    /// When it acknowledged a push of this server last.
    landed: Option<Instant>,
    refused: Option<Refusal>,
    /// The content id, and the number of the seal to try next.
    attempt: (String, u32),
    /// A push of it has not been answered.
    flying: bool,
    lagging: bool,
}

#[derive(Clone, PartialEq, Eq)]
struct Acknowledged {
    version: u64,
    content: String,
    /// For an overlay: the content id of its base, if known.
    base: Option<String>,
}

struct Refusal {
    version: u64,
    message: String,
    at: Moment,
    times: u64,
}

/// What a stream has to know about its node before it pushes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStanding {
    /// Content of the base that the node acknowledged.
    pub base: Option<String>,
    /// Content of the overlay that it acknowledged.
    pub overlay: Option<String>,
    /// Content of the base that this overlay belongs to.
    pub overlay_base: Option<String>,
    /// Version of the newest overlay that it was sent, acknowledged or not; 0 for none.
    pub overlay_sent: u64,
    /// Whether an overlay that it was sent has not been answered.
    pub overlay_flying: bool,
    /// Whether a stream of the node subscribes to base and overlay.
    pub subscribed: [bool; 2],
    /// How often the base was requested again.
    pub repairs: u64,
}

impl Fleet {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete in itself.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Streams open.
    pub fn streams(&self) -> usize {
        self.inner().streams
    }

    /// Nodes with a stream; of them, those that have not answered a push in time.
    pub fn connected(&self) -> (usize, usize) {
        let inner = self.inner();
        let living = || inner.nodes.values().filter(|n| !n.streams.is_empty());
        let lagging = living().filter(|n| n.resources.iter().any(|r| r.lagging));
        (living().count(), lagging.count())
    }
}

impl Node {
    /// An Envoy of this name has just started.
    fn begin_anew(&mut self, at: Instant) {
        self.processes.begin_anew(at);
        self.anew = Some(at);
    }

    fn resource(&mut self, kind: ResourceKind) -> &mut Resource {
        let [base, overlay] = &mut self.resources;
        match kind {
            ResourceKind::Base => base,
            ResourceKind::Overlay => overlay,
        }
    }

    fn subscribed(&self, kind: ResourceKind) -> impl Iterator<Item = &Subscriber> {
        self.streams.values().filter(move |stream| {
            let [base, overlay] = stream.wants;
            match kind {
                ResourceKind::Base => base,
                ResourceKind::Overlay => overlay,
            }
        })
    }

    fn subscribers(&self, kind: ResourceKind) -> usize {
        self.subscribed(kind).count()
    }

    /// How many Envoys its streams may belong to. One Envoy opens several if its listeners
    /// configure the discovery service in different ways, all over one connection. So does a proxy
    /// for several Envoys, which are therefore given time to report.
    fn peers(&self, kind: ResourceKind) -> usize {
        self.peers_here(kind) + self.peers_elsewhere()
    }

    /// The same of this server's streams alone.
    fn peers_here(&self, kind: ResourceKind) -> usize {
        let mut connections = BTreeSet::new();
        let others = self
            .subscribed(kind)
            .filter(|stream| match stream.connection {
                Some(connection) if stream.is_settled => {
                    connections.insert(connection);
                    false
                }
                _ => true,
            });
        others.count() + connections.len()
    }

    /// Whether a VM lacks the base and reported that after it was last pushed: the base is not in
    /// transit, and has had time to arrive.
    fn lacks_base(&self, at: Instant) -> bool {
        let [base, _] = &self.resources;
        let loaded = base.landed.is_none_or(|then| at >= then + LOADED_AFTER);
        let due = self.repaired.is_none_or(|last| at >= last + REPAIR_EVERY);
        let before = |vm: &process::Vm| self.repaired.is_some_and(|last| vm.heard <= last);
        let mut vms = self.processes.vms();
        base.acknowledged.is_some()
            && !base.flying
            && loaded
            && due
            && vms.any(|(_, vm)| vm.missing_base && !before(vm))
    }

    /// A resource without subscribers is not in transit.
    fn land(&mut self) {
        for kind in ResourceKind::ALL {
            if self.subscribers(kind) == 0 {
                self.resource(kind).flying = false;
                self.resource(kind).lagging = false;
            }
        }
    }

    fn wake(&self) {
        self.wake.send_modify(|n| *n = n.wrapping_add(1));
    }
}

fn slot(wants: &mut [bool; 2], kind: ResourceKind) -> &mut bool {
    let [base, overlay] = wants;
    match kind {
        ResourceKind::Base => base,
        ResourceKind::Overlay => overlay,
    }
}

/// A peer's text, safe for a log and a table.
fn bounded(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out = String::new();
    for c in plain {
        if out.len() + c.len_utf8() > MESSAGE_MOST {
            break;
        }
        out.push(c);
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests;
