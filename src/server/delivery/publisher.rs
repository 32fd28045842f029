//! Follows the store: a change becomes an overlay at once, and a new base when the overlay has
//! grown or cannot express the change.

use std::sync::Arc;
use std::time::Duration;

use keystile_core::keyset::{
    Base, BuildError, Built, Content, SigningKeys, StoreId, build_overlay,
};
use keystile_core::limit::quota::Zones;
use keystile_core::policy::RawPolicy;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::Delivery;
use super::artefact::{ResourceKind, SignableArtefact};
use super::published::Published;
use current::{Current, Made, broken};
use keystile_model::error::{Act, Code, Error, Result, refuse};
use keystile_policy::file::PolicyFile;
use keystile_registry as registry;
use keystile_registry::publish;
use keystile_registry::signing;
use keystile_store::Tx;
use keystile_system as system;
pub use known::Known;

mod base;
mod current;
mod kept;
mod known;

/// An overlay of this many keys has some 60 KiB, which a worker loads in less than a millisecond:
/// below that, a new base is not worth its megabytes.
const OVERLAY_KEYS: usize = 1000;
/// Nor while the overlay is at most a fiftieth of the base.
const OVERLAY_SHARE: usize = 50;
/// Above this, an overlay would itself block workers, so changes wait for the new base.
const OVERLAY_MOST: usize = 100_000;
/// How often the age of the keyset, and the signing keys, are checked.
const LOOK: Duration = Duration::from_secs(15);
/// Pause after a failure, unless the store changes before.
const RETRY: Duration = Duration::from_secs(5);

/// The policy of the store.
struct PolicyRevision {
    revision: u64,
    file: PolicyFile,
    /// What a base has of it.
    sent: RawPolicy,
}

impl PolicyRevision {
    fn new(revision: u64, file: PolicyFile) -> Self {
        let sent = file.raw.for_filters();
        Self {
            revision,
            file,
            sent,
        }
    }
}

/// The result of reading the store.
struct Found {
    store: StoreId,
    began: u64,
    issued_at: u64,
    audit_seq: u64,
    policy: Arc<PolicyRevision>,
    signers: SigningKeys,
    changes: Changes,
    /// Another server has published another base.
    is_outdated: bool,
}

enum Changes {
    /// There is no base yet.
    Unknown,
    /// The overlay.
    Are(Built),
    /// The base's tables lack something.
    NeedBase(String),
    /// Too many for an overlay.
    TooMany(usize),
}

struct Publisher {
    delivery: Arc<Delivery>,
    current: Option<Current>,
    policy: Option<Arc<PolicyRevision>>,
    building: Option<JoinHandle<Result<Made>>>,
    /// No base is built before this, because one could not be published.
    not_before: Option<Instant>,
}

/// Publishes until it is dropped.
pub async fn run(delivery: Arc<Delivery>) {
    let (mut versions, mut bases) = (delivery.pool.versions(), delivery.pool.bases());
    let join = delivery.settings.limits.join;
    let mut publisher = Publisher {
        current: kept::load(&delivery).await,
        delivery,
        policy: None,
        building: None,
        not_before: None,
    };
    let mut above = publisher.delivery.above.subscribe();
    let mut looks = tokio::time::interval(LOOK);
    let mut last: Option<Instant> = None;
    let mut again = Some(system::instant());
    let rise = publisher.delivery.settings.limits.rise;
    let (mut rises, mut risen): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        tokio::select! {
            changed = versions.changed() => {
                if changed.is_err() {
                    return;
                }
                // The first change after a pause is sent at once, later ones together.
                if let Some(last) = last {
                    sleep_until(last + join).await;
                }
            }
            changed = bases.changed() => if changed.is_err() {
                return;
            },
            built = finished(&mut publisher.building) => publisher.rebased(built).await,
            _ = above.changed() => {
                above.borrow_and_update();
                // Otherwise anybody who can sign reports could make every Envoy load one base after
                // another.
                let now = system::instant();
                rises = rises.or(Some(risen.map_or(now, |then| now.max(then + rise))));
            }
            () = at(rises) => {
                rises = None;
                let found = above.borrow_and_update().clone();
                if publisher.rise(found).await {
                    risen = Some(system::instant());
                }
            }
            _ = looks.tick() => publisher.renew().await,
            () = at(again) => {}
        }
        versions.borrow_and_update();
        last = Some(system::instant());
        again = match publisher.turn().await {
            Ok(()) => publisher.not_before.filter(|at| *at > system::instant()),
            Err(e) => {
                publisher.delivery.count.failures.add();
                tracing::error!(error = %e, "no keyset can be built; Envoys keep the one they have");
                Some(system::instant() + RETRY)
            }
        };
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn finished(building: &mut Option<JoinHandle<Result<Made>>>) -> Result<Made> {
    let Some(handle) = building else {
        return std::future::pending().await;
    };
    let built = handle.await;
    *building = None;
    match built {
        Ok(built) => built,
        Err(_) => Err(broken("a task ended early")),
    }
}

impl Publisher {
    /// Brings what is published up to date with the store.
    async fn turn(&mut self) -> Result<()> {
        let on = self.current.as_ref().map(|c| {
            let base = Arc::clone(&c.base);
            (base, Arc::clone(&c.policy), Arc::clone(&c.artefact))
        });
        let policy = self.policy.clone();
        let found = self
            .delivery
            .pool
            .read(move |tx| look(tx, policy, on))
            .await?;
        self.policy = Some(Arc::clone(&found.policy));
        let report = found.policy.file.policy.report.as_ref();
        self.delivery.known.send_replace(Some(Arc::new(Known {
            store: found.store,
            signers: found.signers.clone(),
            report_every: report.map(|r| Duration::from_secs(r.every)),
        })));
        if found.is_outdated {
            self.adopt();
        } else if let Some(reason) = self.reason(&found) {
            self.rebase(&reason);
        }
        self.resign(&found.signers)?;
        self.delivery.fleet.timeline(found.began);
        let Changes::Are(built) = found.changes else {
            return Ok(());
        };
        let at = (found.issued_at, found.audit_seq);
        self.publish(built, found.signers, at).await
    }

    /// Re-signs the base if the signing keys have changed.
    fn resign(&mut self, signers: &SigningKeys) -> Result<()> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        if !current.artefact.is_signed_with(signers) {
            let nonce = self.delivery.nonce()?;
            let artefact = current.artefact.resigned(signers.clone(), nonce);
            current.artefact = Arc::new(artefact);
        }
        Ok(())
    }

    /// `at`: when the store last changed, and the number of its last audit record.
    async fn publish(&self, overlay: Built, signers: SigningKeys, at: (u64, u64)) -> Result<()> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let delivery = &self.delivery;
        let nonce = delivery.nonce()?;
        let template = delivery.settings.template.clone();
        let base = Arc::clone(&current.artefact);
        let overlay =
            SignableArtefact::new(ResourceKind::Overlay, overlay, signers, template, nonce)
                .over(&base);
        let same = delivery.published.borrow().as_ref().is_some_and(|p| {
            p.base.content() == base.content() && p.overlay.content() == overlay.content()
        });
        if same {
            return Ok(());
        }
        // On disk before anywhere else: a version that is not on disk was not published.
        kept::keep(delivery, &overlay, nonce).await;
        delivery.count.overlays.add();
        tracing::debug!(
            version = overlay.version(),
            keys = overlay.built().keys,
            "a new overlay"
        );
        delivery.fleet.issued(overlay.version());
        let overlay = Arc::new(overlay);
        let new = Arc::new(Published { base, overlay });
        delivery.history.add(Arc::clone(&new), at.0, at.1);
        delivery.published.send_replace(Some(new));
        Ok(())
    }

    /// Reissues the keyset when half of its lifetime has passed, which is a change like any other.
    async fn renew(&self) {
        if !self.delivery.pool.leads() {
            return;
        }
        let world = (self.delivery.settings.world)();
        let now = world.now.seconds();
        let due = move |tx: &Tx<'_>| {
            let age = now.saturating_sub(tx.meta().issued_at);
            let bound = registry::policy(tx)?.policy.not_after;
            Ok(bound.is_some_and(|bound| age > bound / 2))
        };
        match self.delivery.pool.read(due).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(e) => {
                tracing::error!(error = %e, "the age of the keyset cannot be read");
                return;
            }
        }
        let renewed = self.delivery.pool.write(move |store| {
            // Checked again: another process may have done it meanwhile.
            let due = store.read(due)?;
            if due {
                signing::renew(store, &world)?;
            }
            Ok(due)
        });
        match renewed.await {
            Ok(true) => {
                tracing::info!("the keyset was renewed: half of its `not_after` had passed")
            }
            Ok(false) => {}
            Err(e) => {
                tracing::error!(error = %e, "the keyset cannot be renewed, and Envoys will refuse everything after its `not_after`")
            }
        }
    }
}

impl Delivery {
    fn nonce(&self) -> Result<u64> {
        publish::nonce(&(self.settings.world)())
    }
}

/// Reads everything that a turn needs, consistently.
fn look(
    tx: &Tx<'_>,
    policy: Option<Arc<PolicyRevision>>,
    on: Option<(Arc<Base>, Arc<RawPolicy>, Arc<SignableArtefact>)>,
) -> Result<Found> {
    let meta = tx.meta();
    let revision = tx.policy()?.revision;
    let policy = match policy {
        Some(policy) if policy.revision == revision => policy,
        _ => Arc::new(PolicyRevision::new(revision, registry::policy(tx)?)),
    };
    let is_outdated = tx.is_shared()
        && tx.base_mark()?.is_some()
        && !on.as_ref().map_or(Ok(false), |(_, _, artefact)| {
            tx.is_base(&artefact.built().manifest)
        })?;
    let changes = match on {
        None => Changes::Unknown,
        Some((base, ..)) if base.version() > meta.version => {
            Changes::NeedBase("the store is older than it".to_owned())
        }
        Some((base, raw, _)) => {
            let rows = tx.rows_since(base.version())?;
            if rows.len() > OVERLAY_MOST {
                Changes::TooMany(rows.len())
            } else {
                let content = Content {
                    store: meta.store,
                    version: meta.version,
                    issued_at: meta.issued_at,
                    // The policy of the base: while a base with another policy is being built,
                    // revocations go on.
                    policy: RawPolicy::clone(&raw),
                    // Time zones are the base's, too.
                    zones: Zones::new(),
                    rows,
                };
                match build_overlay(&content, &base) {
                    Ok(built) => Changes::Are(built),
                    Err(e @ (BuildError::NeedsBase { .. } | BuildError::OtherBase(_))) => {
                        Changes::NeedBase(e.to_string())
                    }
                    Err(e) => return Err(mend(e)),
                }
            }
        }
    };
    Ok(Found {
        store: meta.store,
        began: meta.began,
        issued_at: meta.issued_at,
        audit_seq: meta.head.seq,
        policy,
        signers: signing::accepted(tx)?,
        changes,
        is_outdated,
    })
}

fn mend(e: BuildError) -> Error {
    refuse(
        Code::PolicyBreaksKeys,
        e,
        keystile_model::next![
            "correct the policy (",
            Act::PolicyCheck,
            " names its mistakes), or the key with ",
            Act::KeyUpdate
        ],
    )
}
