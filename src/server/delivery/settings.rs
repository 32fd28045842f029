//! What a user may set, with the defaults and their reasons.

use std::time::Duration;

use super::artefact::Template;
use super::papers::Rule;
use keystile_model::world::World;

/// How delivery is set up.
#[derive(Clone)]
pub struct Settings {
    /// How resources are written for Envoy.
    pub template: Template,
    /// Envoys drop a keyset that this server has not confirmed for so long, and answer
    /// 500 until it is back: a dead-man's switch. For delta discovery alone; streams of the
    /// other dialect are refused then. `None`: Envoys go on with what they have for as
    /// long as the policy's `not_after` allows.
    pub ttl: Option<Duration>,
    /// What peers may do.
    pub limits: Limits,
    /// Clock, user and randomness, for renewals and nonces.
    pub world: fn() -> World,
}

/// What peers may do.
#[derive(Clone)]
pub struct Limits {
    /// Discovery streams at once. An Envoy opens one or two.
    pub streams: usize,
    /// Of these, from one address: half, so that none can shut out all others.
    pub streams_per_address: usize,
    /// Time from a stream's beginning to its first request.
    pub first_request: Duration,
    /// A push that has not been answered for so long marks its Envoy as lagging: a
    /// keyset of a million keys takes an Envoy some seconds.
    pub lag: Duration,
    /// And after so long its stream is dropped, and with it what it holds in memory.
    pub drop: Duration,
    /// Node ids that are served; all if empty.
    pub nodes: Vec<String>,
    /// Clusters that are served; all if empty.
    pub clusters: Vec<String>,
    /// Only nodes that are enrolled may report.
    pub enrolled_only: bool,
    /// Which nodes a certificate is good for, beside those that it names.
    pub papers: Vec<Rule>,
    /// Requests that answer no push of ours, at once; a tenth of it a second after.
    pub requests: u32,
    /// Resources that are asked for again, at once, each of which is sent again; a tenth of it
    /// a second after.
    pub repeats: u32,
    /// The first pause after a refused push; doubled after each further one.
    pub retry_first: Duration,
    /// The longest pause after a refused push.
    pub retry_most: Duration,
    /// How long one of a node's resources waits for the other that it builds on.
    pub order: Duration,
    /// Changes within this time after a push share the next one.
    pub join: Duration,
    /// The version rises above that of an Envoy once in this time: each rise is a new base.
    pub rise: Duration,
}

impl Default for Limits {
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
