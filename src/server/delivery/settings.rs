//! The settings, with defaults and their reasons.

use std::time::Duration;

use super::artefact::ResourceTemplate;
use super::rule::NameRule;
use keystile_model::world::World;

/// The settings of delivery.
#[derive(Clone)]
pub struct DeliverySettings {
    /// How resources are written for Envoy.
    pub template: ResourceTemplate,
    /// Dead man's switch: Envoys drop a keyset that this server has not confirmed for this long,
    /// and answer 500 until it is back. Only for delta discovery; streams of the other dialect are
    /// then refused. `None`: Envoys go on with what they have as long as the policy's `not_after`
    /// allows.
    pub ttl: Option<Duration>,
    /// What peers may do.
    pub limits: PeerLimits,
    /// Clock, user and randomness, for renewals and nonces.
    pub world: fn() -> World,
}

/// What peers may do.
#[derive(Clone)]
pub struct PeerLimits {
    /// The most discovery streams at once. An Envoy opens one or two.
    pub streams: usize,
    /// The most of these from one address: half, so that no address can shut out all others.
    pub streams_per_address: usize,
    /// Time from a stream's beginning to its first request.
    pub first_request: Duration,
    /// A push that has not been answered for this long marks its Envoy as lagging: a keyset of a
    /// million keys takes an Envoy some seconds.
    pub lag: Duration,
    /// After this long its stream is dropped, with what it holds in memory.
    pub drop: Duration,
    /// Node ids that are served; all if empty.
    pub nodes: Vec<String>,
    /// Clusters that are served; all if empty.
    pub clusters: Vec<String>,
    /// Only nodes that are enrolled may report.
    pub enrolled_only: bool,
    /// The nodes for which a certificate is valid, in addition to those that it names.
    pub papers: Vec<NameRule>,
    /// The burst of requests that answer no push; after that, a tenth of it per second.
    pub requests: u32,
    /// The burst of resources that are requested, and sent, again; after that, a tenth of it per
    /// second.
    pub repeats: u32,
    /// The first pause after a refused push; doubled after each further one.
    pub retry_first: Duration,
    /// The longest pause after a refused push.
    pub retry_most: Duration,
    /// How long one of a node's resources waits for the other that it builds on.
    pub order: Duration,
    /// Changes within this time after a push share the next one.
    pub join: Duration,
    /// How often the version may be raised above that of an Envoy: each time requires a new base.
    pub rise: Duration,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            streams: 4096,
            streams_per_address: 2048,
            first_request: Duration::from_secs(10),
            lag: Duration::from_secs(30),
            drop: Duration::from_secs(300),
            nodes: Vec::new(),
            clusters: Vec::new(),
            enrolled_only: false,
            papers: Vec::new(),
            requests: 100,
            repeats: 8,
            retry_first: Duration::from_secs(1),
            retry_most: Duration::from_secs(60),
            order: Duration::from_secs(2),
            join: Duration::from_millis(20),
            rise: Duration::from_secs(60),
        }
    }
}
