//! What an Envoy is sent.

use keystile_registry::publish;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

use super::super::artefact::{ResourceKind, SealedArtefact, SignableArtefact};
use super::super::denied::denied;
use super::super::wire::{Dialect, Push};
use super::{Flying, Session};
use keystile_model::error::{self, refuse};

impl Session {
    pub(super) fn push(
        &mut self,
        want: &Arc<SignableArtefact>,
        again: bool,
        now: Instant,
    ) -> Result<(), Status> {
        let settings = &self.delivery.settings;
        let attempt = self.member.attempt(want, again);
        let nonce = || publish::nonce(&(settings.world)());
        let sealed = want.sealed(attempt, nonce).map_err(|e| {
            tracing::error!(error = %e, "a keyset cannot be signed");
            let refusal = refuse(
                error::Code::KeysetImpossible,
                "the server cannot sign a keyset",
                "see its log",
            );
            denied(tonic::Code::Unavailable, &refusal)
        })?;
        self.send(want, &sealed, now)
    }

    pub(super) fn send(
        &mut self,
        want: &Arc<SignableArtefact>,
        sealed: &Arc<SealedArtefact>,
        now: Instant,
    ) -> Result<(), Status> {
        let settings = &self.delivery.settings;
        let kind = want.kind();
        let stream_version = match self.dialect {
            Dialect::Delta => sealed.version_info.clone(),
            Dialect::Sotw => self.combined(kind, &sealed.version_info),
        };
        self.sent += 1;
        let nonce = self.sent.to_string();
        let message = Push {
            name: settings.template.name(kind),
            version_info: &stream_version,
            nonce: &nonce,
            any: Some(sealed.any.clone()),
            ttl: self.time_to_live(kind),
        }
        .message(self.dialect);
        if self.out.try_send(Ok(message)).is_err() {
            let refusal = refuse(
                error::Code::StreamSilent,
                "responses are not read",
                "see the log of this Envoy",
            );
            return Err(denied(tonic::Code::Aborted, &refusal));
        }
        self.owed += 1;
        if !self.begun.contains(&kind) {
            self.begun.push(kind);
        }
        self.member.sent(want);
        self.delivery.count.pushes.add();
        let flying = Flying {
            artefact: Arc::clone(want),
            sealed: Arc::clone(sealed),
            nonce,
            since: now,
            lagging: false,
        };
        if let Some(slot) = self.slot(kind) {
            slot.flying = Some(flying);
        }
        Ok(())
    }

    /// The `version_info` of everything that the stream holds once it has this.
    fn combined(&self, kind: ResourceKind, version_info: &str) -> String {
        let parts = ResourceKind::ALL
            .into_iter()
            .zip(&self.slots)
            .filter_map(|(k, s)| {
                if k == kind {
                    return Some(version_info);
                }
                let held = s.as_ref()?.held.as_ref()?;
                Some(held.version_info.as_str())
            });
        parts.collect::<Vec<_>>().join("+")
    }

    /// How long a resource is valid for the peer without confirmation. Only the overlay expires,
    /// because its filter decides; the base beside it can stay until the server is back.
    fn time_to_live(&self, kind: ResourceKind) -> Option<Duration> {
        self.delivery
            .settings
            .ttl
            .filter(|_| kind == ResourceKind::Overlay)
    }

    /// Confirms to the peer what it has.
    pub(super) fn beat(&mut self, ttl: Duration) {
        // Two places are left for pushes.
        if self.out.capacity() <= 2 {
            return;
        }
        let held = match self.slot(ResourceKind::Overlay) {
            Some(slot) if slot.flying.is_none() => slot.held.as_ref(),
            _ => None,
        };
        let Some(held) = held else { return };
        let version_info = held.version_info.clone();
        self.sent += 1;
        self.owed += 1;
        let message = Push {
            name: self.delivery.settings.template.name(ResourceKind::Overlay),
            version_info: &version_info,
            nonce: &self.sent.to_string(),
            any: None,
            ttl: Some(ttl),
        };
        let _ = self.out.try_send(Ok(message.message(self.dialect)));
    }
}
