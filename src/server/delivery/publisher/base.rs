//! When a new base is made, and how.

use crate::delivery::Delivery;
use keystile_model::error::Result;
use keystile_registry::home::published::BASE;
use keystile_registry::{publish, signing};
use keystile_store::Tx;
use keystile_system::{self as system, file};
use std::sync::Arc;

use super::super::Above;
use super::super::artefact::{ResourceKind, SignableArtefact};
use super::{Changes, Current, Found, Made, OVERLAY_KEYS, OVERLAY_SHARE, Publisher, RETRY, kept};

impl Publisher {
    /// Raises the store's next version above what an Envoy has; gives whether it did. If that
    /// fails, the Envoy's next report repeats it.
    pub(super) async fn rise(&mut self, found: Option<Above>) -> bool {
        let Some(Above { version, node }) = found else {
            return false;
        };
        let world = (self.delivery.settings.world)();
        let named = node.clone();
        let risen = self
            .delivery
            .pool
            .write(move |store| signing::rise_above(store, &world, version, &named));
        match risen.await {
            Ok(None) => false,
            Ok(Some(risen)) => {
                tracing::error!(
                    node,
                    its_version = version,
                    risen,
                    "an Envoy has a version in force that is newer than all that this store has issued: it comes from another timeline, usually from before a restore. The next version will be higher, and every Envoy is sent a new base"
                );
                self.not_before = None;
                self.rebase("an Envoy has a version of another timeline in force");
                true
            }
            Err(e) => {
                tracing::error!(error = %e, node, "the version cannot be raised above that of an Envoy");
                false
            }
        }
    }

    /// Why a new base is needed, if it is.
    pub(super) fn reason(&self, found: &Found) -> Option<String> {
        let Some(current) = &self.current else {
            return Some("there is none".to_owned());
        };
        if *current.policy != found.policy.sent {
            return Some("the policy has changed".to_owned());
        }
        let most = OVERLAY_KEYS.max(current.artefact.built().keys / OVERLAY_SHARE);
        match &found.changes {
            Changes::NeedBase(why) => return Some(why.clone()),
            Changes::TooMany(n) => return Some(format!("{n} keys have changed")),
            Changes::Are(built) if built.keys > most => {
                return Some(format!("{} keys have changed", built.keys));
            }
            Changes::Are(_) | Changes::Unknown => {}
        }
        // It must be accepted on its own, as a worker has it for a moment after a start.
        let bound = found.policy.file.policy.not_after?;
        let age = found.issued_at.saturating_sub(current.issued_at);
        (age > bound / 2).then(|| "half of its `not_after` has passed".to_owned())
    }

    /// Starts building a base; meanwhile, overlays continue over the old one.
    pub(super) fn rebase(&mut self, reason: &str) {
        let waits = self.not_before.is_some_and(|at| system::instant() < at);
        if waits || self.building.is_some() {
            return;
        }
        tracing::info!(reason, "a new base is being built");
        let delivery = Arc::clone(&self.delivery);
        self.building = Some(tokio::spawn(async move { build(&delivery).await }));
    }

    /// Takes the base that another server has published, once it is read.
    pub(super) fn adopt(&mut self) {
        if self.building.is_some() {
            return;
        }
        let delivery = Arc::clone(&self.delivery);
        self.building = Some(tokio::spawn(async move {
            match kept::load(&delivery).await {
                Some(current) => Ok(Made {
                    current,
                    ours: None,
                }),
                // Signed with keys that are not accepted any more, for instance.
                None => build(&delivery).await,
            }
        }));
    }

    /// Whether a base is the one that Envoys get: of several servers, the first one's is.
    ///
    /// # Errors
    /// It cannot be given to the others.
    async fn is_chosen(&self, made: &Made) -> Result<bool> {
        let Some((bytes, over)) = &made.ours else {
            return Ok(true);
        };
        let noted = kept::note(&self.delivery, &made.current.artefact, bytes, over).await;
        match noted {
            Err(e) if self.delivery.pool.replicas().is_none() => {
                tracing::warn!(error = %e, "the base cannot be recorded: after a restart, every Envoy will get a new one");
                Ok(true)
            }
            noted => noted,
        }
    }

    pub(super) async fn rebased(&mut self, built: Result<Made>) {
        let chosen = match built {
            Ok(made) => self.is_chosen(&made).await.map(|chosen| (made, chosen)),
            Err(e) => Err(e),
        };
        match chosen {
            Ok((_, false)) => {
                tracing::info!("another server was faster to publish a base");
            }
            Ok((Made { current, .. }, true)) => {
                self.delivery.count.bases.add();
                tracing::info!(
                    version = current.artefact.version(),
                    keys = current.artefact.built().keys,
                    bytes = current.artefact.built().pages.len(),
                    "a new base"
                );
                // One that does not end what called for it is not made over and over.
                let version = current.artefact.version();
                if self
                    .current
                    .as_ref()
                    .is_some_and(|c| c.artefact.version() == version)
                {
                    self.not_before = Some(system::instant() + RETRY);
                }
                self.current = Some(current);
            }
            Err(e) => {
                self.delivery.count.failures.add();
                self.not_before = Some(system::instant() + RETRY);
                tracing::error!(error = %e, "no base can be published; Envoys keep the one they have");
            }
        }
    }
}

async fn build(delivery: &Delivery) -> Result<Made> {
    let settings = delivery.settings.clone();
    let path = delivery.pool.home().folder().join(BASE);
    let build = move |tx: &Tx<'_>| {
        let ready = publish::unrenewed(tx)?;
        let nonce = publish::nonce(&(settings.world)())?;
        let bytes = ready.seal_raw(nonce);
        // Only digests, but still private.
        if let Err(e) = file::replace(&path, 0o600, &bytes) {
            tracing::warn!(error = %e, "the base cannot be saved: after a restart, every Envoy will get a new one");
        }
        let (built, signers) = (ready.built, ready.signers);
        let template = settings.template;
        let artefact = SignableArtefact::new(ResourceKind::Base, built, signers, template, nonce);
        Ok(Made {
            current: Current::new(artefact)?,
            ours: Some((bytes, tx.base_mark()?)),
        })
    };
    delivery.pool.read(build).await
}
