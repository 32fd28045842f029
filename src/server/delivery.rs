//! Delivery: what every Envoy should have, sent to each over the discovery service, and the proof
//! that it is in force.
//!
//! * [`publisher`] follows the store and keeps base and overlay;
//! * [`artefact`] signs them, once for all streams;
//! * [`discovery`] answers Envoys, with one `session` per stream, through `request` and `wire`, as
//!   nodes that their certificates name ([`node_identity`]);
//! * `nodes` knows which Envoys were enrolled and revoked;
//! * [`history`] remembers what was published;
//! * [`fleet`] knows every Envoy and what its VMs have proved.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::pool::StorePool;
use keystile_api::fleet::{FleetNode, Missing};
use keystile_core::report::message;
use keystile_model::error::Result;
use keystile_model::room::Room;
use keystile_model::world::World;
use keystile_registry as registry;
use keystile_registry::home::published::version_most;
use keystile_registry::node::EnrolledOnly;
use keystile_system as system;

pub mod artefact;
mod counts;
mod denied;
pub mod discovery;
pub mod fleet;
pub mod history;
mod late;
pub mod node_identity;
mod nodes;
mod numbers;
mod published;
pub mod publisher;
mod request;
mod rule;
mod running;
mod session;
pub mod settings;
mod wire;

pub use artefact::ResourceTemplate;
pub use fleet::{ReportRefusal, Waited};
pub use settings::{DeliverySettings, PeerLimits};

use counts::Counts;
use fleet::Fleet;
use history::VersionHistory;
pub use numbers::DeliveryNumbers;
pub use published::Published;
use publisher::Known;

/// How often the log says that a version is not accepted.
const DOUBT_EVERY: Duration = Duration::from_secs(60);

/// The delivery of keysets to Envoys.
pub struct Delivery {
    pool: Arc<StorePool>,
    settings: DeliverySettings,
    published: watch::Sender<Option<Arc<Published>>>,
    /// What the publisher last read: keys that reports are signed with.
    known: watch::Sender<Option<Arc<Known>>>,
    nodes: nodes::NodeRecords,
    enrolled_only: Arc<EnrolledOnly>,
    /// The newest version that an Envoy proved but that was never published here.
    above: watch::Sender<Option<Above>>,
    /// When the log last said that a version is not accepted.
    doubted: watch::Sender<Option<Instant>>,
    closing: watch::Sender<bool>,
    fleet: Arc<Fleet>,
    history: VersionHistory,
    count: Counts,
}

/// How long Envoys accept a keyset, in seconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub struct KeysetValidity {
    /// When it was issued.
    pub issued_at: u64,
    /// When Envoys will refuse everything, unless a newer one reaches them.
    pub not_after: u64,
}

/// A version that an Envoy proved to have in force, above all that were published.
#[derive(Clone)]
struct Above {
    version: u64,
    node: String,
}

impl Delivery {
    /// Delivery from a store; it begins with [`Self::run`].
    pub fn new(pool: Arc<StorePool>, settings: DeliverySettings) -> Arc<Self> {
        let enrolled_only = Arc::new(EnrolledOnly::new(settings.limits.enrolled_only));
        Arc::new(Self {
            pool,
            settings,
            enrolled_only,
            published: watch::Sender::new(None),
            known: watch::Sender::new(None),
            nodes: nodes::NodeRecords::default(),
            above: watch::Sender::new(None),
            doubted: watch::Sender::new(None),
            closing: watch::Sender::new(false),
            fleet: Arc::default(),
            history: VersionHistory::default(),
            count: Counts::default(),
        })
    }

    /// What was published.
    pub fn history(&self) -> &VersionHistory {
        &self.history
    }

    /// Whether only nodes that are enrolled may report.
    pub fn enrolled_only(&self) -> Arc<EnrolledOnly> {
        Arc::clone(&self.enrolled_only)
    }

    /// Whether a node has, or had, a secret of its own.
    pub fn is_enrolled_or_revoked(&self, node: &str) -> bool {
        self.nodes
            .now()
            .is_some_and(|keys| keys.nodes.is_known(node))
    }

    /// With what an Envoy could sign reports, which the fleet itself does not know.
    fn with_enrolment(&self, mut views: Vec<FleetNode>) -> Vec<FleetNode> {
        let keys = self.nodes.now();
        for view in &mut views {
            view.enrolled = keys.as_ref().is_some_and(|k| k.nodes.is_enrolled(&view.id));
        }
        views
    }

    /// How keysets are signed: `hmac-sha256`, `ed25519` or, during a change-over, both.
    pub fn algorithms(&self) -> Vec<String> {
        let known = self.known.borrow();
        known.as_ref().map(|k| k.algorithms()).unwrap_or_default()
    }

    /// The store.
    pub fn pool(&self) -> &Arc<StorePool> {
        &self.pool
    }

    /// Every Envoy known, by its node id.
    pub fn fleet(&self) -> Vec<FleetNode> {
        self.with_enrolment(self.fleet.view(&self.settings.template))
    }

    /// Those after a node id, as many as there is room for; and the id of the last one, if more
    /// follow.
    pub fn fleet_after(&self, node: &str, room: Room) -> (Vec<FleetNode>, Option<String>) {
        let (page, next) = self.fleet.page(&self.settings.template, node, room);
        (self.with_enrolment(page), next)
    }

    /// Waits until every known Envoy, connected or not, has proved that it has a version or a newer
    /// one in force, or until the timeout; names those that have not. If no Envoy is known, nobody
    /// has it in force.
    pub async fn in_force(&self, version: u64, patience: Duration) -> Waited {
        let deadline = system::instant() + patience;
        if let Some(late) = self.late(version, deadline).await {
            return late;
        }
        let mut changed = self.fleet.watch();
        loop {
            changed.borrow_and_update();
            let reports = self.known.borrow().as_ref().is_some_and(|k| k.reports());
            let (mut waited, settled) = self.fleet.stand(version, reports);
            self.name_revoked(&mut waited);
            if settled {
                return waited;
            }
            if tokio::time::timeout_at(deadline, changed.changed())
                .await
                .is_err()
            {
                return waited;
            }
        }
    }

    /// A revoked node is sent nothing more, so waiting longer is pointless.
    fn name_revoked(&self, waited: &mut Waited) {
        let changes = self.nodes.changes();
        let revoked = changes.borrow();
        let of_revoked = |m: &&mut Missing| nodes::is_revoked(&revoked, &m.node);
        for missing in waited.missing.iter_mut().filter(of_revoked) {
            "its node was revoked, and it has not proved the version; if it is gone, forget it"
                .clone_into(&mut missing.why);
        }
    }

    /// Forgets Envoys that will not come back, and records that.
    ///
    /// # Errors
    /// If one is not known, or is connected; then none is forgotten.
    pub async fn forget(&self, world: World, nodes: Vec<String>) -> Result<()> {
        let fleet = Arc::clone(&self.fleet);
        // All inside the transaction, so that none is stored again meanwhile.
        self.pool
            .write(move |store| {
                fleet.check_gone(&nodes)?;
                registry::envoy::forget(store, &world, &nodes)?;
                fleet.remove(&nodes);
                Ok(())
            })
            .await
    }

    /// Takes a filter's report of what it has in force: body and signature as they arrived.
    ///
    /// # Errors
    /// [`ReportRefusal`]; the report does not count then.
    pub fn reported(
        &self,
        body: &[u8],
        kid: &str,
        tag: &str,
    ) -> std::result::Result<(), ReportRefusal> {
        let taken = self.take_report(body, kid, tag);
        match &taken {
            Ok(()) => self.count.reports.add(),
            Err(refusal) => {
                self.count.reports_refused.add();
                let node = message::node_of(body);
                if let (ReportRefusal::Report(_), Some(node)) = (refusal, node) {
                    self.fleet.report_refused(&node, system::now());
                }
            }
        }
        taken
    }

    fn take_report(
        &self,
        body: &[u8],
        kid: &str,
        tag: &str,
    ) -> std::result::Result<(), ReportRefusal> {
        // Nobody else would hear of it.
        if self.pool.replicas().is_some_and(|r| r.is_alone()) {
            return Err(ReportRefusal::NotReady);
        }
        let known = self.known.borrow().clone().ok_or(ReportRefusal::NotReady)?;
        let keys = self.nodes.now().ok_or(ReportRefusal::NotReady)?;
        let proof = known.proof(&keys, body, kid, tag)?;
        let (now, at) = (system::now(), system::instant());
        let is_above = self.version().is_none_or(|v| proof.version > v);
        if is_above && proof.version > version_most(now) {
            self.doubt(
                &proof,
                "an Envoy reports a version so far ahead of the clock that no store can have issued it; the report does not count. Correct this server's clock, or find out who holds the Envoy's signing key",
            );
            return Err(ReportRefusal::Version(proof.version));
        }
        let most_nodes = self.settings.limits.streams * 2;
        self.fleet.reported(&proof, now, at, most_nodes)?;
        self.repair(&proof.node);
        if self.version().is_none_or(|v| proof.version <= v) {
            return Ok(());
        }
        if !keys.nodes.is_enrolled(&proof.node) && !self.fleet.has_been(&proof.node) {
            self.doubt(
                &proof,
                "an Envoy that never connected and is not enrolled reports a version that was not published here; this server does not raise its version above it. If the Envoy is yours, connect it, or enroll it with `keystilectl node enroll`",
            );
            return Ok(());
        }
        self.above.send_modify(|above| {
            if above.as_ref().is_none_or(|a| a.version < proof.version) {
                *above = Some(Above {
                    version: proof.version,
                    node: proof.node,
                });
            }
        });
        Ok(())
    }

    /// Has the base pushed again if a worker of a node lacks it.
    fn repair(&self, node: &str) {
        if self.fleet.repair(node, system::instant()) {
            self.count.repairs.add();
            tracing::warn!(
                node,
                "a worker has no base, although its Envoy acknowledged it, as after a crash of the worker's VM; the base is pushed again"
            );
        }
    }

    /// Logs that a report's version is not accepted: only once in a while, because anybody who can
    /// sign may send many.
    fn doubt(&self, proof: &fleet::Proof, why: &'static str) {
        let now = system::instant();
        let says = self.doubted.send_if_modified(|last| {
            let due = last.is_none_or(|then| now >= then + DOUBT_EVERY);
            if due {
                *last = Some(now);
            }
            due
        });
        if says {
            tracing::error!(
                node = proof.node,
                its_version = proof.version,
                published = self.version(),
                "{why}"
            );
        }
    }

    /// Known Envoys that have not proved that the published version is in force.
    pub fn diverging(&self) -> u64 {
        let Some(version) = self.version() else {
            return 0;
        };
        let reports = self.known.borrow().as_ref().is_some_and(|k| k.reports());
        self.fleet.stand(version, reports).0.missing.len() as u64
    }

    /// How long Envoys accept the published keyset, if the policy limits that.
    pub fn validity(&self) -> Option<KeysetValidity> {
        #[derive(serde::Deserialize)]
        struct Times {
            issued_at: u64,
            #[serde(default)]
            not_after: Option<u64>,
        }
        let published = self.published.borrow().clone()?;
        let manifest = &published.overlay.built().manifest;
        let times: Times = serde_json::from_slice(manifest).ok()?;
        times.not_after.map(|not_after| KeysetValidity {
            issued_at: times.issued_at,
            not_after,
        })
    }

    /// The version of the store's keyset, which Envoys should soon have.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn store_version(&self) -> Result<u64> {
        self.pool.read(|tx| Ok(tx.meta().version)).await
    }

    /// Whether streams end and none is admitted: this server ends, or is cut off from the database.
    pub fn sends_away(&self) -> bool {
        *self.closing.borrow() || self.pool.replicas().is_some_and(|r| r.is_alone())
    }

    /// The version that every Envoy should have; `None` if there is none yet.
    pub fn version(&self) -> Option<u64> {
        self.published.borrow().as_deref().map(Published::version)
    }
}

#[cfg(test)]
mod tests;
